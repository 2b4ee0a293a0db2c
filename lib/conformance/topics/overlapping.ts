import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { assertEndsIn, find, load, plain, requestSession, stored, storedExpiry } from "../sessions.js";

/** Requests of one session that overlap, beyond what they change in it: its expiry and its end. */
export function overlappingTests(test: DefineTest): void {
  test("a save in the middle of a request does not take back another's touch", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(30)));
    const slow = await load(store, "sid");
    clock.advance(20);
    const quick = await load(store, "sid");
    const prolonged = clock.in(30);
    quick.cookie.expires = prolonged;
    await store.touch("sid", quick);
    slow.progress = 1;
    await store.set("sid", slow);
    assert.deepEqual(await stored(store, "sid"), { progress: 1 });
    assert.equal(await storedExpiry(store, "sid"), prolonged.toISOString());
    clock.advance(15);
    slow.progress = 2;
    await store.set("sid", slow);
    assert.deepEqual(await stored(store, "sid"), { progress: 2 });
    await assertEndsIn(15, store, "sid", clock);
  });

  test("a save in the middle of a request does not end a session that others keep alive", async ({
    open,
    clock,
  }) => {
    for (const conflict of ["merge", "overwrite", "error"] as const) {
      const store = await open({ conflict });
      await store.set("sid", plain({}, clock.in(30)));
      const slow = await load(store, "sid");
      clock.advance(20);
      await store.touch("sid", plain({}, clock.in(30)));
      clock.advance(20);
      slow.progress = 1;
      await store.set("sid", slow);
      assert.deepEqual(await stored(store, "sid"), { progress: 1 });
    }
  });

  test("a save that shortens the session by its own cookie does so", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(600)));
    const session = await load(store, "sid");
    await store.touch("sid", plain({}, clock.in(900)));
    session.cookie.expires = clock.in(10);
    await store.set("sid", session);
    await assertEndsIn(10, store, "sid", clock);
  });

  test("a save after an answer that took longer than the session does not end what others keep alive", async ({
    open,
    clock,
  }) => {
    const store = await open();
    for (const theirs of ["touch", "set"] as const) {
      const [sid, end] = [`sid-${theirs}`, clock.in(100)];
      await store.set(sid, plain({ user: "ann" }, clock.in(10)));
      const [slow, quick] = [await load(store, sid), await load(store, sid)];
      // As express-session does it: a touch when the answer begins, and the save when it has ended.
      slow.cookie.expires = clock.in(20);
      quick.cookie.expires = end;
      quick.theirs = theirs;
      await store[theirs](sid, quick);
      clock.advance(30);
      slow.mine = 1;
      await store.set(sid, slow);
      const expected = theirs === "set" ? { user: "ann", theirs, mine: 1 } : { user: "ann", mine: 1 };
      assert.deepEqual(await stored(store, sid), expected);
      assert.equal(await storedExpiry(store, sid), end.toISOString());
    }
    await store.set("alone", plain({}, clock.in(10)));
    const alone = await load(store, "alone");
    alone.cookie.expires = clock.in(20);
    clock.advance(30);
    await store.set("alone", alone);
    assert.equal(await store.get("alone"), null);
  });

  test("a save in the middle of a request leaves the time for skipped touches", async ({ open, clock }) => {
    for (const conflict of ["merge", "overwrite", "error"] as const) {
      const store = await open({ conflict, touchAfter: 60 });
      await store.set("sid", plain({}, clock.in(600)));
      clock.advance(30);
      const touched = await load(store, "sid");
      touched.cookie.expires = clock.in(600);
      await store.touch("sid", touched);
      for (const seconds of [560, 20]) {
        clock.advance(seconds);
        const session = await load(store, "sid");
        session.progress = seconds;
        await store.set("sid", session);
      }
      assert.deepEqual(await stored(store, "sid"), { progress: 20 });
      await assertEndsIn(50, store, "sid", clock);
    }
  });

  test("a save after a merge shortens the session by its own cookie", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(600)));
    const [one, other] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(other, { other: 1 }));
    await store.set("sid", Object.assign(one, { one: 1 }));
    one.cookie.expires = clock.in(10);
    await store.set("sid", one);
    assert.deepEqual(await stored(store, "sid"), { one: 1, other: 1 });
    await assertEndsIn(10, store, "sid", clock);
  });

  test("a save after a touch of the same request knows which expiry that left", async ({ open, clock }) => {
    const store = await open({ touchAfter: 60, absoluteTimeout: 100 });
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    session.cookie.expires = clock.in(600);
    await store.touch("sid", session);
    session.cookie.expires = clock.in(10);
    await store.set("sid", session);
    assert.equal(await storedExpiry(store, "sid"), clock.in(100).toISOString());
  });

  test("a touch prolongs a session that another has kept alive since it was loaded", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(30)));
    const slow = await load(store, "sid");
    clock.advance(20);
    await store.touch("sid", plain({}, clock.in(30)));
    clock.advance(20);
    slow.cookie.expires = clock.in(30);
    await store.touch("sid", slow);
    await assertEndsIn(30, store, "sid", clock);
  });

  test("a destroy that does not wait for a save before it is not undone by that", async ({ open }) => {
    const store = await open();
    const session = requestSession(store, "new", plain({ user: "ann" }));
    const saving = store.set("new", session);
    await store.destroy("new");
    await saving;
    assert.equal(await store.get("new"), null);
    session.views = 1;
    await store.set("new", session);
    assert.equal(await store.get("new"), null);
  });

  test("a save of one Session of a loaded object undoes no touch of another", async ({ open, clock }) => {
    const store = await open({ touchAfter: 0 });
    await store.set("sid", plain({}, clock.in(10)));
    const loaded = await find(store, "sid");
    const [one, other] = [requestSession(store, "sid", loaded), requestSession(store, "sid", loaded)];
    // A Cookie that is made of a Cookie may be a millisecond off.
    other.cookie.expires = clock.in(10);
    one.cookie.expires = clock.in(600);
    await store.touch("sid", one);
    await store.set("sid", Object.assign(other, { progress: 1 }));
    assert.deepEqual(await stored(store, "sid"), { progress: 1 });
    await assertEndsIn(600, store, "sid", clock);
  });

  test("two Sessions of one loaded object keep each other's changes", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const data = await find(store, "sid");
    const [one, other] = [requestSession(store, "sid", data), requestSession(store, "sid", data)];
    await store.set("sid", Object.assign(one, { one: 1 }));
    await store.set("sid", Object.assign(other, { other: 1 }));
    assert.deepEqual(await stored(store, "sid"), { one: 1, other: 1 });
  });

  test("a queued save has the session as it was when it was called, its expiry too", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.cookie.expires = clock.in(600);
    const saves = [store.set("sid", session), store.set("sid", session)];
    session.cookie.expires = clock.in(-1);
    await Promise.all(saves);
    await assertEndsIn(600, store, "sid", clock);
  });

  test("a merge with what cannot be read is an error, and changes nothing", async ({ open }) => {
    let broken = false;
    const parse = (text: string) => {
      if (broken && text.includes("theirs")) throw new Error("the key service is down");
      return JSON.parse(text);
    };
    const store = await open({ serializer: { stringify: JSON.stringify, parse } });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain());
    const [mine, theirs] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(theirs, { theirs: 1 }));
    mine.mine = 1;
    broken = true;
    await assert.rejects(store.set("sid", mine), { code: "ERR_SESSION_SERIALIZE" });
    broken = false;
    assert.deepEqual(await stored(store, "sid"), { theirs: 1 });
    await store.set("sid", mine);
    mine.mine = 2;
    broken = true;
    await assert.rejects(store.set("sid", mine), { code: "ERR_SESSION_SERIALIZE" });
    broken = false;
    assert.deepEqual(await stored(store, "sid"), { theirs: 1, mine: 1 });
    assert.deepEqual(
      (await conflicts()).map(({ reason }) => reason),
      ["merged"],
    );
  });

  test("a save that timed out before it began does nothing afterwards", async ({ open, clock }) => {
    let serialized = () => {};
    const stringify = (session: object) =>
      "slow" in session
        ? new Promise<string>(resolve => {
            serialized = () => resolve(JSON.stringify(session));
          })
        : JSON.stringify(session);
    const store = await open({ timeoutMs: 300, serializer: { stringify, parse: JSON.parse } });
    await store.set("sid", plain({ views: 1 }));
    await assert.rejects(store.set("sid", plain({ slow: true }, clock.in(-1))), {
      code: "ERR_STORE_TIMEOUT",
    });
    serialized();
    await new Promise(resolve => setImmediate(resolve));
    assert.deepEqual(await stored(store, "sid"), { views: 1 });
  });
}
