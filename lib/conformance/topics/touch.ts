import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { sentBy } from "../primitives.js";
import {
  assertEndsIn,
  find,
  lasting,
  load,
  plain,
  respond,
  setMaxAge,
  stored,
  storedExpiry,
  visit,
} from "../sessions.js";

export function touchTests(test: DefineTest): void {
  test("touch lets a session live its lifetime from now on", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    clock.advance(9);
    await visit(store, "sid", clock);
    clock.advance(9);
    await store.touch("sid", lasting(10, clock));
    await assertEndsIn(10, store, "sid", clock);
  });

  test("touch lets a session whose cookie has no maxAge live its ttl from now on", async ({
    open,
    clock,
  }) => {
    const store = await open({ ttl: 10 });
    await store.set("sid", plain());
    clock.advance(9);
    await visit(store, "sid", clock);
    clock.advance(9);
    await store.touch("sid", plain());
    await assertEndsIn(10, store, "sid", clock);
  });

  test("touch moves the last use of a session and changes nothing else", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock, { user: "ann" }));
    const session = await load(store, "sid");
    clock.advance(5);
    session.user = "ben";
    respond(session, clock);
    await store.touch("sid", session);
    await store.touch("sid", lasting(90, clock, { user: "cleo" }));
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    await assertEndsIn(10, store, "sid", clock);
  });

  test("touch is no change for a request that loaded the session before", async ({ open, clock }) => {
    const store = await open({ conflict: "error" });
    await store.set("sid", lasting(10, clock));
    const session = await load(store, "sid");
    clock.advance(5);
    await visit(store, "sid", clock);
    session.user = "ann";
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("touch moves the expiry in the cookie that get, all and entries return", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    clock.advance(50);
    await visit(store, "sid", clock);
    const expires = clock.in(60).toISOString();
    assert.equal(await storedExpiry(store, "sid"), expires);
    assert.equal((await store.all())[0]?.cookie.expires, expires);
    for await (const [, session] of store.entries()) assert.equal(session.cookie.expires, expires);
  });

  test("touch leaves a cookie without an expiry as it was", async ({ open, clock }) => {
    const store = await open({ ttl: 10 });
    await store.set("sid", plain());
    await store.touch("sid", plain({}, clock.in(60)));
    assert.deepEqual((await find(store, "sid")).cookie, { originalMaxAge: null });
  });

  test("touch never moves the last use of a session back", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const slow = await load(store, "sid");
    clock.advance(10);
    respond(slow, clock);
    clock.advance(20);
    await visit(store, "sid", clock);
    const stale = [plain({}, clock.in(10)), lasting(10, clock), plain({}, clock.in(-1)), slow];
    for (const touched of stale) {
      await store.touch("sid", touched);
    }
    await assertEndsIn(60, store, "sid", clock);
  });

  test("touch of a session that another request has used since it was loaded moves it too", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(30, clock));
    const slow = await load(store, "sid");
    clock.advance(20);
    await visit(store, "sid", clock);
    clock.advance(20);
    respond(slow, clock);
    await store.touch("sid", slow);
    await assertEndsIn(30, store, "sid", clock);
  });

  test("touch succeeds for a session that does not exist, and writes nothing", async ({ open, clock }) => {
    const store = await open();
    await store.touch("sid", lasting(60, clock, { user: "ann" }));
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
    await store.set("sid", lasting(10, clock, { user: "ben" }));
    await assertEndsIn(10, store, "sid", clock);
  });

  test("touch does not bring back a session that has ended", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const session = await load(store, "sid");
    clock.advance(10);
    respond(session, clock);
    for (const touched of [session, lasting(60, clock)]) {
      await store.touch("sid", touched);
      assert.equal(await store.get("sid"), null);
    }
  });

  test("touch does not bring back a session that was destroyed", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const [touched, changed] = [await load(store, "sid"), await load(store, "sid")];
    await store.destroy("sid");
    respond(touched, clock);
    await store.touch("sid", touched);
    setMaxAge(changed, 60, clock);
    await store.touch("sid", changed);
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
  });

  test("touch does not touch a session that was created again under the same sid", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const changed = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", lasting(10, clock));
    setMaxAge(changed, 600, clock);
    await store.touch("sid", changed);
    await assertEndsIn(10, store, "sid", clock);
  });

  test("touch does nothing with disableTouch", async ({ open, clock }) => {
    const store = await open({ disableTouch: true, touchAfter: undefined });
    await store.set("sid", lasting(10, clock));
    clock.advance(5);
    await visit(store, "sid", clock);
    await store.touch("sid", lasting(60, clock));
    await assertEndsIn(5, store, "sid", clock);
  });

  test("of the touches of parallel requests one is written", async ({ open, clock }) => {
    const store = await open({ touchAfter: 10 });
    await store.set("sid", lasting(600, clock));
    const sessions = await Promise.all(Array.from({ length: 20 }, () => load(store, "sid")));
    const touches = sentBy(store, "_touch");
    clock.advance(60);
    await Promise.all(
      sessions.map(session => {
        respond(session, clock);
        return store.touch("sid", session);
      }),
    );
    assert.equal(touches.length, 1);
    assert.equal(await storedExpiry(store, "sid"), clock.in(600).toISOString());
  });
}
