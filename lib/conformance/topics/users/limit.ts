import assert from "node:assert/strict";
import type { StoreOptions } from "../../../index.js";
import type { DefineTest, Harness } from "../../harness.js";
import { load, plain, requestSession, sids } from "../../sessions.js";
import { assertDevices, devicesOf, openWithUsers, signIn, signInAll } from "../../user-sessions.js";

const REJECTED = { code: "ERR_TOO_MANY_SESSIONS" };

const openLimited = (
  harness: Harness,
  maxSessionsPerUser: StoreOptions["maxSessionsPerUser"],
  options: StoreOptions = {},
) => openWithUsers(harness, { maxSessionsPerUser, ...options });

export function sessionLimitTests(test: DefineTest): void {
  test('with onExceeded "reject" a sign-in beyond the limit fails and changes nothing', async harness => {
    const store = await openLimited(harness, { max: 2, onExceeded: "reject" });
    await signInAll(store, "ann", "a1", "a2");
    await signInAll(store, "bob", "b1");
    await assert.rejects(signIn(store, "a3", "ann"), REJECTED);
    await assertDevices(store, { ann: ["a1", "a2"], bob: ["b1"] });
    assert.equal(await store.get("a3"), null);
    await store.destroy("a1");
    await signIn(store, "a3", "ann");
    await assertDevices(store, { ann: ["a2", "a3"] });
  });

  test('with onExceeded "end-oldest" a sign-in beyond the limit ends what was created first', async harness => {
    for (const onExceeded of ["end-oldest", undefined] as const) {
      const store = await openLimited(harness, { max: 2, onExceeded });
      for (const sid of ["a1", "a2", "a3", "a4"]) {
        await signIn(store, sid, "ann");
        harness.clock.advance(1);
        // Used last, but it is still the oldest.
        if (sid === "a2") await store.touch("a1", await load(store, "a1"));
      }
      await assertDevices(store, { ann: ["a3", "a4"] });
      await store.destroyByUser("ann");
    }
  });

  test("saves and touches of sessions that are signed in do not count", async harness => {
    const store = await openLimited(harness, { max: 1, onExceeded: "reject" });
    await signIn(store, "s", "ann");
    for (let count = 0; count < 3; count++) {
      harness.clock.advance(3600);
      const session = await load(store, "s");
      await store.set("s", Object.assign(session, { count }));
      await store.touch("s", await load(store, "s"));
    }
    await store.set("s", plain({ user: "ann", device: "s" }));
    await assertDevices(store, { ann: ["s"] });
  });

  test("a session that gets another user is a sign-in, and stays as it was if it is rejected", async harness => {
    const store = await openLimited(harness, { max: 1, onExceeded: "reject" });
    await signInAll(store, "ann", "a");
    await signInAll(store, "bob", "b");
    await assert.rejects(store.set("b", Object.assign(await load(store, "b"), { user: "ann" })), REJECTED);
    await assertDevices(store, { ann: ["a"], bob: ["b"] });
  });

  test("sessions that have ended for good make room", async harness => {
    const store = await openLimited(harness, { max: 1, onExceeded: "reject" }, { ttl: 100 });
    await signIn(store, "a1", "ann");
    // It could be saved by a slow request for a minute more.
    harness.clock.advance(161);
    await signIn(store, "a2", "ann");
    await assertDevices(store, { ann: ["a2"] });
  });

  for (const onExceeded of ["reject", "end-oldest"] as const) {
    test(`sign-ins that race never exceed the limit (${onExceeded})`, async harness => {
      const options = { max: 3, onExceeded };
      const first = await openLimited(harness, options, { timeoutMs: 30_000 });
      const isShared = harness.backend.capabilities?.shared ?? true;
      const second = isShared ? await openLimited(harness, options, { timeoutMs: 30_000 }) : first;
      const names = sids(12);
      const outcomes = await Promise.allSettled(
        names.map((sid, index) => {
          const store = index % 2 === 0 ? first : second;
          return store.set(sid, requestSession(store, sid, plain({ user: "ann", device: sid })));
        }),
      );
      const live = await Promise.all(names.map(async sid => (await first.get(sid)) !== null));
      const count = live.filter(Boolean).length;
      assert.equal(count, 3);
      assert.deepEqual(await devicesOf(second, "ann"), names.filter((_, index) => live[index]).sort());
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") assert.equal(outcome.reason.code, REJECTED.code);
      }
      const rejected = outcomes.filter(({ status }) => status === "rejected").length;
      assert.equal(rejected, onExceeded === "reject" ? 9 : 0);
    });
  }
}
