import assert from "node:assert/strict";
import type { Serializer } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { invoke, methodNames } from "../observe.js";
import { load, plain, sids, stored } from "../sessions.js";

/** Long enough for a real backend that is busy, short enough to wait for. */
const TIMEOUT_MS = 300;

/** A serializer that can be stalled: the one part of every store that a test can hold up. */
function stallingSerializer() {
  let answer: Promise<void> | undefined;
  /** What is called from now on does not end. */
  const stall = () => {
    let resume = () => {};
    answer = new Promise(resolve => {
      resume = resolve;
    });
    return resume;
  };
  /** What is called from now on ends again; what was stalled does not. */
  const unstall = () => {
    answer = undefined;
  };
  const serializer: Serializer = {
    stringify: session => answer?.then(() => "{}") ?? JSON.stringify(session),
    parse: text => answer?.then(() => JSON.parse(text)) ?? JSON.parse(text),
  };
  return { serializer, stall, unstall };
}

export function timeoutAndSignalTests(test: DefineTest): void {
  for (const method of methodNames) {
    test(`${method} rejects with the reason of a signal that was aborted before, and does nothing`, async ({
      open,
    }) => {
      const store = await open();
      await store.set("other", plain());
      const signal = AbortSignal.abort(new Error("cancelled"));
      await assert.rejects(invoke(store, method, { signal }), error => error === signal.reason);
      assert.deepEqual(await store.ids(), ["other"]);
    });
  }

  test("every method takes a signal that is not aborted", async ({ open }) => {
    const store = await open();
    const { signal } = new AbortController();
    for (const method of methodNames) await invoke(store, method, { signal });
  });

  test("entries reject with the reason of a signal that is aborted meanwhile", async ({ open }) => {
    const store = await open();
    for (const sid of sids(3)) await store.set(sid, plain());
    const controller = new AbortController();
    const listing = (async () => {
      for await (const _entry of store.entries({ signal: controller.signal })) {
        controller.abort(new Error("enough"));
      }
    })();
    await assert.rejects(listing, /enough/);
  });

  test("get and set reject with a signal's reason as soon as it is aborted", async ({ open }) => {
    const { serializer, stall } = stallingSerializer();
    const store = await open({ serializer });
    await store.set("sid", plain());
    stall();
    for (const method of ["get", "set"] as const) {
      const controller = new AbortController();
      const call = invoke(store, method, { signal: controller.signal });
      controller.abort(new Error("cancelled"));
      await assert.rejects(call, /cancelled/);
    }
  });

  const timedOut = { code: "ERR_STORE_TIMEOUT", message: new RegExp(String(TIMEOUT_MS)) };

  for (const method of ["get", "set", "all"] as const) {
    test(`${method} ends with ERR_STORE_TIMEOUT after timeoutMs`, async ({ open }) => {
      const { serializer, stall } = stallingSerializer();
      const store = await open({ serializer, timeoutMs: TIMEOUT_MS });
      await store.set("sid", plain());
      const resume = stall();
      // A store that goes on waiting could not be closed.
      const late = setTimeout(resume, 4 * TIMEOUT_MS);
      await assert.rejects(invoke(store, method), timedOut);
      clearTimeout(late);
    });
  }

  test("a save that timed out does not hold up the next of its Session", async ({ open }) => {
    const { serializer, stall, unstall } = stallingSerializer();
    const store = await open({ serializer, timeoutMs: TIMEOUT_MS });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    stall();
    const saving = store.set("sid", session);
    unstall();
    await assert.rejects(saving, timedOut);
    session.views = 2;
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { views: 2 });
  });
}
