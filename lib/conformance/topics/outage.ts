import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { invoke, methodNames } from "../observe.js";
import { load, plain } from "../sessions.js";

const codes = ["ERR_STORE_UNAVAILABLE", "ERR_STORE_TIMEOUT"];

function isOutage(error: { code?: unknown }): boolean {
  assert.ok(codes.includes(String(error.code)), `expected one of ${codes}, got ${error}`);
  return true;
}

/** For backends with `breakBackend`. */
export function outageTests(test: DefineTest): void {
  for (const method of methodNames) {
    test(`${method} fails with the code of an outage, and never takes it for "no session"`, async ({
      open,
      breakBackend,
    }) => {
      const store = await open({ timeoutMs: 500 });
      await store.set("sid", plain());
      await breakBackend(store);
      await assert.rejects(invoke(store, method), isOutage);
    });
  }

  test("entries and the save of a loaded session fail with the code of an outage", async ({
    open,
    breakBackend,
  }) => {
    const store = await open({ timeoutMs: 500 });
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await breakBackend(store);
    await assert.rejects(store.set("sid", session), isOutage);
    await assert.rejects(store.entries().next(), isOutage);
  });
}
