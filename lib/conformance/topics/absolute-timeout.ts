import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { assertEndsIn, load, plain, storedExpiry } from "../sessions.js";

export function absoluteTimeoutTests(test: DefineTest): void {
  test("ends a session absoluteTimeout after it began, however late its expiry", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 100, ttl: 1000 });
    await store.set("by-ttl", plain());
    await store.set("by-cookie", plain({}, clock.in(1000)));
    assert.equal(await storedExpiry(store, "by-cookie"), clock.in(100).toISOString());
    clock.advance(99.999);
    assert.equal(await store.length(), 2);
    clock.advance(0.001);
    assert.equal(await store.length(), 0);
  });

  test("counts absoluteTimeout from the session's beginning, not from its last save or touch", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 100 });
    await store.set("sid", plain({}, clock.in(60)));
    clock.advance(50);
    const session = await load(store, "sid");
    session.cookie.expires = clock.in(60);
    await store.touch("sid", session);
    await store.touch("sid", plain({}, clock.in(60)));
    session.views = 1;
    await store.set("sid", session);
    const again = await load(store, "sid");
    again.cookie.expires = clock.in(60);
    await store.set("sid", again);
    await assertEndsIn(50, store, "sid", clock);
  });

  test("gives a session that is set anew a new beginning", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 100, ttl: 1000 });
    await store.set("sid", plain());
    clock.advance(50);
    await store.set("sid", plain());
    await assertEndsIn(100, store, "sid", clock);
  });

  test("lets touchAfter not prolong a session beyond absoluteTimeout", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 100, touchAfter: 60 });
    await store.set("sid", plain({}, clock.in(90)));
    await assertEndsIn(100, store, "sid", clock);
  });

  test("shows no earlier end after a touch that it leaves no room", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 100, touchAfter: 60 });
    await store.set("sid", plain({}, clock.in(100)));
    await store.touch("sid", plain({}, clock.in(50)));
    assert.equal(await storedExpiry(store, "sid"), clock.in(100).toISOString());
  });

  test("is not missed because a touch shortly before it was skipped", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 1000, touchAfter: 60, ttl: 600 });
    await store.set("sid", plain());
    for (const seconds of [330, 70, 200, 200, 185, 4]) {
      clock.advance(seconds);
      await store.touch("sid", await load(store, "sid"));
    }
    await assertEndsIn(11, store, "sid", clock);
  });
}
