import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { find, load, plain, stored, storedExpiry } from "../sessions.js";

export function touchTests(test: DefineTest): void {
  test("prolongs a session", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    clock.advance(9);
    await store.touch("sid", plain({}, clock.in(10)));
    clock.advance(9.999);
    await find(store, "sid");
    clock.advance(0.001);
    assert.equal(await store.get("sid"), null);
  });

  test("prolongs a session whose cookie has no expiry by ttl", async ({ open, clock }) => {
    const store = await open({ ttl: 10 });
    await store.set("sid", plain());
    clock.advance(9);
    await store.touch("sid", plain());
    clock.advance(9);
    await find(store, "sid");
    clock.advance(1);
    assert.equal(await store.get("sid"), null);
  });

  test("changes nothing but the expiry", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }, clock.in(10)));
    const session = await load(store, "sid");
    session.user = "ben";
    session.cookie.expires = clock.in(60);
    await store.touch("sid", session);
    await store.touch("sid", plain({ user: "cleo" }, clock.in(90)));
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("is no change for a request that loaded the session before", async ({ open, clock }) => {
    const store = await open({ conflict: "error" });
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    const other = await load(store, "sid");
    other.cookie.expires = clock.in(60);
    await store.touch("sid", other);
    session.user = "ann";
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("shows its expiry in the cookie that get, all and entries return", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    await store.touch("sid", plain({}, clock.in(60)));
    const expires = clock.in(60).toISOString();
    assert.equal(await storedExpiry(store, "sid"), expires);
    assert.equal((await store.all())[0]?.cookie.expires, expires);
    for await (const [, session] of store.entries()) assert.equal(session.cookie.expires, expires);
  });

  test("leaves a cookie without an expiry as it was", async ({ open, clock }) => {
    const store = await open({ ttl: 10 });
    await store.set("sid", plain());
    await store.touch("sid", plain({}, clock.in(60)));
    assert.deepEqual((await find(store, "sid")).cookie, { originalMaxAge: null });
  });

  test("never shortens a session", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(60)));
    const session = await load(store, "sid");
    session.cookie.expires = clock.in(10);
    for (const touched of [session, plain({}, clock.in(10))]) {
      await store.touch("sid", touched);
      assert.equal(await storedExpiry(store, "sid"), clock.in(60).toISOString());
    }
    clock.advance(59);
    await find(store, "sid");
  });

  test("does nothing if the expiry it brings is past", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(60)));
    await store.touch("sid", plain({}, clock.in(-1)));
    assert.equal(await storedExpiry(store, "sid"), clock.in(60).toISOString());
  });

  test("succeeds for a session that does not exist, and writes nothing", async ({ open, clock }) => {
    const store = await open();
    await store.touch("sid", plain({ user: "ann" }, clock.in(60)));
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
    await store.set("sid", plain({ user: "ben" }, clock.in(10)));
    assert.equal(await storedExpiry(store, "sid"), clock.in(10).toISOString());
  });

  test("does not bring back a session that has expired", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    clock.advance(10);
    session.cookie.expires = clock.in(60);
    for (const touched of [session, plain({}, clock.in(60))]) {
      await store.touch("sid", touched);
      assert.equal(await store.get("sid"), null);
    }
  });

  test("does not bring back a session that was destroyed", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    await store.destroy("sid");
    session.cookie.expires = clock.in(60);
    await store.touch("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("does nothing with disableTouch", async ({ open, clock }) => {
    const store = await open({ disableTouch: true, touchAfter: undefined });
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    session.cookie.expires = clock.in(60);
    for (const touched of [session, plain({}, clock.in(60))]) await store.touch("sid", touched);
    clock.advance(9.999);
    await find(store, "sid");
    clock.advance(0.001);
    assert.equal(await store.get("sid"), null);
  });
}
