import { type Awaitable, isPromise } from "./record.js";

// biome-ignore lint/suspicious/noExplicitAny: the callbacks of express-session are typed so
export type Callback<T> = (error?: any, value?: T) => void;

const noop = () => {};

/**
 * Delivers an outcome to a callback, or returns it as a promise. The only place that knows both.
 *
 * The callback runs once, on a later tick, outside every promise chain and `try`: if it throws, that is an uncaught
 * exception of the application and not a second call.
 */
export function deliver<T>(outcome: Awaitable<T>, callback: Callback<T> | undefined): Promise<T> | undefined {
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
  } else process.nextTick(callback, null, outcome);
  return undefined;
}
