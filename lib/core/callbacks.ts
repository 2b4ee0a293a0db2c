import { misuse } from "./options.js";
import { type Awaitable, isPromise } from "./record.js";

// biome-ignore lint/suspicious/noExplicitAny: the callbacks of express-session are typed so
export type Callback<T> = (error?: any, value?: T) => void;

const noop = () => {};

/**
 * Delivers an outcome to a callback, or returns it as a promise. The only place that knows both.
 *
 * The callback runs once, on a later tick, outside every promise chain and `try`: if it throws, that is an uncaught
 * exception of the application and not a second call.
 *
 * @param later - when to call back with an outcome that was there at once
 */
export function deliver<T>(
  outcome: Awaitable<T>,
  callback: Callback<T> | undefined,
  later: (callback: Callback<T>, error: null, value: T) => void = process.nextTick,
): Promise<T> | undefined {
  if (callback === undefined) {
    const promise = Promise.resolve(outcome);
    // `Session#destroy()` without a callback leaves the promise without an owner: its rejection must not end the
    // process. Who awaits it still gets the error.
    promise.catch(noop);
    return promise;
  }
  if (isPromise(outcome)) {
    outcome.then(
      value => process.nextTick(callback, null, value),
      // A rejection without a reason must still be truthy, or `if (err)` takes it for success.
      reason =>
        process.nextTick(callback, reason ?? new Error("The operation was rejected without a reason")),
    );
  } else later(callback, null, outcome);
  return undefined;
}

/** The last argument of a method that is used with a promise. */
export interface CallOptions {
  /** Cancels the call: its promise rejects with the signal's reason. A write that was sent may still happen. */
  signal?: AbortSignal | undefined;
}

/** The signal among the options that stand in a callback's place. */
export function signalOf(last: unknown): AbortSignal | undefined {
  // As other stores do it, `null` is no callback: `req.session.destroy(null)`.
  if (last === undefined || last === null || typeof last === "function") return undefined;
  return signalIn(last, "callback", "a function, or { signal }");
}

/** The signal among the options of a method that has no form with a callback. */
export function signalOfOptions(options: unknown): AbortSignal | undefined {
  return options === undefined ? undefined : signalIn(options, "options", "{ signal }");
}

function signalIn(options: unknown, name: string, expected: string): AbortSignal | undefined {
  if (typeof options !== "object" || options === null) throw misuse(name, expected, options);
  const { signal } = options as CallOptions;
  if (signal !== undefined && typeof signal?.addEventListener !== "function") {
    throw misuse("signal", "an AbortSignal", signal);
  }
  return signal;
}
