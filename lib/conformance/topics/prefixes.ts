import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { intercept } from "../primitives.js";
import { find, plain, stored } from "../sessions.js";

const neighbours = [
  ["a:", "a:b:"],
  ["app1", "app10"],
  ["app", "app~"],
  ["app", "app:"],
  ["app", "APP"],
  ["app", "app%"],
] as const;

/** For backends with capability `shared`. */
export function prefixTests(test: DefineTest): void {
  for (const [one, two] of neighbours) {
    test(`sessions of the prefixes ${one} and ${two} are kept apart`, async ({ open, prefix }) => {
      const stores = [await open({ prefix: prefix + one }), await open({ prefix: prefix + two })] as const;
      // Sids that continue one prefix as the other does.
      const both = ["sid", "b:sid", "0sid", "0", ":sid", "~sid", "%", "x".repeat(2000)];
      await Promise.all(stores.flatMap((store, index) => both.map(sid => store.set(sid, plain({ index })))));
      for (const [index, store] of stores.entries()) {
        for (const sid of both) assert.deepEqual(await stored(store, sid), { index });
        assert.deepEqual((await store.ids()).sort(), [...both].sort());
        assert.equal(await store.length(), both.length);
        for (const session of await store.all()) assert.equal((session as { index?: number }).index, index);
      }
      await stores[0].destroy("sid");
      await find(stores[1], "sid");
      await stores[0].clear();
      assert.equal(await stores[1].length(), both.length);
      await stores[0].set("sid", plain());
      await stores[1].clear();
      assert.deepEqual(await stores[0].ids(), ["sid"]);
    });
  }

  test("sessions of an empty prefix are kept apart from all others", async ({ open, prefix }) => {
    const [empty, own] = [await open({ prefix: "" }), await open()];
    // Everybody shares the empty prefix: a sid that nobody else has, which the test destroys itself.
    const sid = prefix.replace(":", "");
    // The whole backend is not this test's to list: only what begins with the sid.
    intercept(empty, "_scan", scan => (start, operation) => scan(start + sid, operation));
    try {
      await empty.set(sid, plain({ user: "ann" }));
      await own.set("sid", plain({ user: "ben" }));
      assert.deepEqual(await stored(empty, sid), { user: "ann" });
      assert.equal(await empty.get(`${prefix}sid`), null);
      assert.equal(await own.get(sid), null);
      assert.deepEqual(await own.ids(), ["sid"]);
      assert.deepEqual(await empty.ids(), [sid]);
    } finally {
      await empty.destroy(sid);
    }
  });
}
