import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { StoreOptions } from "../../../index.js";
import type { DefineTest } from "../../harness.js";
import { eventsOf } from "../../observe.js";
import { intercept, newOperation, primitivesOf, sentBy } from "../../primitives.js";
import { recordIn } from "../../record-client.js";
import { load, plain, stored } from "../../sessions.js";
import { assertDevices, devicesOf, handleOf, openWithUsers, signIn, signInAll } from "../../user-sessions.js";

const USER = "ann@example.com";

export function userSecretTests(test: DefineTest): void {
  const secrets: Record<string, StoreOptions> = {
    "hashIds: { secret }": { hashIds: { secret: "a secret" } },
    encryption: { encryption: { keys: [randomBytes(32)] } },
    "hashIds: { secret } and encryption": {
      hashIds: { secret: "a secret" },
      encryption: { keys: [randomBytes(32)] },
    },
  };
  for (const [name, options] of Object.entries(secrets)) {
    test(`with ${name} the backend has the user as a keyed digest`, async harness => {
      const store = await openWithUsers(harness, options);
      const writes = sentBy(store, "_write");
      await signInAll(store, USER, "s1", "s2");
      for (const { argument } of writes) {
        const { record, entry } = argument;
        assert.ok(record.user !== undefined && !record.user.includes("ann"));
        assert.equal(entry?.user, record.user);
      }
      await assertDevices(store, { [USER]: ["s1", "s2"], bob: [] });
      const handle = await handleOf(store, USER, "s2");
      assert.equal(await store.destroyByUser(USER, { except: "s1" }), 1);
      await assert.rejects(store.destroyByHandle(USER, handle), { code: "ERR_SESSION_NOT_FOUND" });
      await assertDevices(store, { [USER]: ["s1"] });
    });
  }

  test("another secret makes another digest", async harness => {
    const digests = new Set<string | undefined>();
    for (const secret of ["one", "two"]) {
      const store = await openWithUsers(harness, { hashIds: { secret } });
      const writes = sentBy(store, "_write");
      await signIn(store, "s", USER);
      digests.add(writes[0]?.argument.record.user);
    }
    assert.equal(digests.size, 2);
  });

  test("sessions stay in the list while the key of the encryption is changed", async harness => {
    if (harness.backend.capabilities?.shared === false) return;
    const [older, newer] = [randomBytes(32), randomBytes(32)];
    const before = await openWithUsers(harness, { encryption: { keys: [older] } });
    await signInAll(before, USER, "s1", "s2");
    const after = await openWithUsers(harness, { encryption: { keys: [newer, older] } });
    await signIn(after, "s3", USER);
    await assertDevices(after, { [USER]: ["s1", "s2", "s3"] });
    await after.set("s1", Object.assign(await load(after, "s1"), { cart: 1 }));
    await assertDevices(after, { [USER]: ["s1", "s2", "s3"] });
    assert.equal(await after.destroyByUser(USER, { except: "s1" }), 2);
    const later = await openWithUsers(harness, { encryption: { keys: [newer] } });
    await assertDevices(later, { [USER]: ["s1"] });
  });

  test("with encryption, a session that is filed under another user is reported as corrupt", async harness => {
    const store = await openWithUsers(harness, { encryption: { keys: [randomBytes(32)] } });
    const corrupt = eventsOf(store, "corrupt");
    await signIn(store, "mine", USER);
    const found = await primitivesOf(store)._read(`${store.prefix}mine`, newOperation());
    const { user } = recordIn(found);
    intercept(store, "_write", write => (key, argument, operation) => {
      const { entry, record } = argument;
      const forged = {
        ...argument,
        record: { ...record, user },
        entry: entry && { ...entry, user: user as string },
      };
      return write(key, forged, operation);
    });
    await signIn(store, "forged", "bob");
    assert.deepEqual(await devicesOf(store, USER), ["mine"]);
    assert.equal((await corrupt()).length, 1);
    assert.deepEqual(await stored(store, "forged"), { user: "bob", device: "forged" });
  });

  test("`hashIds` without a secret refuses `user`, and says why", async harness => {
    for (const hashIds of [true, {}]) {
      await assert.rejects(openWithUsers(harness, { hashIds }), /`user`.*`hashIds`.*secret/);
    }
  });
}

export function userArgumentTests(test: DefineTest): void {
  test("a session whose user is none is not saved, with a clear error", async harness => {
    const bad: [unknown, RegExp][] = [
      ["", /an empty string/],
      [7, /number/],
      [{}, /object/],
      ["x".repeat(10_000), /10000 characters/],
    ];
    for (const [user, message] of bad) {
      const store = await openWithUsers(harness);
      await assert.rejects(store.set("s", plain({ user })), error => {
        assert.equal((error as { code?: string }).code, "ERR_SESSION_USER");
        assert.match((error as Error).message, message);
        return true;
      });
      assert.equal(await store.get("s"), null);
    }
    const throwing = await openWithUsers(harness, {
      user: () => {
        throw new RangeError("no");
      },
    });
    await assert.rejects(throwing.set("s", plain()), { code: "ERR_SESSION_USER" });
    assert.equal(await throwing.get("s"), null);
  });

  test("a session without a user is saved, whether that is undefined or null", async harness => {
    const store = await openWithUsers(harness);
    for (const user of [undefined, null]) {
      await store.set("s", plain({ user }));
      assert.ok(await store.get("s"));
    }
  });

  test("methods for users reject wrong arguments with a TypeError", async harness => {
    const store = await openWithUsers(harness);
    await signIn(store, "s", "ann");
    const next = (user: unknown, options?: object) =>
      store.findByUser(user as string, options as never).next() as Promise<unknown>;
    for (const user of [undefined, null, "", 7, {}, "x".repeat(10_000)] as string[]) {
      await assert.rejects(next(user), TypeError);
      await assert.rejects(store.countByUser(user), TypeError);
      await assert.rejects(store.destroyByUser(user), TypeError);
      await assert.rejects(
        store.updateByUser(user, () => {}),
        TypeError,
      );
      await assert.rejects(store.destroyByHandle(user, "handle"), TypeError);
    }
    await assert.rejects(next("ann", { current: 7 }), TypeError);
    // What a form may send.
    await assert.rejects(store.destroyByHandle("ann", ""), { code: "ERR_SESSION_NOT_FOUND" });
    await assert.rejects(store.destroyByUser("ann", { except: "" }), TypeError);
    for (const value of [7, {}] as unknown as string[]) {
      await assert.rejects(store.destroyByUser("ann", { except: value }), TypeError);
      await assert.rejects(store.destroyByHandle("ann", value), TypeError);
      await assert.rejects(store.updateByUser("ann", value as never), TypeError);
    }
    await assertDevices(store, { ann: ["s"] });
  });

  test("without the option `user`, methods for users reject with a TypeError that says so", async harness => {
    const store = await harness.open();
    const calls: (() => Promise<unknown>)[] = [
      () => store.findByUser("ann").next(),
      () => store.reindex().next(),
      () => store.countByUser("ann"),
      () => store.destroyByUser("ann"),
      () => store.updateByUser("ann", () => {}),
      () => store.destroyByHandle("ann", "handle"),
    ];
    for (const call of calls) {
      await assert.rejects(
        call(),
        error => error instanceof TypeError && /option `user`/.test(error.message),
      );
    }
  });

  test("wrong options for users are refused with what is expected", async harness => {
    for (const maxSessionsPerUser of [
      0,
      -1,
      1.5,
      "3",
      {},
      { max: 0 },
      { max: 2, onExceeded: "x" },
      { max: 1, min: 1 },
    ]) {
      const options = { maxSessionsPerUser } as StoreOptions;
      await assert.rejects(openWithUsers(harness, options), /`maxSessionsPerUser`/);
    }
    await assert.rejects(
      harness.open({ maxSessionsPerUser: { max: 1 } }),
      /`maxSessionsPerUser` needs .*`user`/,
    );
    await assert.rejects(harness.open({ user: "ann" as never }), /`user`/);
  });

  test("methods for users call back once, also with options, and can be cancelled", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2", "a3");
    const called = <T>(call: (callback: (error: unknown, value?: T) => void) => void) =>
      new Promise<T | undefined>((resolve, reject) =>
        call((error, value) => (error ? reject(error) : resolve(value))),
      );
    assert.equal(await called<number>(callback => store.countByUser("ann", callback)), 3);
    assert.equal(await called<number>(callback => store.updateByUser("ann", () => {}, callback)), 3);
    assert.equal(await called<number>(callback => store.destroyByUser("ann", { except: "a1" }, callback)), 2);
    const handle = await handleOf(store, "ann", "a1");
    assert.equal(await called<void>(callback => store.destroyByHandle("ann", handle, callback)), undefined);
    assert.equal(await called<number>(callback => store.destroyByUser("ann", callback)), 0);
    await signIn(store, "a4", "ann");
    const { signal } = { signal: AbortSignal.abort(new RangeError("cancelled")) };
    await assert.rejects(store.destroyByUser("ann", { signal }), RangeError);
    await assert.rejects(store.countByUser("ann", { signal }), RangeError);
    await assert.rejects(store.findByUser("ann", { signal }).next() as Promise<unknown>, RangeError);
    await assertDevices(store, { ann: ["a4"] });
    await store.close();
    await assert.rejects(store.countByUser("ann"), { code: "ERR_STORE_CLOSED" });
    await assert.rejects(store.findByUser("ann").next() as Promise<unknown>, { code: "ERR_STORE_CLOSED" });
  });
}
