import assert from "node:assert/strict";
import type { AbstractStore, StoreOptions } from "../../index.js";
import type { ReadableClock } from "../clock.js";
import type { DefineTest, Harness } from "../harness.js";
import { eventsOf } from "../observe.js";
import {
  assertEndsIn,
  find,
  lasting,
  load,
  plain,
  requestSession,
  respond,
  setMaxAge,
  stored,
  visit,
} from "../sessions.js";

export function clockTests(test: DefineTest): void {
  test("a clock that is put back an hour ends no session and loses no change", async ({ open, clock }) => {
    for (const conflict of ["merge", "overwrite", "error"] as const) {
      const store = await open({ conflict });
      clock.advance(3600);
      await store.set("sid", lasting(60, clock, { user: "ann" }));
      const [saved, touched] = [await load(store, "sid"), await load(store, "sid")];
      clock.advance(-3600);
      respond(touched, clock);
      await store.touch("sid", touched);
      respond(saved, clock);
      await store.set("sid", Object.assign(saved, { views: 1 }));
      await store.set("sid", Object.assign(await load(store, "sid"), { cart: ["book"] }));
      await store.set("new", lasting(60, clock));
      await find(store, "new");
      assert.deepEqual(await stored(store, "sid"), { user: "ann", views: 1, cart: ["book"] });
      await assertEndsIn(3600 + 60, store, "sid", clock);
      await store.clear();
    }
  });

  test("a session that is destroyed on a clock that is put back an hour stays destroyed", async ({
    open,
    clock,
  }) => {
    const store = await open();
    // Back to the clock of the backend, which may delete by it.
    clock.advance(3600);
    const session = requestSession(store, "sid", lasting(60, clock));
    await store.set("sid", session);
    clock.advance(-3600);
    await store.destroy("sid");
    await store.set("sid", Object.assign(session, { views: 1 }));
    assert.equal(await store.get("sid"), null);
    await store.set("sid", requestSession(store, "sid", plain({ user: "ben" })));
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });
}

/** A host: its store and its clock. */
interface Host {
  readonly store: AbstractStore;
  readonly clock: ReadableClock;
}

const SKEW_SECONDS = 30;

/** Two hosts whose clocks differ by half of the grace period. */
async function openHosts(
  { open, clock }: Harness,
  options: StoreOptions = {},
): Promise<{ behind: Host; ahead: Host }> {
  const aheadClock = clock.ahead(SKEW_SECONDS);
  return {
    behind: { store: await open(options), clock },
    ahead: { store: await open({ ...options, now: aheadClock.now }), clock: aheadClock },
  };
}

/** Both orders of two hosts, with a name. */
function ordersOf({ behind, ahead }: { behind: Host; ahead: Host }): [sid: string, one: Host, other: Host][] {
  return [
    ["ahead-first", ahead, behind],
    ["behind-first", behind, ahead],
  ];
}

/** For backends with capability `shared`. */
export function clockSkewTests(test: DefineTest): void {
  const policies = ["merge", "overwrite", "error"] as const;

  test("a slow response on a host that is behind removes and shortens nothing that one ahead keeps alive", async harness => {
    for (const conflict of policies) {
      const { ahead, behind } = await openHosts(harness, { conflict });
      const { clock } = harness;
      await behind.store.set("sid", lasting(40, clock, { user: "ann" }));
      await visit(ahead.store, "sid", ahead.clock);
      const slow = await load(behind.store, "sid");
      respond(slow, behind.clock);
      for (const pause of [25, 25]) {
        clock.advance(pause);
        await visit(ahead.store, "sid", ahead.clock);
      }
      await behind.store.set("sid", Object.assign(slow, { progress: 1 }));
      assert.deepEqual(await stored(behind.store, "sid"), { user: "ann", progress: 1 });
      await assertEndsIn(SKEW_SECONDS + 40, behind.store, "sid", clock);
      await behind.store.clear();
    }
  });

  test("a session that has ended for a host that is ahead lives on for one behind", async harness => {
    const { ahead, behind } = await openHosts(harness);
    const { clock } = harness;
    await behind.store.set("sid", lasting(20, clock));
    const session = await load(behind.store, "sid");
    assert.equal(await ahead.store.get("sid"), null);
    await ahead.store.touch("sid", lasting(20, ahead.clock));
    assert.deepEqual(await ahead.store.ids(), []);
    clock.advance(10);
    await behind.store.set("sid", Object.assign(session, { views: 1 }));
    assert.deepEqual(await stored(behind.store, "sid"), { views: 1 });
    await assertEndsIn(20, behind.store, "sid", clock);
  });

  test("hosts whose clocks differ lose no change of each other", async harness => {
    for (const [sid, one, other] of ordersOf(await openHosts(harness))) {
      await one.store.set(sid, lasting(60, one.clock));
      const [mine, theirs] = [await load(one.store, sid), await load(other.store, sid)];
      respond(mine, one.clock);
      await one.store.set(sid, Object.assign(mine, { mine: 1 }));
      respond(theirs, other.clock);
      await other.store.set(sid, Object.assign(theirs, { theirs: 1 }));
      const again = await load(one.store, sid);
      await one.store.set(sid, Object.assign(again, { again: 1 }));
      assert.deepEqual(await stored(other.store, sid), { mine: 1, theirs: 1, again: 1 });
    }
  });

  test("hosts whose clocks differ only touch a session that neither has changed", async harness => {
    const hosts = await openHosts(harness, { conflict: "error" });
    for (const [sid, one, other] of ordersOf(hosts)) {
      await one.store.set(sid, lasting(60, one.clock));
      const session = await load(one.store, sid);
      for (const host of [other, one, other]) await visit(host.store, sid, host.clock);
      await one.store.set(sid, Object.assign(session, { views: 1 }));
      assert.deepEqual(await stored(other.store, sid), { views: 1 });
    }
    await assertEndsIn(30 + 60, hosts.behind.store, "ahead-first", harness.clock);
  });

  test("a shorter maxAge holds on hosts whose clocks differ", async harness => {
    const hosts = await openHosts(harness);
    for (const [sid, one, other] of ordersOf(hosts)) {
      await one.store.set(sid, lasting(600, one.clock));
      const [stale, session] = [await load(one.store, sid), await load(other.store, sid)];
      setMaxAge(session, 40, other.clock);
      await other.store.touch(sid, session);
      respond(stale, one.clock);
      await one.store.touch(sid, stale);
    }
    harness.clock.advance(39);
    assert.equal(await hosts.behind.store.length(), 2);
    harness.clock.advance(SKEW_SECONDS + 1);
    assert.equal(await hosts.behind.store.length(), 0);
  });

  test("what one host destroys stays destroyed, and what another creates then stays, whatever their clocks", async harness => {
    for (const [sid, one, other] of ordersOf(await openHosts(harness))) {
      const conflicts = eventsOf(one.store, "conflict");
      const session = requestSession(one.store, sid, lasting(60, one.clock, { user: "ann" }));
      await one.store.set(sid, session);
      const loaded = await load(other.store, sid);
      await other.store.destroy(sid);
      await one.store.set(sid, Object.assign(session, { views: 1 }));
      await other.store.set(sid, Object.assign(loaded, { views: 1 }));
      assert.equal(await one.store.get(sid), null);
      assert.equal((await conflicts())[0]?.reason, "gone");
      const anew = requestSession(one.store, sid, lasting(60, one.clock, { user: "ben" }));
      await one.store.set(sid, anew);
      assert.deepEqual(await stored(one.store, sid), { user: "ben" });
    }
  });

  test("absoluteTimeout moves by the difference of the clocks, and no more", async harness => {
    const hosts = await openHosts(harness, { absoluteTimeout: 100 });
    for (const [sid, one, other] of ordersOf(hosts)) {
      await one.store.set(sid, lasting(1000, one.clock));
      await visit(other.store, sid, other.clock);
      await other.store.set(sid, Object.assign(await load(other.store, sid), { views: 1 }));
    }
    harness.clock.advance(69.999);
    assert.equal(await hosts.ahead.store.length(), 2);
    harness.clock.advance(60.001);
    assert.equal(await hosts.behind.store.length(), 0);
  });
}
