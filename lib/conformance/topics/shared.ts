import assert from "node:assert/strict";
import type { AbstractStore, StoreOptions } from "../../index.js";
import type { DefineTest, Harness } from "../harness.js";
import { eventsOf } from "../observe.js";
import { loseResponses } from "../primitives.js";
import {
  assertEndsIn,
  find,
  lasting,
  load,
  plain,
  requestSession,
  respond,
  sids,
  stored,
  storedExpiry,
  visit,
} from "../sessions.js";

async function openTwo(
  { open }: Harness,
  options: StoreOptions = {},
): Promise<[here: AbstractStore, there: AbstractStore]> {
  return [await open(options), await open(options)];
}

const MAX_ATTEMPTS = 100;

/** Adds one to a counter in a session, as often as it takes. For stores with `conflict: "error"`. */
async function increment(store: AbstractStore): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const session = await load(store, "sid");
    session.views = Number(session.views) + 1;
    try {
      return await store.set("sid", session);
    } catch (error) {
      if ((error as { code?: unknown }).code !== "ERR_SESSION_CONFLICT") throw error;
    }
  }
  assert.fail(`had a conflict ${MAX_ATTEMPTS} times`);
}

/** Two stores on one backend, as in two processes. For backends with capability `shared`. */
export function sharedTests(test: DefineTest): void {
  test("two stores see each other's sessions, touches and removals", async harness => {
    const [here, there] = await openTwo(harness);
    const { clock } = harness;
    await here.set("sid", lasting(60, clock, { user: "ann" }));
    assert.deepEqual(await stored(there, "sid"), { user: "ann" });
    clock.advance(10);
    await visit(there, "sid", clock);
    assert.equal(await storedExpiry(here, "sid"), clock.in(60).toISOString());
    assert.deepEqual(await there.ids(), ["sid"]);
    await there.destroy("sid");
    assert.equal(await here.get("sid"), null);
    await here.set("sid", plain());
    await there.clear();
    assert.equal(await here.length(), 0);
  });

  test("no store brings back what the other destroyed, nor overwrites what it created again", async harness => {
    const [here, there] = await openTwo(harness);
    const conflicts = eventsOf(here, "conflict");
    const created = requestSession(here, "sid", plain({ user: "ann" }));
    await here.set("sid", created);
    const sessions = [created, await load(here, "sid"), await load(here, "sid"), await load(here, "sid")];
    const [one, two, three, four] = sessions;
    assert.ok(one && two && three && four);
    await there.destroy("sid");
    await here.set("sid", one);
    await here.set("sid", two);
    assert.equal(await here.get("sid"), null);
    await there.set("sid", plain({ user: "ben" }));
    for (const session of [one, three]) await here.set("sid", session);
    await here.touch("sid", four);
    assert.deepEqual(await stored(there, "sid"), { user: "ben" });
    assert.deepEqual(
      (await conflicts()).map(({ reason }) => reason),
      ["gone", "gone", "gone", "gone"],
    );
  });

  test("two stores merge each other's changes, with 20 saves at the same time", async harness => {
    const stores = await openTwo(harness);
    await stores[0].set("sid", plain());
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

  test("a change that another store saved between a load and a queued save is kept", async harness => {
    const [here, there] = await openTwo(harness);
    await here.set("sid", plain());
    for (const round of [1, 2, 3]) {
      const first = await load(here, "sid");
      const saving = here.set("sid", Object.assign(first, { first: round }));
      const theirs = await load(there, "sid");
      await there.set("sid", Object.assign(theirs, { theirs: round }));
      const second = await load(here, "sid");
      await Promise.all([saving, here.set("sid", Object.assign(second, { second: round }))]);
      assert.deepEqual(await stored(there, "sid"), { first: round, theirs: round, second: round });
    }
  });

  test("a touch by one store is no change for the other", async harness => {
    const [here, there] = await openTwo(harness, { conflict: "error" });
    const { clock } = harness;
    await here.set("sid", lasting(60, clock));
    const session = await load(here, "sid");
    clock.advance(10);
    await visit(there, "sid", clock);
    session.views = 1;
    await here.set("sid", session);
    assert.deepEqual(await stored(there, "sid"), { views: 1 });
  });

  test("a slow response at one store does not undo the touches at the other", async harness => {
    const [here, there] = await openTwo(harness);
    const { clock } = harness;
    await here.set("sid", lasting(10, clock));
    const slow = await load(here, "sid");
    clock.advance(1);
    respond(slow, clock);
    for (const pause of [7, 8]) {
      clock.advance(pause);
      await visit(there, "sid", clock);
    }
    await here.set("sid", Object.assign(slow, { progress: 1 }));
    assert.deepEqual(await stored(there, "sid"), { progress: 1 });
    await assertEndsIn(10, there, "sid", clock);
  });

  for (const lost of [false, true]) {
    const name = lost ? " although the responses to all saves are lost" : "";
    test(`two stores that count in one key count exactly${name}`, async harness => {
      const stores = await openTwo(harness, { conflict: "error" });
      await stores[0].set("sid", plain({ views: 0 }));
      if (lost) for (const store of stores) loseResponses(store);
      await Promise.all([0, 1, 0, 1, 0, 1, 0, 1].map(index => increment(stores[index] ?? assert.fail())));
      assert.deepEqual(await stored(stores[0], "sid"), { views: 8 });
    });
  }

  test("a save whose response is lost does not undo what another store has built on it", async harness => {
    for (const conflict of ["merge", "overwrite", "error"] as const) {
      const [here, there] = await openTwo(harness, { conflict });
      const conflicts = eventsOf(here, "conflict");
      const created = requestSession(here, conflict, plain({ views: 1 }));
      let rounds = 0;
      loseResponses(here, async () => {
        if (rounds === 2) return;
        const theirs = await load(there, conflict);
        theirs.views = Number(theirs.views) + 1;
        await there.set(conflict, theirs);
        rounds += 1;
      });
      await here.set(conflict, created);
      assert.deepEqual(await stored(there, conflict), { views: 2 });
      const loaded = await load(here, conflict);
      await here.set(conflict, Object.assign(loaded, { views: 3 }));
      assert.deepEqual(await stored(there, conflict), { views: 4 });
      assert.equal(rounds, 2);
      assert.deepEqual(await conflicts(), []);
    }
  });

  test("a first save whose response is lost does not bring back what another store has destroyed", async harness => {
    const [here, there] = await openTwo(harness);
    loseResponses(here, () => there.destroy("sid"));
    const session = requestSession(here, "sid", plain({ user: "ann" }));
    await here.set("sid", session);
    assert.equal(await there.get("sid"), null);
    await here.set("sid", Object.assign(session, { views: 1 }));
    assert.equal(await there.get("sid"), null);
  });

  test("a store goes on when the other is closed, and finds what that had still to write", async harness => {
    const [here, there] = await openTwo(harness);
    await here.set("sid", plain());
    const saving = there.set("late", plain({ user: "ann" }));
    await there.close();
    await saving;
    assert.deepEqual(await stored(here, "late"), { user: "ann" });
    await find(here, "sid");
  });

  test("absoluteTimeout holds for sessions that another store saved without one", async ({ open, clock }) => {
    const [before, store] = [await open(), await open({ absoluteTimeout: 100 })];
    await before.set("sid", lasting(1000, clock));
    await find(store, "sid");
    clock.advance(100);
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.ids(), []);
    assert.deepEqual(await before.ids(), ["sid"]);
  });
}
