import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { assertEndsIn, lasting, load, plain, setMaxAge, stored, storedExpiry } from "../sessions.js";

const LARGE_BYTES = 200_000;

export function setTests(test: DefineTest): void {
  test("set replaces all data of a session by plain data", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann", cart: ["book"] }));
    await store.set("sid", plain({ user: "ben" }));
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
    assert.equal(await store.length(), 1);
  });

  test("plain data replaces the lifetime of a session, also by a shorter one", async ({ open, clock }) => {
    const store = await open();
    for (const seconds of [10, 60, 30]) {
      await store.set("sid", plain({}, clock.in(seconds)));
      assert.equal(await storedExpiry(store, "sid"), clock.in(seconds).toISOString());
    }
    await assertEndsIn(30, store, "sid", clock);
  });

  test("set saves a session that was loaded and changed", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ views: 1, old: true }));
    const session = await load(store, "sid");
    session.views = 2;
    delete session.old;
    session.added = { deep: [] };
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { views: 2, added: { deep: [] } });
  });

  test("set stores a session under another sid than it was loaded from as a new one", async ({ open }) => {
    const store = await open();
    await store.set("old", plain({ user: "ann" }));
    const session = await load(store, "old");
    await store.destroy("old");
    await store.set("new", session);
    assert.deepEqual(await stored(store, "new"), { user: "ann" });
    assert.equal(await store.get("old"), null);
  });

  test("set removes a session whose expiry the request has set into the past", async ({ open, clock }) => {
    const store = await open();
    for (const seconds of [0, -1]) {
      await store.set("plain", plain({ user: "ann" }));
      await store.set("plain", plain({ user: "ann" }, clock.in(seconds)));
      assert.equal(await store.get("plain"), null);
      await store.set(`loaded${seconds}`, lasting(60, clock));
      const session = await load(store, `loaded${seconds}`);
      setMaxAge(session, seconds, clock);
      await store.set(`loaded${seconds}`, session);
      assert.equal(await store.get(`loaded${seconds}`), null);
    }
    assert.equal(await store.length(), 0);
  });

  test("set stores no new session whose expiry is past", async ({ open, clock }) => {
    const store = await open();
    for (const seconds of [0, -1]) await store.set("sid", plain({}, clock.in(seconds)));
    assert.equal(await store.get("sid"), null);
  });

  test("a removal by a past expiry does not remove a new session with the same id", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock, { user: "ann" }));
    const session = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", lasting(60, clock, { user: "ben" }));
    setMaxAge(session, 0, clock);
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });

  test(`set stores a session of ${LARGE_BYTES} bytes whole`, async ({ open }) => {
    const store = await open();
    const text = "0123456789".repeat(LARGE_BYTES / 10);
    await store.set("sid", plain({ text }));
    assert.deepEqual(await stored(store, "sid"), { text });
  });

  const circular: Record<string, unknown> = {};
  circular.self = circular;
  for (const [kind, value] of Object.entries({ "a cycle": circular, "a BigInt": 1n })) {
    test(`set rejects a session with ${kind} with ERR_SESSION_SERIALIZE and leaves the record`, async ({
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

  test("set rejects a session whose toJSON returns no object with ERR_SESSION_SERIALIZE and leaves the record", async ({
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

  test("set rejects a cookie whose getters throw with ERR_SESSION_SERIALIZE and leaves the record", async ({
    open,
  }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const fail = () => {
      throw new Error("unreadable");
    };
    for (const field of ["originalMaxAge", "expires"]) {
      const session = plain();
      Object.defineProperty(session.cookie, field, { get: fail, enumerable: true });
      await assert.rejects(store.set("sid", session), { code: "ERR_SESSION_SERIALIZE" });
      await store.touch("sid", session);
    }
    const unreadable = Object.defineProperty(plain(), "cookie", { get: fail, enumerable: true });
    await assert.rejects(store.set("sid", unreadable), { code: "ERR_SESSION_SERIALIZE" });
    await store.touch("sid", unreadable);
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("set gives the serializer's own error as cause of ERR_SESSION_SERIALIZE", async ({ open }) => {
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
  test("set rejects a session beyond the limit with ERR_SESSION_TOO_LARGE, names the limit, and leaves the record", async ({
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

  test("the limit counts the bytes of a session, not its characters", async ({ open, backend }) => {
    const limit = backend.capabilities?.maxSessionBytes ?? 0;
    const store = await open();
    const session = plain({ text: "世".repeat(Math.ceil(limit / 3)) });
    await assert.rejects(store.set("sid", session), { code: "ERR_SESSION_TOO_LARGE" });
    assert.equal(await store.get("sid"), null);
  });
}
