import assert from "node:assert/strict";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import type { SessionData } from "express-session";
import type { DefineTest } from "../harness.js";
import { calledBack, invoke, methodNames, uncaughtDuring } from "../observe.js";
import { fieldsOf, load, plain, type RequestSession, stored } from "../sessions.js";

export function callbackTests(test: DefineTest): void {
  for (const method of methodNames) {
    test(`${method} calls back once, on a later tick, with what its promise gives`, async ({ open }) => {
      const store = await open();
      if (method !== "set") await store.set("sid", plain({ user: "ann" }));
      const { error, value } = await calledBack(callback => {
        assert.equal(invoke(store, method, callback), undefined);
      });
      assert.ok(!error);
      assert.deepEqual(value, await invoke(store, method));
    });

    test(`${method} gives its error to the callback, once and on a later tick`, async ({ open }) => {
      const store = await open();
      await store.close();
      const { error } = await calledBack(callback => invoke(store, method, callback));
      assert.equal((error as { code?: unknown }).code, "ERR_STORE_CLOSED");
    });

    test(`${method} does not call a callback again that throws`, async ({ open }) => {
      const store = await open();
      await store.set("sid", plain());
      const thrown = new Error("thrown by the callback");
      let calls = 0;
      const uncaught = await uncaughtDuring(async () => {
        const called = new Promise<void>(resolve => {
          void invoke(store, method, () => {
            resolve();
            calls += 1;
            if (calls === 1) throw thrown;
          });
        });
        await called;
        await sleep(5);
      });
      assert.equal(calls, 1);
      assert.deepEqual(uncaught, [thrown], "the exception is the application's to see");
    });
  }

  test("close calls back once, on a later tick", async ({ open }) => {
    const store = await open();
    assert.ok(!(await calledBack(callback => store.close(callback))).error);
    assert.ok(!(await calledBack(callback => store.close(callback))).error);
  });

  test("get calls back with null, not with an error, for a session that does not exist", async ({ open }) => {
    const store = await open();
    const { error, value } = await calledBack<SessionData | null>(callback => store.get("sid", callback));
    assert.ok(!error);
    assert.equal(value, null);
  });

  test("a callback of undefined counts as none", async ({ open }) => {
    const store = await open();
    for (const method of methodNames) {
      const promise = invoke(store, method, undefined);
      assert.equal(typeof promise.then, "function");
      await promise;
    }
  });

  test("a rejection that nobody waits for does not take the process down", async ({ open }) => {
    const store = await open();
    await store.close();
    // Every test runner takes a rejection without an owner for a failure.
    for (const method of methodNames) void invoke(store, method);
    await turn();
    await turn();
  });
}

/** What express-session itself does with a store. */
export function expressSessionTests(test: DefineTest): void {
  test("load gives a Session of this store, and nothing for one that does not exist", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const { value } = await calledBack<SessionData>(callback => store.load("sid", callback));
    const session = value as RequestSession;
    assert.equal(session.id, "sid");
    assert.deepEqual(fieldsOf(session), { user: "ann" });
    const missing = await calledBack<SessionData>(callback => store.load("missing", callback));
    assert.ok(!missing.error);
    assert.equal(missing.value, undefined);
  });

  test("Session#save, #reload and #destroy work with callbacks", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    session.views = 2;
    assert.ok(!(await calledBack(callback => session.save(callback))).error);
    assert.deepEqual(await stored(store, "sid"), { views: 2 });
    assert.ok(!(await calledBack(callback => session.reload(callback))).error);
    assert.ok(!(await calledBack(callback => session.destroy(callback))).error);
    assert.equal(await store.get("sid"), null);
    assert.match(String((await calledBack(callback => session.reload(callback))).error), /failed to load/);
  });

  test("a Session reloaded after another request's change saves without a conflict", async ({ open }) => {
    const store = await open({ conflict: "error" });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    const other = await load(store, "sid");
    other.cart = ["book"];
    await store.set("sid", other);
    await calledBack(callback => session.reload(callback));
    const reloaded = (session as unknown as { req: { session: RequestSession } }).req.session;
    reloaded.views = 2;
    await store.set("sid", reloaded);
    assert.deepEqual(await stored(store, "sid"), { views: 2, cart: ["book"] });
  });
}
