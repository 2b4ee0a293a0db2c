import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { lasting, load, plain, requestSession, respond, stored, unusualSids } from "../sessions.js";

export function destroyTests(test: DefineTest): void {
  test("destroy removes a session", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    await store.destroy("sid");
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
  });

  test("destroy succeeds for a session that does not exist, and a second time", async ({ open }) => {
    const store = await open();
    await store.destroy("sid");
    await store.set("sid", plain());
    await store.destroy("sid");
    await store.destroy("sid");
    assert.equal(await store.get("sid"), null);
  });

  test("destroy removes no other session", async ({ open }) => {
    const store = await open();
    const others = ["a", "abc", "a*", "b", "A"];
    for (const sid of ["ab", ...others]) await store.set(sid, plain({ sid }));
    await store.destroy("ab");
    for (const sid of others) assert.deepEqual(await stored(store, sid), { sid });
  });

  test("destroy removes sessions under sids of any characters", async ({ open }) => {
    const store = await open();
    await Promise.all(unusualSids.map(sid => store.set(sid, plain())));
    await Promise.all(unusualSids.map(sid => store.destroy(sid)));
    assert.deepEqual(await store.ids(), []);
  });

  test("destroy leaves the sid free for a new session", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    for (const session of [plain({ user: "ben" }), requestSession(store, "sid", plain({ user: "ben" }))]) {
      await store.destroy("sid");
      await store.set("sid", session);
      assert.deepEqual(await stored(store, "sid"), { user: "ben" });
    }
  });

  test("destroy removes an ended session, so that a request that was running cannot save it", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const session = await load(store, "sid");
    clock.advance(20);
    await store.destroy("sid");
    respond(session, clock);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });
}
