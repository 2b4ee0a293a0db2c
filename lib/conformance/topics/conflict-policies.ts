import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { load, plain, stored } from "../sessions.js";

export function conflictPolicyTests(test: DefineTest): void {
  test("conflict: overwrite replaces what another request changed", async ({ open }) => {
    const store = await open({ conflict: "overwrite" });
    await store.set("sid", plain({ views: 1, cart: [] }));
    const one = await load(store, "sid");
    const two = await load(store, "sid");
    two.cart = ["book"];
    await store.set("sid", two);
    one.views = 2;
    await store.set("sid", one);
    assert.deepEqual(await stored(store, "sid"), { views: 2, cart: [] });
  });

  test("conflict: error rejects with ERR_SESSION_CONFLICT and leaves the record", async ({ open }) => {
    const store = await open({ conflict: "error" });
    await store.set("sid", plain({ views: 1 }));
    const one = await load(store, "sid");
    const two = await load(store, "sid");
    two.cart = ["book"];
    await store.set("sid", two);
    one.views = 2;
    for (const _attempt of [1, 2]) {
      await assert.rejects(store.set("sid", one), { code: "ERR_SESSION_CONFLICT" });
      assert.deepEqual(await stored(store, "sid"), { views: 1, cart: ["book"] });
    }
    const reloaded = await load(store, "sid");
    reloaded.views = 2;
    await store.set("sid", reloaded);
    assert.deepEqual(await stored(store, "sid"), { views: 2, cart: ["book"] });
  });
}
