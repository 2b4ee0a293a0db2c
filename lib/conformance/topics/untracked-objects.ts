import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { load, plain, type RequestSession, requestSession, stored } from "../sessions.js";

/** As libraries that watch an object for changes do it: what the object holds is behind proxies too. */
function deepProxy<T extends object>(target: T): T {
  return new Proxy(target, {
    get(object, key) {
      const value = Reflect.get(object, key);
      const isFixed = Object.getOwnPropertyDescriptor(object, key)?.writable === false;
      return typeof value === "object" && value !== null && !isFixed ? deepProxy(value) : value;
    },
  });
}

type Copy = (session: RequestSession) => RequestSession;

/** Copies of a Session for which it is known what the Session was loaded from. */
const knownCopies: Record<string, Copy> = {
  "a Proxy": session => new Proxy(session, {}),
  "a deep Proxy": deepProxy,
  "a spread": session => ({ ...session }) as RequestSession,
};

const copies: Record<string, Copy> = { ...knownCopies, "a structuredClone": structuredClone };

/** Session objects that are not those that express-session holds. */
export function untrackedObjectTests(test: DefineTest): void {
  for (const [name, copy] of Object.entries(copies)) {
    test(`${name} of a Session does not bring back a session that was destroyed`, async ({ open }) => {
      const store = await open();
      await store.set("loaded", plain({ user: "ann" }));
      const created = requestSession(store, "created", plain({ user: "ann" }));
      await store.set("created", created);
      for (const session of [await load(store, "loaded"), created]) {
        const { id } = session;
        const before = copy(session);
        await store.destroy(id);
        for (const each of [before, copy(session)]) await store.set(id, each);
        assert.equal(await store.get(id), null);
      }
      assert.deepEqual(await store.ids(), []);
    });

    test(`${name} of a Session does not overwrite what another request changed`, async ({ open }) => {
      const store = await open();
      await store.set("sid", plain({ user: "ann" }));
      const [session, other] = [await load(store, "sid"), await load(store, "sid")];
      await store.set("sid", Object.assign(other, { cart: ["book"] }));
      const changed = copy(session);
      changed.views = 1;
      await store.set("sid", changed);
      assert.deepEqual(await stored(store, "sid"), { user: "ann", cart: ["book"], views: 1 });
    });
  }

  for (const [name, copy] of Object.entries(knownCopies)) {
    test(`${name} of a Session is merged as the Session itself`, async ({ open }) => {
      const store = await open();
      const conflicts = eventsOf(store, "conflict");
      await store.set("sid", plain({ user: "ann", old: true }));
      const [session, other] = [await load(store, "sid"), await load(store, "sid")];
      other.user = "ben";
      delete other.old;
      await store.set("sid", other);
      const changed = copy(session);
      changed.views = 1;
      await store.set("sid", changed);
      assert.deepEqual(await stored(store, "sid"), { user: "ben", views: 1 });
      assert.deepEqual(
        (await conflicts()).map(({ reason, keys }) => ({ reason, keys })),
        [{ reason: "merged", keys: [] }],
      );
    });
  }

  test("a structuredClone of a Session is merged, and event conflict says that it is untracked", async ({
    open,
  }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ user: "ann" }));
    await store.set("sid", structuredClone(await load(store, "sid")));
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    assert.deepEqual(
      (await conflicts()).map(({ reason }) => reason),
      ["untracked"],
    );
  });

  test("of two new Sessions with one id none is lost, and event conflict says that one is untracked", async ({
    open,
  }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    const [one, two] = [{ one: 1 }, { two: 2 }].map(fields => requestSession(store, "sid", plain(fields)));
    assert.ok(one && two);
    await Promise.all([store.set("sid", one), store.set("sid", two)]);
    assert.deepEqual(await stored(store, "sid"), { one: 1, two: 2 });
    const events = await conflicts();
    assert.deepEqual(
      events.map(({ reason }) => reason),
      ["untracked"],
    );
    assert.ok(!JSON.stringify(events).includes('"sid"'));
  });

  test("a new Session with the id of a stored one fails with conflict: error, and leaves the record", async ({
    open,
  }) => {
    const store = await open({ conflict: "error" });
    await store.set("sid", plain({ user: "ann" }));
    const session = requestSession(store, "sid", plain({ user: "ben" }));
    await assert.rejects(store.set("sid", session), { code: "ERR_SESSION_CONFLICT" });
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  test("what all and entries return does not bring back a session that was destroyed", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const listed = await store.all();
    for await (const [, session] of store.entries()) listed.push(session as never);
    assert.equal(listed.length, 2);
    await store.destroy("sid");
    for (const session of listed) await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
    await store.set("sid", plain({ user: "ben" }));
    for (const session of listed) await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });

  test("what all and entries return is merged with what a request changed since", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann", old: true }));
    const [one] = await store.all();
    const { value } = await store.entries().next();
    const two = (value as [string, typeof one])[1];
    assert.ok(one && two);
    const request = await load(store, "sid");
    request.cart = ["book"];
    delete request.old;
    await store.set("sid", request);
    await store.set("sid", Object.assign(one, { one: 1 }));
    await store.set("sid", Object.assign(two, { two: 2 }));
    assert.deepEqual(await stored(store, "sid"), { user: "ann", cart: ["book"], one: 1, two: 2 });
  });

  test("what all returns is saved without the id that it was listed with", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const [session] = await store.all();
    assert.ok(session);
    assert.equal(session.id, "sid");
    await store.set("sid", Object.assign(session, { views: 1 }));
    assert.deepEqual(await stored(store, "sid"), { user: "ann", views: 1 });
    await store.set("sid", plain({ id: "its own" }));
    for (const listed of await store.all()) await store.set("sid", Object.assign(listed, { views: 2 }));
    assert.deepEqual(await stored(store, "sid"), { id: "its own", views: 2 });
  });
}
