import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { find, load, plain, sids, stored, storedExpiry } from "../sessions.js";

/** Two stores on one backend, as in two processes. For backends with capability `shared`. */
export function sharedTests(test: DefineTest): void {
  test("see each other's sessions, touches and removals", async ({ open, clock }) => {
    const [here, there] = [await open(), await open()];
    await here.set("sid", plain({ user: "ann" }, clock.in(10)));
    assert.deepEqual(await stored(there, "sid"), { user: "ann" });
    await there.touch("sid", plain({}, clock.in(60)));
    assert.equal(await storedExpiry(here, "sid"), clock.in(60).toISOString());
    assert.deepEqual(await there.ids(), ["sid"]);
    await there.destroy("sid");
    assert.equal(await here.get("sid"), null);
    await here.set("sid", plain());
    await there.clear();
    assert.equal(await here.length(), 0);
  });

  test("do not bring back what the other destroyed, nor overwrite what it created again", async ({
    open,
  }) => {
    const [here, there] = [await open(), await open()];
    const conflicts = eventsOf(here, "conflict");
    await here.set("sid", plain({ user: "ann" }));
    const first = await load(here, "sid");
    const second = await load(here, "sid");
    await there.destroy("sid");
    await here.set("sid", first);
    assert.equal(await here.get("sid"), null);
    await there.set("sid", plain({ user: "ben" }));
    await here.set("sid", second);
    assert.deepEqual(await stored(there, "sid"), { user: "ben" });
    assert.deepEqual(
      (await conflicts()).map(({ reason }) => reason),
      ["gone", "gone"],
    );
  });

  test("merge each other's changes, with 20 saves at the same time", async ({ open }) => {
    const stores = [await open(), await open()];
    await stores[0]?.set("sid", plain());
    const requests = await Promise.all(
      sids(20).map(async (key, index) => {
        const store = stores[index % 2] ?? assert.fail();
        return { key, store, session: await load(store, "sid") };
      }),
    );
    await Promise.all(
      requests.map(({ key, store, session }) => {
        session[key] = true;
        return store.set("sid", session);
      }),
    );
    const expected = Object.fromEntries(sids(20).map(key => [key, true]));
    for (const store of stores) assert.deepEqual(await stored(store, "sid"), expected);
  });

  test("take the other's touch for no change", async ({ open, clock }) => {
    const [here, there] = [await open({ conflict: "error" }), await open()];
    await here.set("sid", plain({}, clock.in(10)));
    const session = await load(here, "sid");
    const other = await load(there, "sid");
    other.cookie.expires = clock.in(60);
    await there.touch("sid", other);
    session.views = 1;
    await here.set("sid", session);
    assert.deepEqual(await stored(there, "sid"), { views: 1 });
  });

  test("go on when the other is closed, and find what it had still to write", async ({ open }) => {
    const [here, there] = [await open(), await open()];
    await here.set("sid", plain());
    const saving = there.set("late", plain({ user: "ann" }));
    await there.close();
    await saving;
    assert.deepEqual(await stored(here, "late"), { user: "ann" });
    await find(here, "sid");
  });

  test("apply an absoluteTimeout to sessions that the other saved without one", async ({ open, clock }) => {
    const [before, store] = [await open(), await open({ absoluteTimeout: 100 })];
    await before.set("sid", plain({}, clock.in(1000)));
    await find(store, "sid");
    clock.advance(100);
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
    assert.deepEqual(await before.ids(), ["sid"]);
  });
}
