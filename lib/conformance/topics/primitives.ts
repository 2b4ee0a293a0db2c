import assert from "node:assert/strict";
import { type IfVersion, isTombstone, type StoredRecord } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { newOperation, primitivesOf } from "../primitives.js";
import { HOUR_MS, isWritten, MINUTE_MS, RecordClient, recordIn, rejected, same } from "../record-client.js";

/** The id of a removal, as the base class makes them. */
const REMOVAL = "~removal01";
/** The longest version there is, of characters that a backend might mangle. */
const LONGEST_VERSION = "!\"#$%&'()*+,-./0129:;<=>?@AZ[\\]^_`az{|}~".padEnd(80, "v");

/** What the base class relies on. A failure here explains many others. */
export function primitiveTests(test: DefineTest): void {
  test("_read returns what _write has stored, every field of it", async harness => {
    const store = await harness.open();
    const records: Partial<StoredRecord>[] = [
      {},
      { user: "ann" },
      { user: "Grüße % \n 世界 😀" },
      { data: "\0\n\r\t\u2028 😀 \"'\\ end ", version: LONGEST_VERSION },
      { lifetime: 1, activeAt: 1, createdAt: 0 },
      { lifetime: 4.32e15, createdAt: 1 },
    ];
    for (const [index, fields] of records.entries()) {
      const client = new RecordClient(store, harness, `sid-${index}`);
      assert.equal(await client.read(), undefined);
      await client.create(fields);
      assert.deepEqual(same(await client.readRecord()), same(client.record(fields)));
    }
  });

  test("_write expects that nothing is stored: no record and no tombstone, and returns what is", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    await client.create();
    const current = rejected(await client.write(client.record({ version: "v2" }), { absent: true }));
    assert.deepEqual(same(recordIn(current)), same(client.record()));
    await client.remove(REMOVAL);
    const tombstone = rejected(await client.write(client.record({ version: "v2" }), { absent: true }));
    assert.ok(isTombstone(recordIn(tombstone)));
    assert.equal(recordIn(tombstone).version, REMOVAL);
    assert.ok(isTombstone(await client.readRecord()));
  });

  test("_write expects the version and the last use that its condition names", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    const { now } = client;
    const wrong: Partial<IfVersion>[] = [
      { version: "v0" },
      { version: "v" },
      { version: "v10" },
      { version: "V1" },
      { activeFrom: now + 1 },
      { activeTo: now - 1 },
    ];
    assert.equal(rejected(await client.replace({})), undefined);
    await client.create();
    const found = await client.read();
    for (const token of [undefined, found?.token]) {
      for (const condition of wrong) {
        const current = rejected(await client.replace({ ...condition, token }));
        assert.deepEqual(same(recordIn(current)), same(client.record()));
      }
    }
    assert.deepEqual(
      await client.replace({ activeFrom: now, activeTo: now, token: found?.token }).then(isWritten),
      true,
    );
    assert.equal((await client.readRecord()).version, "v2");
  });

  test("_write replaces a record that it is given no token for", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    await client.create();
    assert.ok(isWritten(await client.replace({})));
    assert.equal((await client.readRecord()).version, "v2");
  });

  test("_write does not take the token of another record for the condition", async harness => {
    const store = await harness.open();
    const client = new RecordClient(store, harness);
    await client.create({ version: "v1" });
    const before = await client.read();
    await client.remove(REMOVAL);
    const tombstone = await client.read();
    const replacement = { version: "v9", user: "ben" };
    assert.ok(
      isWritten(
        await client.write(client.record(replacement), {
          absent: false,
          version: REMOVAL,
          activeFrom: -8.64e15,
          activeTo: 8.64e15,
          token: tombstone?.token,
        }),
      ),
    );
    const current = await client.read();
    for (const token of [before?.token, tombstone?.token, current?.token]) {
      for (const version of ["v1", REMOVAL]) rejected(await client.replace({ version, token }));
    }
    assert.deepEqual(same(await client.readRecord()), same(client.record(replacement)));
  });

  test("the token that _write and _touch return is as good as one of _read", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    const { now } = client;
    let result = await client.write(client.record(), { absent: true });
    for (const version of ["v1", "v2"]) {
      assert.ok(result.written);
      result = await client.replace({ version, token: result.token });
    }
    assert.ok(result.written);
    const record = client.record({ version: "v2" });
    result = await client.touch({ seen: { record, token: result.token } });
    assert.ok(result.written);
    rejected(await client.replace({ version: "v2", activeTo: now, token: result.token }));
    assert.ok(isWritten(await client.replace({ version: "v2", token: result.token })));
  });

  test("_write goes by what is stored if a token is out of date", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    await client.create();
    const seen = await client.read();
    assert.ok(isWritten(await client.touch({})));
    const result = await client.replace({ token: seen?.token });
    // It may look for itself, or return what is stored for the next attempt.
    if (!result.written) {
      assert.ok(isWritten(await client.replace({ token: result.current?.token })));
    }
    assert.equal((await client.readRecord()).version, "v2");
  });

  test("_touch moves activeAt and keeps every other field", async harness => {
    const store = await harness.open();
    for (const [index, isSeen] of [true, false].entries()) {
      const client = new RecordClient(store, harness, `sid-${index}`);
      const fields = { data: "\0\n😀", version: LONGEST_VERSION, user: "ann" };
      await client.create(fields);
      const found = await client.read();
      const seen = isSeen && found ? { record: recordIn(found), token: found.token } : undefined;
      assert.ok(isWritten(await client.touch({ seen, createdAt: client.now })));
      const expected = client.record({ ...fields, activeAt: client.now + MINUTE_MS });
      assert.deepEqual(same(await client.readRecord()), same(expected));
    }
  });

  test("_touch expects the lifetime, the creation and a last use within its limits", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    const { now } = client;
    assert.equal(rejected(await client.touch({})), undefined);
    await client.create();
    const found = await client.read();
    const seen = found && { record: recordIn(found), token: found.token };
    for (const wrong of [
      { lifetime: HOUR_MS + 1 },
      { lifetime: HOUR_MS - 1 },
      { createdAt: now + 1 },
      { activeFrom: now + 1 },
      { activeAt: now },
      { activeAt: now - 1 },
    ]) {
      for (const each of [undefined, seen]) {
        const current = rejected(await client.touch({ ...wrong, seen: each }));
        assert.deepEqual(same(recordIn(current)), same(client.record()));
      }
    }
    assert.deepEqual(same(await client.readRecord()), same(client.record()));
  });

  test("_touch goes by what is stored, not by what was seen", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    await client.create({ lifetime: 2 * HOUR_MS });
    const found = await client.read();
    const seen = found && { record: recordIn(found), token: found.token };
    assert.ok(isWritten(await client.replace({})));
    rejected(await client.touch({ lifetime: 2 * HOUR_MS, seen }));
    assert.deepEqual(same(await client.readRecord()), same(client.record({ version: "v2" })));
    await client.remove(REMOVAL);
    rejected(await client.touch({ lifetime: HOUR_MS, seen }));
    rejected(await client.touch({ lifetime: HOUR_MS }));
    assert.ok(isTombstone(await client.readRecord()));
  });

  test("_remove leaves a tombstone in place of a record, of another tombstone and of nothing", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    for (const id of ["~removal01", "~removal02", "~removal03"]) {
      await client.remove(id);
      const tombstone = await client.readRecord();
      const { activeAt } = tombstone;
      assert.deepEqual(same(tombstone), same({ ...client.tombstone(id), activeAt }));
      if (id !== "~removal02") continue;
      const condition = { absent: false, version: id, activeFrom: activeAt, activeTo: activeAt } as const;
      assert.ok(isWritten(await client.write(client.record(), { ...condition, token: undefined })));
    }
  });

  test("_remove leaves a record that was created over the tombstone of the same removal", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    const { now } = client;
    await client.create();
    await client.remove(REMOVAL);
    const version = `created001created001${REMOVAL}`;
    const condition = { absent: false, activeFrom: now, activeTo: Number.MAX_SAFE_INTEGER } as const;
    const over = { ...condition, version: REMOVAL, token: (await client.read())?.token };
    assert.ok(isWritten(await client.write(client.record({ version }), over)));
    await client.remove(REMOVAL);
    assert.deepEqual(same(await client.readRecord()), same(client.record({ version })));
    const later = version.replace("created001~", "written002created001~");
    const token = (await client.read())?.token;
    assert.ok(
      isWritten(await client.write(client.record({ version: later }), { ...condition, version, token })),
    );
    await client.remove(REMOVAL);
    assert.deepEqual(same(await client.readRecord()), same(client.record({ version: later })));
    await client.remove("~other0002");
    assert.ok(isTombstone(await client.readRecord()));
  });

  test("_remove does not restore the tombstone that a late creation expects", async harness => {
    const client = new RecordClient(await harness.open(), harness);
    await client.create();
    await client.remove(REMOVAL);
    const expected = await client.read();
    const { activeAt, version } = recordIn(expected);
    await client.remove("~other0002");
    await client.remove(REMOVAL);
    const condition = { absent: false, version, activeFrom: activeAt, activeTo: activeAt } as const;
    rejected(await client.write(client.record(), { ...condition, token: expected?.token }));
    assert.ok(isTombstone(await client.readRecord()));
  });

  test("_scan returns what _read returns, under the key that it was written with", async harness => {
    const store = await harness.open();
    const clients = ["a", "b"].map(sid => new RecordClient(store, harness, sid));
    for (const client of clients) await client.create({ user: `user of ${client.key}` });
    await new RecordClient(store, harness, "removed").remove(REMOVAL);
    const scanned = new Map<string, StoredRecord>();
    for await (const page of primitivesOf(store)._scan(store.prefix, newOperation())) {
      for (const found of page) scanned.set(found.key, recordIn(found));
    }
    for (const client of clients) {
      const record = scanned.get(client.key);
      assert.ok(record, "expected the scan to find the record");
      assert.deepEqual(same(record), same(await client.readRecord()));
      scanned.delete(client.key);
    }
    // A backend may leave tombstones out.
    for (const record of scanned.values()) assert.ok(isTombstone(record));
  });
}
