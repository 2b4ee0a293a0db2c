import assert from "node:assert/strict";
import type { ConflictPolicy } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { load, plain, requestSession, stored } from "../sessions.js";

const policies: ConflictPolicy[] = ["merge", "overwrite", "error"];

export function goneTests(test: DefineTest): void {
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

  test("a plain object starts a new record, so a session loaded before is gone", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const session = await load(store, "sid");
    await store.set("sid", plain({ user: "ben" }));
    session.views = 1;
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });

  test("what get returned is not brought back either, without having become a Session", async ({ open }) => {
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

  test("a session that another request set to be over is not brought back", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(60)));
    const session = await load(store, "sid");
    const other = await load(store, "sid");
    other.cookie.expires = clock.in(-1);
    await store.set("sid", other);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
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

  test("a new Session is remembered after its first save, and not brought back by its second", async ({
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
