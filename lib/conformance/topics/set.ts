import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { load, plain, stored, storedExpiry } from "../sessions.js";

const LARGE_BYTES = 200_000;

export function setTests(test: DefineTest): void {
  test("replaces all data of a session", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann", cart: ["book"] }));
    await store.set("sid", plain({ user: "ben" }));
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
    assert.equal(await store.length(), 1);
  });

  test("replaces the expiry of a session, also by an earlier one", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    await store.set("sid", plain({}, clock.in(60)));
    assert.equal(await storedExpiry(store, "sid"), clock.in(60).toISOString());
    await store.set("sid", plain({}, clock.in(30)));
    assert.equal(await storedExpiry(store, "sid"), clock.in(30).toISOString());
    clock.advance(30);
    assert.equal(await store.get("sid"), null);
  });

  test("removes a session whose expiry is past", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    await store.set("sid", plain({ user: "ann" }, clock.in(0)));
    assert.equal(await store.get("sid"), null);
    assert.equal(await store.length(), 0);
  });

  test("stores no new session whose expiry is past", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(-1)));
    assert.equal(await store.get("sid"), null);
  });

  test("saves a session that was loaded and changed", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ views: 1, old: true }));
    const session = await load(store, "sid");
    session.views = 2;
    delete session.old;
    session.added = { deep: [] };
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { views: 2, added: { deep: [] } });
  });

  test("stores under another sid than it was loaded from as a new session", async ({ open }) => {
    const store = await open();
    await store.set("old", plain({ user: "ann" }));
    const session = await load(store, "old");
    await store.destroy("old");
    await store.set("new", session);
    assert.deepEqual(await stored(store, "new"), { user: "ann" });
    assert.equal(await store.get("old"), null);
  });

  test(`stores a session of ${LARGE_BYTES} bytes whole`, async ({ open }) => {
    const store = await open();
    const text = "0123456789".repeat(LARGE_BYTES / 10);
    await store.set("sid", plain({ text }));
    assert.deepEqual(await stored(store, "sid"), { text });
  });

  const circular: Record<string, unknown> = {};
  circular.self = circular;
  for (const [kind, value] of Object.entries({ "a cycle": circular, "a BigInt": 1n })) {
    test(`rejects a session with ${kind} with ERR_SESSION_SERIALIZE and leaves the record`, async ({
      open,
    }) => {
      const store = await open();
      await store.set("sid", plain({ user: "ann" }));
      const session = await load(store, "sid");
      session.value = value;
      for (const attempt of [session, plain({ value })]) {
        await assert.rejects(store.set("sid", attempt), { code: "ERR_SESSION_SERIALIZE" });
      }
      assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    });
  }

  test("rejects a session whose toJSON gives no object with ERR_SESSION_SERIALIZE and leaves the record", async ({
    open,
  }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    for (const given of ["text", null, undefined, 1, []]) {
      const lying = Object.assign(await load(store, "sid"), { toJSON: () => given });
      for (const attempt of [lying, plain({ toJSON: () => given })]) {
        await assert.rejects(store.set("sid", attempt), { code: "ERR_SESSION_SERIALIZE" });
      }
    }
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("gives the serializer's own error as cause of ERR_SESSION_SERIALIZE", async ({ open }) => {
    const cause = new Error("this serializer never works");
    const fail = () => {
      throw cause;
    };
    for (const stringify of [fail, async () => fail()]) {
      const store = await open({ serializer: { stringify, parse: JSON.parse } });
      await assert.rejects(store.set("sid", plain()), { code: "ERR_SESSION_SERIALIZE", cause });
    }
    const store = await open({ serializer: { stringify: () => undefined as never, parse: JSON.parse } });
    await assert.rejects(store.set("sid", plain()), { code: "ERR_SESSION_SERIALIZE" });
  });
}

/** For backends with capability `maxSessionBytes`. */
export function sizeLimitTests(test: DefineTest): void {
  test("rejects a session beyond the limit with ERR_SESSION_TOO_LARGE, says the limit, and leaves the record", async ({
    open,
    backend,
  }) => {
    const limit = backend.capabilities?.maxSessionBytes ?? 0;
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const session = await load(store, "sid");
    session.text = "x".repeat(limit);
    for (const attempt of [session, plain({ text: session.text })]) {
      const refused = { code: "ERR_SESSION_TOO_LARGE", message: new RegExp(String(limit)) };
      await assert.rejects(store.set("sid", attempt), refused);
    }
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("counts the bytes of a session, not its characters", async ({ open, backend }) => {
    const limit = backend.capabilities?.maxSessionBytes ?? 0;
    const store = await open();
    const session = plain({ text: "世".repeat(Math.ceil(limit / 3)) });
    await assert.rejects(store.set("sid", session), { code: "ERR_SESSION_TOO_LARGE" });
    assert.equal(await store.get("sid"), null);
  });
}
