import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { eventsOf, invoke, methodNames } from "../observe.js";
import { load, plain, sids } from "../sessions.js";

const isClosed = { code: "ERR_STORE_CLOSED" };

export function lifecycleTests(test: DefineTest): void {
  test("ping succeeds while the backend can be reached", async ({ open }) => {
    const store = await open();
    await store.ping();
    assert.deepEqual(await store.ids(), []);
  });

  test("everything fails with ERR_STORE_CLOSED after close", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    await store.close();
    for (const method of methodNames) await assert.rejects(invoke(store, method), isClosed);
    await assert.rejects(store.entries().next(), isClosed);
  });

  test("entries that are under way fail with ERR_STORE_CLOSED after close", async ({ open }) => {
    const store = await open();
    for (const sid of sids(3)) await store.set(sid, plain());
    const entries = store.entries();
    await entries.next();
    await store.close();
    await assert.rejects(entries.next(), isClosed);
  });

  test("a second close is fine", async ({ open }) => {
    const store = await open();
    await Promise.all([store.close(), store.close()]);
    await store.close();
  });

  test("close waits for the operations under way", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    let done = 0;
    const operations = [
      store.set("new", plain()),
      store.touch("sid", plain()),
      store.get("sid"),
      store.all(),
      store.destroy("sid"),
    ].map(operation =>
      operation.then(() => {
        done += 1;
      }),
    );
    await store.close();
    const doneAtClose = done;
    await Promise.all(operations);
    assert.equal(doneAtClose, operations.length);
  });

  test("no error message and no event shows a sid", async ({ open }) => {
    const store = await open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    const sid = "secret-sid";
    await store.set(sid, plain());
    const [one, two] = [await load(store, sid), await load(store, sid)];
    one.views = 1;
    await store.set(sid, one);
    const failures = [
      () => store.set(sid, two),
      () => store.set(sid, plain({ value: 1n })),
      () => store.set(sid, null as never),
      () => store.get(Object(sid)),
    ];
    for (const fail of failures) {
      await assert.rejects(fail(), (error: Error) => !`${error.message} ${error.cause}`.includes("secret"));
    }
    await store.destroy(sid);
    await store.set(sid, two);
    assert.ok(!JSON.stringify(await conflicts()).includes("secret"));
  });
}
