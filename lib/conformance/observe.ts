import assert from "node:assert/strict";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import type { AbstractStore, Callback, StoreEvents } from "../index.js";

const CALLBACK_LIMIT_MS = 10_000;
/** In this time a callback that is called too often would be called again. */
const SETTLE_MS = 5;

/** The methods that take a callback or return a promise, with the arguments that stand before. */
const methods = {
  get: ["sid"],
  set: ["sid", { cookie: { originalMaxAge: null } }],
  touch: ["sid", { cookie: { originalMaxAge: null } }],
  destroy: ["sid"],
  all: [],
  ids: [],
  length: [],
  clear: [],
  ping: [],
} as const satisfies Partial<Record<keyof AbstractStore, unknown[]>>;

export type Method = keyof typeof methods;
export const methodNames = Object.keys(methods) as Method[];

/** Calls a method whatever its signature says of `last`; `args` if not the usual ones. */
export function invoke(
  store: AbstractStore,
  method: Method,
  last?: unknown,
  args: readonly unknown[] = methods[method],
): Promise<unknown> {
  return (store[method] as (...all: unknown[]) => Promise<unknown>).call(store, ...args, last);
}

/** The outcome of a call with a callback. Checks that it was called back once, and not before the call returned. */
export async function calledBack<T>(
  call: (callback: Callback<T>) => unknown,
): Promise<{ error: unknown; value: T | undefined }> {
  const outcomes: { error: unknown; value: T | undefined }[] = [];
  let returned = false;
  let synchronous = false;
  let limit: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve, reject) => {
    const never = new assert.AssertionError({ message: "was never called back" });
    limit = setTimeout(() => reject(never), CALLBACK_LIMIT_MS);
    const callback: Callback<T> = (error, value) => {
      synchronous ||= !returned;
      outcomes.push({ error, value });
      resolve();
    };
    assert.doesNotThrow(() => call(callback), "threw instead of calling back");
    returned = true;
  }).finally(() => clearTimeout(limit));
  await sleep(SETTLE_MS);
  assert.equal(synchronous, false, "was called back synchronously");
  assert.equal(outcomes.length, 1, `was called back ${outcomes.length} times`);
  return outcomes[0] as { error: unknown; value: T | undefined };
}

/** The uncaught exceptions during `body`. Catches them itself, since test runners take them for failures. */
export async function uncaughtDuring(body: () => Promise<void>): Promise<unknown[]> {
  const errors: unknown[] = [];
  process.setUncaughtExceptionCaptureCallback(error => errors.push(error));
  try {
    await body();
  } finally {
    process.setUncaughtExceptionCaptureCallback(null);
  }
  return errors;
}

/** What the store emitted since. Asked for later, since events come on a later tick than the outcome. */
export function eventsOf<E extends keyof StoreEvents>(
  store: AbstractStore,
  name: E,
): () => Promise<StoreEvents[E][]> {
  const events: StoreEvents[E][] = [];
  store.on(name, (event: StoreEvents[E]) => events.push(event));
  return async () => {
    await turn();
    return events;
  };
}
