import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { load, plain, stored, unusualSids } from "../sessions.js";

export function destroyTests(test: DefineTest): void {
  test("removes a session", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    await store.destroy("sid");
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
  });

  test("succeeds for a session that does not exist, and a second time", async ({ open }) => {
    const store = await open();
    await store.destroy("sid");
    await store.set("sid", plain());
    await store.destroy("sid");
    await store.destroy("sid");
    assert.equal(await store.get("sid"), null);
  });

  test("removes no other session", async ({ open }) => {
    const store = await open();
    const others = ["a", "abc", "a*", "b", "A"];
    for (const sid of ["ab", ...others]) await store.set(sid, plain({ sid }));
    await store.destroy("ab");
    for (const sid of others) assert.deepEqual(await stored(store, sid), { sid });
  });

  test("removes sessions under sids of any characters", async ({ open }) => {
    const store = await open();
    await Promise.all(unusualSids.map(sid => store.set(sid, plain())));
    await Promise.all(unusualSids.map(sid => store.destroy(sid)));
    assert.deepEqual(await store.ids(), []);
  });

  test("leaves the sid free for a new session", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    await store.destroy("sid");
    await store.set("sid", plain({ user: "ben" }));
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });

  test("removes an expired session, so that a request that was running cannot save it", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    clock.advance(20);
    await store.destroy("sid");
    session.cookie.expires = clock.in(60);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });
}
