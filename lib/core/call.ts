import { StoreError } from "../errors.js";
import { InFlight } from "../support/in-flight.js";
import { type Callback, type CallOptions, callbackify, signalOf } from "./callbacks.js";
import { Observation, type OperationName, operations } from "./diagnostics.js";
import type { SessionKeys } from "./keys.js";
import { Operation } from "./operation.js";
import { type Awaitable, isPromise } from "./record.js";

/** What the caller of a method passes last. */
export type CallbackOrOptions<T> = CallOptions | Callback<T> | undefined;

/** Runs the calls of one store: time limits, callbacks and promises, diagnostics, and closing. */
export class Calls {
  readonly #store: { readonly prefix: string };
  readonly #keys: SessionKeys;
  readonly #timeoutMs: number;
  readonly #inFlight = new InFlight();
  #closing: Promise<void> | undefined;

  constructor(store: { readonly prefix: string }, keys: SessionKeys, timeoutMs: number) {
    this.#store = store;
    this.#keys = keys;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws StoreError `ERR_STORE_CLOSED` */
  assertOpen(): void {
    if (this.#closing === undefined) return;
    throw new StoreError("ERR_STORE_CLOSED", "The session store was closed and cannot be used any more.");
  }

  /** Runs one call within its time limit. */
  run<T>(
    name: OperationName,
    sid: unknown,
    last: CallbackOrOptions<T>,
    work: (operation: Operation) => Awaitable<T>,
  ): Promise<T> | undefined {
    const observation = this.#observe(name, sid);
    let operation: Operation | undefined;
    let outcome: Awaitable<T>;
    try {
      this.assertOpen();
      operation = new Operation(this.#timeoutMs, signalOf(last));
      outcome = work(operation);
      if (isPromise(outcome)) outcome = this.track(operation.withTimeout(outcome));
    } catch (error) {
      outcome = Promise.reject(error);
    }
    observation?.watch(outcome, operation);
    // Deferred with setImmediate, concurrent requests advance in lockstep: 10 % more pages a second (bench/RESULTS.md).
    const later = name === "get" ? setImmediate : process.nextTick;
    return callbackify(outcome, typeof last === "function" ? last : undefined, later);
  }

  /**
   * Runs a call of many steps. Each step has the time limit, not the whole.
   *
   * @param callback - for a method that takes options and a callback
   */
  runListing<T>(
    name: OperationName,
    last: CallbackOrOptions<T>,
    work: (operation: Operation) => Promise<T>,
    callback = typeof last === "function" ? last : undefined,
  ): Promise<T> | undefined {
    const observation = this.#observe(name);
    let outcome: Promise<T>;
    try {
      this.assertOpen();
      outcome = this.track(work(new Operation(this.#timeoutMs, signalOf(last))));
    } catch (error) {
      outcome = Promise.reject(error);
    }
    observation?.watch(outcome);
    return callbackify(outcome, callback);
  }

  /** Reports a listing that its consumer iterates over. */
  follow<T>(name: OperationName, entries: AsyncGenerator<T, void, undefined>) {
    return this.#observe(name)?.follow(entries) ?? entries;
  }

  /** An operation of many steps for a caller that has its own signal. */
  operation(signal: AbortSignal | undefined): Operation {
    return new Operation(this.#timeoutMs, signal);
  }

  /** Counts work that {@link close} waits for. */
  track<T>(promise: Promise<T>): Promise<T> {
    return this.#inFlight.track(promise);
  }

  /** Waits for what is in flight, then runs `free`, once. */
  close(free: () => Promise<void>): Promise<void> {
    this.#closing ??= this.#inFlight.drained().then(free);
    return this.#closing;
  }

  #observe(name: OperationName, sid?: unknown): Observation | undefined {
    return operations.hasSubscribers ? new Observation(this.#store, this.#keys, name, sid) : undefined;
  }
}
