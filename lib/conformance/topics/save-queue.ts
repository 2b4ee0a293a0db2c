import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { load, plain, requestSession, stored } from "../sessions.js";

export function saveQueueTests(test: DefineTest): void {
  test("saves of one Session queue and never conflict with each other", async ({ open }) => {
    const store = await open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("loaded", plain());
    const sessions = [await load(store, "loaded"), requestSession(store, "new", plain())];
    for (const session of sessions) {
      const saves = [1, 2, 3, 4, 5].map(views => {
        session.views = views;
        return store.set(session.id, session);
      });
      await Promise.all(saves);
      assert.deepEqual(await stored(store, session.id), { views: 5 });
    }
    assert.deepEqual(await conflicts(), []);
  });

  test("the last save of a Session is the one that stays, however long the serializer takes", async ({
    open,
  }) => {
    let delay = 20;
    const stringify = async (session: object) => {
      const text = JSON.stringify(session);
      delay /= 2;
      await sleep(delay);
      return text;
    };
    const store = await open({ serializer: { stringify, parse: JSON.parse } });
    const session = requestSession(store, "sid", plain());
    const saves = [1, 2, 3].map(views => {
      session.views = views;
      return store.set("sid", session);
    });
    await Promise.all(saves);
    assert.deepEqual(await stored(store, "sid"), { views: 3 });
  });

  test("a save that failed does not hold up the next", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.views = 1n;
    const failing = store.set("sid", session);
    session.views = 1;
    const saving = store.set("sid", session);
    await assert.rejects(failing, { code: "ERR_SESSION_SERIALIZE" });
    await saving;
    assert.deepEqual(await stored(store, "sid"), { views: 1 });
  });
}
