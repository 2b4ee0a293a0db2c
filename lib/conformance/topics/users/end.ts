import assert from "node:assert/strict";
import type { AbstractStore } from "../../../index.js";
import type { DefineTest } from "../../harness.js";
import { eventsOf } from "../../observe.js";
import { intercept, sentBy } from "../../primitives.js";
import { load, plain, requestSession, sids, stored, storedExpiry } from "../../sessions.js";
import {
  assertDevices,
  devicesOf,
  handleOf,
  openWithUsers,
  sessionsOf,
  signIn,
  signInAll,
} from "../../user-sessions.js";

const NOT_FOUND = { code: "ERR_SESSION_NOT_FOUND" };

/** Runs `before` once, just before the store sends its next write. */
function beforeNextWrite(store: AbstractStore, before: () => Promise<unknown>): void {
  let isDone = false;
  intercept(store, "_write", write => async (key, argument, operation) => {
    if (!isDone) {
      isDone = true;
      await before();
    }
    return await write(key, argument, operation);
  });
}

/** Ending the sessions of users is as final as `destroy`. */
export function endByUserTests(test: DefineTest): void {
  test("destroyByUser destroys all sessions of a user, and no others", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2", "a3");
    await signInAll(store, "bob", "b1");
    await store.set("anonymous", plain());
    assert.equal(await store.destroyByUser("ann"), 3);
    assert.equal(await store.destroyByUser("ann"), 0);
    await assertDevices(store, { ann: [], bob: ["b1"] });
    assert.deepEqual((await store.ids()).sort(), ["anonymous", "b1"]);
  });

  test("destroyByUser spares the session that `except` names by its sid or its handle", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2", "a3");
    assert.equal(await store.destroyByUser("ann", { except: "a1" }), 2);
    await assertDevices(store, { ann: ["a1"] });
    await signInAll(store, "ann", "a2");
    assert.equal(await store.destroyByUser("ann", { except: await handleOf(store, "ann", "a2") }), 1);
    await assertDevices(store, { ann: ["a2"] });
  });

  test("destroyByUser and destroyByHandle change nothing if no live session of the user has the name", async harness => {
    const store = await openWithUsers(harness, { ttl: 100 });
    await signInAll(store, "ann", "ended");
    const ended = await handleOf(store, "ann", "ended");
    harness.clock.advance(200);
    await signInAll(store, "ann", "a1");
    await signInAll(store, "bob", "b1");
    const handle = await handleOf(store, "bob", "b1");
    for (const except of ["b1", handle, "unknown"]) {
      await assert.rejects(store.destroyByUser("ann", { except }), NOT_FOUND);
    }
    for (const name of [handle, ended, "unknown", "a1"]) {
      await assert.rejects(store.destroyByHandle("ann", name), NOT_FOUND);
    }
    await assertDevices(store, { ann: ["a1"], bob: ["b1"] });
  });

  test("destroyByHandle destroys one session of the user", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2");
    const handle = await handleOf(store, "ann", "a1");
    await store.destroyByHandle("ann", handle);
    await assertDevices(store, { ann: ["a2"] });
    assert.equal(await store.get("a1"), null);
    await assert.rejects(store.destroyByHandle("ann", handle), NOT_FOUND);
  });

  test("no request in flight brings back what was destroyed by its user or its handle", async harness => {
    const store = await openWithUsers(harness);
    const conflicts = eventsOf(store, "conflict");
    await signInAll(store, "ann", "a1", "a2");
    const requests = [await load(store, "a1"), await load(store, "a2")];
    await store.destroyByHandle("ann", await handleOf(store, "ann", "a2"));
    await store.destroyByUser("ann");
    for (const [index, sid] of ["a1", "a2"].entries()) {
      const session = requests[index] as (typeof requests)[number];
      await store.set(sid, Object.assign(session, { cart: 1 }));
      await store.touch(sid, session);
      assert.equal(await store.get(sid), null);
    }
    await assertDevices(store, { ann: [] });
    assert.deepEqual(
      (await conflicts()).map(({ reason }) => reason),
      ["gone", "gone"],
    );
  });

  test("destroyByUser also ends what a slow request could save once more", async harness => {
    const store = await openWithUsers(harness, { ttl: 100 });
    await signInAll(store, "ann", "s");
    const slow = await load(store, "s");
    harness.clock.advance(110);
    assert.equal(await store.destroyByUser("ann"), 0);
    await store.set("s", Object.assign(slow, { cart: 1 }));
    assert.equal(await store.get("s"), null);
  });

  test("late attempts of a sign-in and of later saves do not bring back what destroyByUser has destroyed", async harness => {
    const store = await openWithUsers(harness);
    const writes = sentBy(store, "_write");
    await signIn(store, "s", "ann");
    await store.set("s", Object.assign(await load(store, "s"), { cart: 1 }));
    const late = [...writes];
    await store.destroyByUser("ann");
    for (const write of late) await write.again();
    await assertDevices(store, { ann: [] });
    assert.equal(await store.get("s"), null);
  });

  test("a sign-in at the same time is destroyed by destroyByUser or is listed afterwards", async harness => {
    const store = await openWithUsers(harness);
    for (let round = 0; round < 10; round++) {
      const names = sids(6).map(sid => `${round}-${sid}`);
      await signInAll(store, "ann", ...names.slice(0, 3));
      await Promise.all([
        ...names.slice(3).map(sid => signIn(store, sid, "ann")),
        store.destroyByUser("ann"),
      ]);
      const listed = await devicesOf(store, "ann");
      for (const sid of names) {
        const isLive = (await store.get(sid)) !== null;
        assert.equal(listed.includes(sid), isLive, "expected live sessions to be listed, and no others");
        assert.ok(names.indexOf(sid) >= 3 || !isLive, "expected the earlier sessions to be destroyed");
      }
      await store.destroyByUser("ann");
      await assertDevices(store, { ann: [] });
    }
  });

  test("destroyByUser leaves a session that another user has signed in to in the meantime", async harness => {
    const store = await openWithUsers(harness);
    await signIn(store, "s", "ann");
    const request = await load(store, "s");
    beforeNextWrite(store, () => store.set("s", Object.assign(request, { user: "bob" })));
    assert.equal(await store.destroyByUser("ann"), 0);
    await assertDevices(store, { ann: [], bob: ["s"] });
  });

  test("destroyByUser destroys a session that was saved or touched in the meantime", async harness => {
    const store = await openWithUsers(harness);
    for (const method of ["set", "touch"] as const) {
      await signIn(store, method, "ann");
      const request = await load(store, method);
      harness.clock.advance(60);
      beforeNextWrite(store, () => store[method](method, Object.assign(request, { cart: 1 })));
      assert.equal(await store.destroyByUser("ann"), 1);
      assert.equal(await store.get(method), null);
    }
  });

  test("a removal of entries that is late removes no later sign-in from the list", async harness => {
    const store = await openWithUsers(harness);
    await signIn(store, "s", "ann");
    const removals = sentBy(store, "_removeEntries");
    await store.destroyByUser("ann");
    await signIn(store, "s", "ann");
    for (const removal of removals) await removal.again();
    await assertDevices(store, { ann: ["s"] });
  });

  test("updateByUser changes all live sessions of a user without ending them", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2", "a3");
    await signInAll(store, "bob", "b1");
    const slow = await load(store, "a1");
    const change = async (session: object) => {
      Object.assign(session, { role: "guest" });
    };
    const expiry = await storedExpiry(store, "a1");
    harness.clock.advance(600);
    assert.equal(await store.updateByUser("ann", change), 3);
    for (const { activeAt, expiresAt } of await sessionsOf(store, "ann")) {
      assert.ok(activeAt.getTime() < harness.clock.now(), "expected a change by others to be no use");
      assert.ok(expiresAt.getTime() < harness.clock.in(24 * 3600).getTime());
    }
    assert.deepEqual(await storedExpiry(store, "a1"), expiry);
    await store.set("a1", Object.assign(slow, { cart: 1 }));
    assert.deepEqual(await stored(store, "a1"), { user: "ann", device: "a1", cart: 1, role: "guest" });
    assert.deepEqual(await stored(store, "b1"), { user: "bob", device: "b1" });
    await assertDevices(store, { ann: ["a1", "a2", "a3"] });
    assert.equal(
      await store.updateByUser("ann", session => (session as { device?: string }).device === "a2"),
      1,
    );
    assert.equal(await store.updateByUser("eve", change), 0);
  });

  test("updateByUser merges with a request in flight, and repeats a change that conflicts", async harness => {
    for (const conflict of ["merge", "error"] as const) {
      const store = await openWithUsers(harness, { conflict });
      await signIn(store, conflict, "ann", { role: "admin" });
      const request = await load(store, conflict);
      beforeNextWrite(store, () => store.set(conflict, Object.assign(request, { cart: 1 })));
      const change = (session: object) => void Object.assign(session, { role: "guest" });
      assert.equal(await store.updateByUser("ann", change), 1);
      const expected = { user: "ann", device: conflict, cart: 1, role: "guest" };
      assert.deepEqual(await stored(store, conflict), expected);
      await store.destroyByUser("ann");
    }
  });

  test("updateByUser changes no session that another user has signed in to, or that was destroyed", async harness => {
    const store = await openWithUsers(harness);
    const change = (session: object) => void Object.assign(session, { role: "guest" });
    await signIn(store, "s", "ann");
    const request = await load(store, "s");
    beforeNextWrite(store, () => store.set("s", Object.assign(request, { user: "bob" })));
    assert.equal(await store.updateByUser("ann", change), 0);
    assert.deepEqual(await stored(store, "s"), { user: "bob", device: "s" });
    await signIn(store, "t", "ann");
    beforeNextWrite(store, () => store.destroy("t"));
    assert.equal(await store.updateByUser("ann", change), 0);
    assert.equal(await store.get("t"), null);
  });

  test("updateByUser rejects with the error of the change, and keeps what it changed before", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2");
    let calls = 0;
    const change = (session: object) => {
      calls += 1;
      if (calls === 2) throw new RangeError("no");
      Object.assign(session, { role: "guest" });
    };
    await assert.rejects(store.updateByUser("ann", change), RangeError);
    const roles = [await stored(store, "a1"), await stored(store, "a2")].map(fields => fields?.role);
    assert.equal(roles.filter(Boolean).length, 1);
  });

  test("a user with a hundred and fifty sessions is found, changed and ended", async harness => {
    const store = await openWithUsers(harness);
    const names = sids(150);
    await Promise.all(
      names.map(sid => store.set(sid, requestSession(store, sid, plain({ user: "ann", device: sid })))),
    );
    await assertDevices(store, { ann: [...names].sort() });
    assert.equal(await store.destroyByUser("ann", { except: "sid-7" }), 149);
    await assertDevices(store, { ann: ["sid-7"] });
  });
}
