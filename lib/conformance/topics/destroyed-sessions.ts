import assert from "node:assert/strict";
import type { ConflictPolicy } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import {
  assertEndsIn,
  lasting,
  load,
  plain,
  requestSession,
  respond,
  setMaxAge,
  stored,
} from "../sessions.js";

const policies: ConflictPolicy[] = ["merge", "overwrite", "error"];

export function destroyedSessionTests(test: DefineTest): void {
  for (const conflict of policies) {
    test(`a session destroyed while a request ran is not brought back by its save (conflict: ${conflict})`, async ({
      open,
    }) => {
      const store = await open({ conflict });
      await store.set("sid", plain({ user: "ann" }));
      const session = await load(store, "sid");
      await store.destroy("sid");
      session.views = 1;
      await store.set("sid", session);
      assert.equal(await store.get("sid"), null);
      assert.deepEqual(await store.ids(), []);
    });

    test(`a session created again under the same sid is not overwritten by a request of the old one (conflict: ${conflict})`, async ({
      open,
    }) => {
      const store = await open({ conflict });
      await store.set("sid", plain({ user: "ann" }));
      const session = await load(store, "sid");
      await store.destroy("sid");
      await store.set("sid", plain({ user: "ben" }));
      session.views = 1;
      await store.set("sid", session);
      assert.deepEqual(await stored(store, "sid"), { user: "ben" });
    });
  }

  test("a session that plain data has replaced is the same session for a request that loaded it", async ({
    open,
  }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const session = await load(store, "sid");
    await store.set("sid", plain({ user: "ben" }));
    session.views = 1;
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ben", views: 1 });
  });

  test("an object of get that never became a Session is not brought back", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const data = await store.get("sid");
    assert.ok(data);
    await store.destroy("sid");
    await store.set("sid", data);
    assert.equal(await store.get("sid"), null);
  });

  test("a session that was cleared is not brought back", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.clear();
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("a session that another request has ended by its maxAge is not brought back", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const [session, other] = [await load(store, "sid"), await load(store, "sid")];
    setMaxAge(other, -1, clock);
    await store.set("sid", other);
    session.views = 1;
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("the save of a request that ends a session destroyed meanwhile changes nothing", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const session = await load(store, "sid");
    await store.destroy("sid");
    setMaxAge(session, 0, clock);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
  });

  for (const touchAfter of [0, 30]) {
    for (const conflict of policies) {
      test(`a session that ended a minute ago is not brought back (touchAfter: ${touchAfter}, conflict: ${conflict})`, async ({
        open,
        clock,
      }) => {
        const store = await open({ touchAfter, conflict });
        await store.set("sid", lasting(10, clock, { user: "ann" }));
        const [saved, touched, changed] = await Promise.all([1, 2, 3].map(() => load(store, "sid")));
        assert.ok(saved && touched && changed);
        clock.advance(10 + touchAfter + 60);
        respond(saved, clock);
        await store.set("sid", saved);
        await store.set("sid", Object.assign(saved, { views: 1 }));
        respond(touched, clock);
        await store.touch("sid", touched);
        setMaxAge(changed, 600, clock);
        await store.touch("sid", changed);
        await store.touch("sid", lasting(10, clock));
        assert.equal(await store.get("sid"), null);
        assert.deepEqual(await store.ids(), []);
      });
    }
  }

  test("a session that ended a minute ago can be created again under the same sid", async ({
    open,
    clock,
  }) => {
    const store = await open();
    for (const session of [plain({ user: "ben" }), requestSession(store, "sid", plain({ user: "ben" }))]) {
      await store.set("sid", lasting(10, clock, { user: "ann" }));
      clock.advance(10 + 60);
      await store.set("sid", session);
      assert.deepEqual(await stored(store, "sid"), { user: "ben" });
      await store.destroy("sid");
    }
  });

  test("a session that has just ended is not continued by a new one under the same sid", async ({
    open,
    clock,
  }) => {
    for (const conflict of policies) {
      for (const isSession of [true, false]) {
        const store = await open({ conflict, touchAfter: 0, ttl: 1800, absoluteTimeout: 1800 });
        await store.set("sid", plain({ user: "ann" }));
        clock.advance(1800);
        const data = plain({ visits: 1 });
        await store.set("sid", isSession ? requestSession(store, "sid", data) : data);
        assert.deepEqual(await stored(store, "sid"), { visits: 1 });
        await assertEndsIn(1800, store, "sid", clock);
        await store.destroy("sid");
      }
    }
  });

  test("a second save does not bring back what was destroyed after the first", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.views = 1;
    await store.set("sid", session);
    await store.destroy("sid");
    session.views = 2;
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("a new Session that is destroyed after its first save is not brought back by its second", async ({
    open,
  }) => {
    const store = await open();
    const session = requestSession(store, "sid", plain({ user: "ann" }));
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    await store.destroy("sid");
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("a save that finds its session gone keeps finding it gone", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", session);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("event conflict says that the session is gone, and does not show its sid", async ({ open }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid-secret", plain());
    const session = await load(store, "sid-secret");
    await store.destroy("sid-secret");
    await store.set("sid-secret", session);
    const [event, ...more] = await conflicts();
    assert.deepEqual(more, []);
    assert.equal(event?.reason, "gone");
    assert.deepEqual(event.keys, []);
    assert.ok(event.sidHash.length > 0);
    assert.ok(!JSON.stringify(event).includes("secret"));
  });
}
