import { invalidArgument } from "./options.js";
import { type Awaitable, isPromise } from "./record.js";

// biome-ignore lint/suspicious/noExplicitAny: the callbacks of express-session are typed so
export type Callback<T> = (error?: any, value?: T) => void;

const noop = () => {};

/**
 * Delivers an outcome to a callback, or returns it as a promise.
 *
 * The callback runs once, on a later tick, outside every promise chain and `try`. If it throws, that is an uncaught
 * exception of the application and not a second call.
 *
 * @param later - schedules the callback for an outcome that is there synchronously
 */
export function callbackify<T>(
  outcome: Awaitable<T>,
  callback: Callback<T> | undefined,
  later: (callback: Callback<T>, error: null, value: T) => void = process.nextTick,
): Promise<T> | undefined {
  if (callback === undefined) {
    const promise = Promise.resolve(outcome);
    // Nobody handles the promise of `Session#destroy()` without a callback: its rejection must not end the process.
    promise.catch(noop);
    return promise;
  }
  if (isPromise(outcome)) {
    outcome.then(
      value => process.nextTick(callback, null, value),
      // A rejection without a reason must still be truthy, or `if (err)` treats it as success.
      reason =>
        process.nextTick(callback, reason ?? new Error("The operation was rejected without a reason")),
    );
  } else later(callback, null, outcome);
  return undefined;
}

/** The last argument of a method that is called for its promise. */
export interface CallOptions {
  /** Cancels the call: its promise rejects with the signal's reason. A write that was sent may still take place. */
  signal?: AbortSignal | undefined;
}

/** The signal of a call whose last argument is a callback or options. */
export function signalOf(callbackOrOptions: unknown): AbortSignal | undefined {
  // As in other stores, `null` counts as no callback: `req.session.destroy(null)`.
  if (callbackOrOptions === undefined || callbackOrOptions === null) return undefined;
  if (typeof callbackOrOptions === "function") return undefined;
  return signalIn(callbackOrOptions, "callback", "a function, or { signal }");
}

/** The signal among the options of a method that has no form with a callback. */
export function signalOfOptions(options: unknown): AbortSignal | undefined {
  return options === undefined ? undefined : signalIn(options, "options", "{ signal }");
}

function signalIn(options: unknown, name: string, expected: string): AbortSignal | undefined {
  if (typeof options !== "object" || options === null) throw invalidArgument(name, expected, options);
  const { signal } = options as CallOptions;
  if (signal !== undefined && typeof signal?.addEventListener !== "function") {
    throw invalidArgument("signal", "an AbortSignal", signal);
  }
  return signal;
}
