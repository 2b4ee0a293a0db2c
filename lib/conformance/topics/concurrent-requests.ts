import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { assertEndsIn, find, lasting, load, plain, requestSession, setMaxAge, stored } from "../sessions.js";

/** Requests of one session that overlap in unusual ways. Their lifetimes are another topic. */
export function concurrentRequestTests(test: DefineTest): void {
  test("a destroy that does not wait for a save before it is not undone by that save", async ({ open }) => {
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

  test("two Sessions of one loaded object keep each other's changes", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const data = await find(store, "sid");
    const [one, other] = [requestSession(store, "sid", data), requestSession(store, "sid", data)];
    await store.set("sid", Object.assign(one, { one: 1 }));
    await store.set("sid", Object.assign(other, { other: 1 }));
    assert.deepEqual(await stored(store, "sid"), { one: 1, other: 1 });
  });

  test("two Sessions of one loaded object keep each other's lifetime", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const loaded = await find(store, "sid");
    const [one, other] = [requestSession(store, "sid", loaded), requestSession(store, "sid", loaded)];
    // The cookie is one object until express-session makes a Cookie of it for each.
    setMaxAge(one, 600, clock);
    await store.touch("sid", one);
    await store.set("sid", Object.assign(other, { progress: 1 }));
    assert.deepEqual(await stored(store, "sid"), { progress: 1 });
    await assertEndsIn(600, store, "sid", clock);
  });

  test("a queued save has the session and its lifetime as they were when it was called", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const session = await load(store, "sid");
    setMaxAge(session, 600, clock);
    const saves = [store.set("sid", session), store.set("sid", session)];
    setMaxAge(session, -1, clock);
    session.late = true;
    await Promise.all(saves);
    assert.deepEqual(await stored(store, "sid"), {});
    await assertEndsIn(600, store, "sid", clock);
  });

  test("a save that loaded what others have written meanwhile loses none of it behind an earlier save", async ({
    open,
  }) => {
    const store = await open();
    await store.set("sid", plain());
    const one = await load(store, "sid");
    const saving = store.set("sid", Object.assign(one, { one: 1 }));
    const two = await load(store, "sid");
    const others = [store.set("sid", Object.assign(two, { two: 2 }))];
    const three = await load(store, "sid");
    others.push(store.set("sid", Object.assign(three, { three: 3 })));
    await Promise.all([saving, ...others]);
    assert.deepEqual(await stored(store, "sid"), { one: 1, two: 2, three: 3 });
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
    for (const value of [1, 2]) {
      mine.mine = value;
      broken = true;
      await assert.rejects(store.set("sid", mine), { code: "ERR_SESSION_SERIALIZE" });
      broken = false;
      const expected = value === 1 ? { theirs: 1 } : { theirs: 1, mine: 1 };
      assert.deepEqual(await stored(store, "sid"), expected);
      await store.set("sid", mine);
    }
    assert.deepEqual(await stored(store, "sid"), { theirs: 1, mine: 2 });
    assert.deepEqual(
      (await conflicts()).flatMap(({ keys }) => keys),
      [],
    );
  });

  test("a save that timed out before it was sent is not sent afterwards", async ({ open, clock }) => {
    let serialized = () => {};
    const stringify = (session: object) =>
      "slow" in session
        ? new Promise<string>(resolve => {
            serialized = () => resolve(JSON.stringify(session));
          })
        : JSON.stringify(session);
    const store = await open({ timeoutMs: 1000, serializer: { stringify, parse: JSON.parse } });
    await store.set("sid", plain({ views: 1 }));
    await assert.rejects(store.set("sid", plain({ slow: true }, clock.in(-1))), {
      code: "ERR_STORE_TIMEOUT",
    });
    serialized();
    await new Promise(resolve => setImmediate(resolve));
    assert.deepEqual(await stored(store, "sid"), { views: 1 });
  });
}
