import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { assertEndsIn, find, lasting, load, plain, setMaxAge, storedExpiry, visit } from "../sessions.js";

export function absoluteTimeoutTests(test: DefineTest): void {
  test("a session ends absoluteTimeout after its creation, however long its lifetime", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 100, ttl: 1000 });
    await store.set("by-ttl", plain());
    await store.set("by-cookie", lasting(1000, clock));
    assert.equal(await storedExpiry(store, "by-cookie"), clock.in(100).toISOString());
    clock.advance(99.999);
    assert.equal(await store.length(), 2);
    clock.advance(0.001);
    assert.equal(await store.length(), 0);
  });

  test("absoluteTimeout counts from the creation of a session, not from a save or touch", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 100 });
    await store.set("sid", lasting(60, clock));
    clock.advance(50);
    await visit(store, "sid", clock);
    await store.touch("sid", lasting(60, clock));
    const session = await load(store, "sid");
    session.views = 1;
    await store.set("sid", session);
    const longer = await load(store, "sid");
    setMaxAge(longer, 600, clock);
    await store.set("sid", longer);
    await assertEndsIn(50, store, "sid", clock);
  });

  test("a session that is replaced by plain data or saved from a listing keeps its creation", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 100, ttl: 1000 });
    await store.set("sid", plain());
    clock.advance(50);
    await store.set("sid", plain({ user: "ann" }));
    for (const session of await store.all()) await store.set("sid", Object.assign(session, { all: 1 }));
    for await (const [sid, session] of store.entries()) await store.set(sid, session);
    await assertEndsIn(50, store, "sid", clock);
  });

  test("a session that is created again under the same sid has a creation of its own", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 100, ttl: 1000 });
    await store.set("sid", plain());
    clock.advance(50);
    await store.destroy("sid");
    await store.set("sid", plain());
    await assertEndsIn(100, store, "sid", clock);
  });

  test("touchAfter does not let a session live beyond absoluteTimeout", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 100, touchAfter: 60 });
    await store.set("sid", lasting(90, clock));
    await assertEndsIn(100, store, "sid", clock);
  });

  test("a touch just before absoluteTimeout ends nothing earlier", async ({ open, clock }) => {
    const store = await open({ absoluteTimeout: 100, touchAfter: 60 });
    await store.set("sid", lasting(100, clock));
    await store.touch("sid", lasting(50, clock));
    assert.equal(await storedExpiry(store, "sid"), clock.in(100).toISOString());
    clock.advance(99.999);
    await visit(store, "sid", clock);
    await find(store, "sid");
  });

  test("a session lives until absoluteTimeout although a touch shortly before was skipped", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 1000, touchAfter: 60, ttl: 600 });
    await store.set("sid", plain());
    for (const seconds of [330, 70, 200, 200, 185, 4]) {
      clock.advance(seconds);
      await visit(store, "sid", clock);
    }
    await assertEndsIn(11, store, "sid", clock);
  });

  test("no save and no touch brings back a session that absoluteTimeout has ended", async ({
    open,
    clock,
  }) => {
    const store = await open({ absoluteTimeout: 100 });
    await store.set("sid", lasting(1000, clock));
    const session = await load(store, "sid");
    clock.advance(100);
    session.views = 1;
    await store.set("sid", session);
    await store.touch("sid", session);
    assert.equal(await store.get("sid"), null);
    clock.advance(60);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
  });
}
