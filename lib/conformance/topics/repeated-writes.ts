import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { intercept, loseResponses, type SentRequest, sentBy } from "../primitives.js";
import {
  assertEndsIn,
  lasting,
  load,
  plain,
  requestSession,
  respond,
  setMaxAge,
  stored,
  visit,
} from "../sessions.js";

async function sendAgain(requests: readonly SentRequest<unknown>[]): Promise<void> {
  assert.ok(requests.length > 0);
  // Another order than the first time: the oldest is the latest.
  for (const request of requests.toReversed()) await request.again();
}

/** Requests that a client sends again although the first attempt took place, or that arrive late. */
export function repeatedWriteTests(test: DefineTest): void {
  const firstSaves = {
    "a new Session": requestSession,
    "plain data": (_store: unknown, _sid: string, data: ReturnType<typeof plain>) => data,
  };

  for (const [name, create] of Object.entries(firstSaves)) {
    for (const end of ["destroy", "clear"] as const) {
      test(`a late first save of ${name} does not bring back the session after ${end}`, async ({ open }) => {
        const store = await open();
        const writes = sentBy(store, "_write");
        await store.set("sid", create(store, "sid", plain({ user: "ann" })));
        await (end === "destroy" ? store.destroy("sid") : store.clear());
        await sendAgain(writes);
        assert.equal(await store.get("sid"), null);
        assert.deepEqual(await store.ids(), []);
      });
    }

    test(`a late first save of ${name} does not undo later saves`, async ({ open }) => {
      const store = await open();
      const writes = sentBy(store, "_write");
      await store.set("sid", create(store, "sid", plain({ user: "ann" })));
      await store.set("sid", Object.assign(await load(store, "sid"), { cart: ["book"] }));
      await sendAgain(writes);
      assert.deepEqual(await stored(store, "sid"), { user: "ann", cart: ["book"] });
    });
  }

  test("late saves of a loaded session undo no later save and bring nothing back", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const writes = sentBy(store, "_write");
    for (const views of [1, 2, 3]) {
      await store.set("sid", Object.assign(await load(store, "sid"), { views }));
    }
    await sendAgain(writes);
    assert.deepEqual(await stored(store, "sid"), { views: 3 });
    await store.destroy("sid");
    await sendAgain(writes);
    assert.equal(await store.get("sid"), null);
    await store.set("sid", plain({ user: "ben" }));
    await sendAgain(writes);
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });

  test("late touches undo no change of the lifetime and bring nothing back", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const touches = sentBy(store, "_touch");
    clock.advance(10);
    await visit(store, "sid", clock);
    const session = await load(store, "sid");
    setMaxAge(session, 20, clock);
    await store.set("sid", session);
    await sendAgain(touches);
    await assertEndsIn(20, store, "sid", clock);
    await store.destroy("sid");
    await sendAgain(touches);
    assert.equal(await store.get("sid"), null);
    await store.set("sid", lasting(5, clock));
    await sendAgain(touches);
    await assertEndsIn(5, store, "sid", clock);
  });

  test("a late removal does not remove a session that was created since under the same sid", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const removals = sentBy(store, "_remove");
    await store.destroy("sid");
    await store.set("sid", requestSession(store, "sid", lasting(60, clock, { user: "ben" })));
    await sendAgain(removals);
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
    clock.advance(1);
    await visit(store, "sid", clock);
    for (const views of [1, 2, 3, 4, 5, 6]) {
      await store.set("sid", Object.assign(await load(store, "sid"), { views }));
    }
    await sendAgain(removals);
    assert.deepEqual(await stored(store, "sid"), { user: "ben", views: 6 });
    await store.destroy("sid");
    assert.equal(await store.get("sid"), null);
  });

  test("a late removal by a maxAge of 0 does not remove a session that was created since", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const session = await load(store, "sid");
    const writes = sentBy(store, "_write");
    setMaxAge(session, 0, clock);
    await store.set("sid", session);
    const removals = writes.splice(0);
    await store.set("sid", lasting(60, clock, { user: "ben" }));
    await sendAgain(removals);
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
  });

  test("a save whose response is lost succeeds once and is no conflict", async ({ open }) => {
    for (const conflict of ["merge", "overwrite", "error"] as const) {
      const store = await open({ conflict });
      const conflicts = eventsOf(store, "conflict");
      loseResponses(store);
      const session = requestSession(store, conflict, plain());
      for (const views of [1, 2, 3]) await store.set(conflict, Object.assign(session, { views }));
      assert.deepEqual(await stored(store, conflict), { views: 3 });
      await store.set(conflict, Object.assign(await load(store, conflict), { views: 4 }));
      assert.deepEqual(await stored(store, conflict), { views: 4 });
      assert.deepEqual(await conflicts(), []);
    }
  });

  test("a removal by a maxAge of 0 whose response is lost succeeds", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    const session = await load(store, "sid");
    loseResponses(store);
    setMaxAge(session, 0, clock);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });

  test("a touch whose response is lost succeeds once", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(60, clock));
    clock.advance(10);
    intercept(store, "_touch", touch => async (key, argument, operation) => {
      await touch(key, argument, operation);
      return await touch(key, argument, operation);
    });
    await visit(store, "sid", clock);
    await assertEndsIn(60, store, "sid", clock);
  });

  for (const arrives of [true, false]) {
    const what = arrives ? "took place" : "did not take place";

    test(`the next save of a Session finds out that one that timed out ${what}`, async ({ open, clock }) => {
      const store = await open({ timeoutMs: 1000, conflict: "error" });
      const conflicts = eventsOf(store, "conflict");
      await store.set("loaded", lasting(60, clock, { views: 0 }));
      const sessions = [
        await load(store, "loaded"),
        requestSession(store, "new", lasting(60, clock, { views: 0 })),
      ];
      const resume = hang(store, arrives);
      for (const session of sessions) {
        session.views = 1;
        await assert.rejects(store.set(session.id, session), { code: "ERR_STORE_TIMEOUT" });
      }
      resume();
      for (const session of sessions) {
        session.cart = ["book"];
        respond(session, clock);
        await store.set(session.id, session);
        assert.deepEqual(await stored(store, session.id), { views: 1, cart: ["book"] });
      }
      assert.deepEqual(await conflicts(), []);
    });

    test(`the next save of a Session does not bring it back if one that timed out ${what} and it was destroyed`, async ({
      open,
    }) => {
      const store = await open({ timeoutMs: 1000 });
      const session = requestSession(store, "sid", plain());
      const resume = hang(store, arrives);
      await assert.rejects(store.set("sid", session), { code: "ERR_STORE_TIMEOUT" });
      resume();
      await store.destroy("sid");
      await store.set("sid", Object.assign(session, { views: 1 }));
      assert.equal(await store.get("sid"), null);
    });
  }
}

/** Until `resume` is called no write of the store has a response. */
function hang(store: Parameters<typeof intercept>[0], takesPlace: boolean): () => void {
  let hangs = true;
  intercept(store, "_write", write => async (key, argument, operation) => {
    if (!hangs) return await write(key, argument, operation);
    if (takesPlace) await write(key, argument, operation);
    return await new Promise<never>(() => {});
  });
  return () => {
    hangs = false;
  };
}
