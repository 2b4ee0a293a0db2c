import assert from "node:assert/strict";
import type { ConflictPolicy } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import {
  assertEndsIn,
  find,
  lasting,
  load,
  plain,
  type RequestSession,
  respond,
  setMaxAge,
  stored,
  visit,
} from "../sessions.js";

const policies: ConflictPolicy[] = ["merge", "overwrite", "error"];

/** What becomes of a lifetime that one request changes while others use the session. */
export function lifetimeChangeTests(test: DefineTest): void {
  for (const seconds of [10, 600]) {
    const kind = seconds < 60 ? "shorter" : "longer";

    test(`a ${kind} maxAge holds that is the only change of a request, which touch brings`, async ({
      open,
      clock,
    }) => {
      const store = await open();
      await store.set("sid", lasting(60, clock, { user: "ann" }));
      const session = await load(store, "sid");
      clock.advance(5);
      setMaxAge(session, seconds, clock);
      await store.touch("sid", session);
      assert.deepEqual(await stored(store, "sid"), { user: "ann" });
      assert.equal((await find(store, "sid")).cookie.originalMaxAge, seconds * 1000);
      await assertEndsIn(seconds, store, "sid", clock);
    });

    test(`a ${kind} maxAge that set brings holds although others have used the session since`, async ({
      open,
      clock,
    }) => {
      for (const conflict of policies) {
        const store = await open({ conflict });
        await store.set("sid", lasting(60, clock));
        const session = await load(store, "sid");
        clock.advance(5);
        await visit(store, "sid", clock);
        setMaxAge(session, seconds, clock);
        await store.set("sid", session);
        await assertEndsIn(seconds, store, "sid", clock);
        await store.destroy("sid");
      }
    });

    for (const order of ["before", "after"] as const) {
      test(`a ${kind} maxAge survives a parallel save that arrives ${order} it`, async ({ open, clock }) => {
        const store = await open();
        await store.set("sid", lasting(60, clock));
        const [changing, other] = [await load(store, "sid"), await load(store, "sid")];
        const conflicts = eventsOf(store, "conflict");
        clock.advance(5);
        setMaxAge(changing, seconds, clock);
        changing.remember = seconds > 60;
        respond(other, clock);
        other.cart = ["book"];
        const saves: RequestSession[] = order === "before" ? [other, changing] : [changing, other];
        for (const session of saves) await store.set("sid", session);
        assert.deepEqual(await stored(store, "sid"), { remember: seconds > 60, cart: ["book"] });
        assert.equal((await find(store, "sid")).cookie.originalMaxAge, seconds * 1000);
        assert.deepEqual((await conflicts())[0]?.keys, []);
        await assertEndsIn(seconds, store, "sid", clock);
      });
    }

    test(`a stale touch does not put back the lifetime that a ${kind} one has replaced`, async ({
      open,
      clock,
    }) => {
      const store = await open();
      await store.set("sid", lasting(60, clock));
      const [changing, stale] = [await load(store, "sid"), await load(store, "sid")];
      setMaxAge(changing, seconds, clock);
      changing.changed = true;
      await store.set("sid", changing);
      clock.advance(5);
      respond(stale, clock);
      await store.touch("sid", stale);
      assert.deepEqual(await stored(store, "sid"), { changed: true });
      await assertEndsIn(seconds, store, "sid", clock);
    });
  }

  test("a touch that changes the maxAge keeps what a parallel save has changed", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock, { user: "ann" }));
    const [changing, other] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(other, { cart: ["book"] }));
    setMaxAge(changing, 10, clock);
    await store.touch("sid", changing);
    assert.deepEqual(await stored(store, "sid"), { user: "ann", cart: ["book"] });
    await assertEndsIn(10, store, "sid", clock);
  });

  test("of two maxAges the later save's holds, and event conflict names it", async ({ open, clock }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", lasting(60, clock));
    const [one, two] = [await load(store, "sid"), await load(store, "sid")];
    setMaxAge(one, 600, clock);
    setMaxAge(two, 10, clock);
    await store.set("sid", one);
    await store.set("sid", two);
    assert.deepEqual((await conflicts())[0]?.keys, ["cookie", "cookie.originalMaxAge"]);
    await assertEndsIn(10, store, "sid", clock);
  });

  test("a maxAge of 0 that touch brings ends the session", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const session = await load(store, "sid");
    setMaxAge(session, 0, clock);
    await store.touch("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  const ttl = (session: object) => ("admin" in session ? 10 : 100);

  for (const order of ["before", "after"] as const) {
    test(`the lifetime is that of the ttl function for the session as it is written, if a parallel save arrives ${order}`, async ({
      open,
      clock,
    }) => {
      const store = await open({ ttl });
      await store.set("sid", plain());
      const [admin, other] = [await load(store, "sid"), await load(store, "sid")];
      admin.admin = true;
      other.cart = ["book"];
      const saves: RequestSession[] = order === "before" ? [other, admin] : [admin, other];
      for (const session of saves) await store.set("sid", session);
      assert.deepEqual(await stored(store, "sid"), { admin: true, cart: ["book"] });
      await assertEndsIn(10, store, "sid", clock);
    });
  }

  test("a stale touch does not put back the lifetime of a ttl function for the session as it was", async ({
    open,
    clock,
  }) => {
    const store = await open({ ttl });
    await store.set("sid", plain());
    const [admin, stale] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(admin, { admin: true }));
    clock.advance(5);
    await store.touch("sid", stale);
    await assertEndsIn(10, store, "sid", clock);
  });

  test("a slow response beside the touches of others ends nothing early", async ({ open, clock }) => {
    for (const conflict of policies) {
      const store = await open({ conflict });
      await store.set("sid", lasting(10, clock));
      const slow = await load(store, "sid");
      clock.advance(1);
      respond(slow, clock);
      for (const pause of [7, 8, 9]) {
        clock.advance(pause);
        await visit(store, "sid", clock);
      }
      clock.advance(4);
      slow.progress = 1;
      await store.set("sid", slow);
      assert.deepEqual(await stored(store, "sid"), { progress: 1 });
      await assertEndsIn(6, store, "sid", clock);
      await store.destroy("sid");
    }
  });

  test("a slow response counts as a use when it began, not when it ended", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const slow = await load(store, "sid");
    clock.advance(1);
    respond(slow, clock);
    clock.advance(5);
    await store.set("sid", Object.assign(slow, { progress: 1 }));
    await assertEndsIn(5, store, "sid", clock);
  });

  test("a slow response that took longer than its session keeps what others have saved", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock, { user: "ann" }));
    const [slow, other] = [await load(store, "sid"), await load(store, "sid")];
    clock.advance(1);
    respond(slow, clock);
    setMaxAge(other, 100, clock);
    other.remember = true;
    await store.set("sid", other);
    clock.advance(30);
    slow.mine = 1;
    await store.set("sid", slow);
    assert.deepEqual(await stored(store, "sid"), { user: "ann", remember: true, mine: 1 });
    await assertEndsIn(70, store, "sid", clock);
  });

  test("a slow response that took longer than its session does not prolong it", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const alone = await load(store, "sid");
    clock.advance(1);
    respond(alone, clock);
    clock.advance(30);
    await store.set("sid", Object.assign(alone, { progress: 1 }));
    assert.equal(await store.get("sid"), null);
  });

  test("a save in the middle of a request undoes no touch, and a later one neither", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(30, clock));
    const slow = await load(store, "sid");
    clock.advance(20);
    await visit(store, "sid", clock);
    for (const [seconds, progress] of [
      [0, 1],
      [15, 2],
    ] as const) {
      clock.advance(seconds);
      slow.progress = progress;
      await store.set("sid", slow);
      assert.deepEqual(await stored(store, "sid"), { progress });
    }
    clock.advance(15);
    await find(store, "sid");
  });
}
