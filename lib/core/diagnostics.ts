import { type Channel, channel } from "node:diagnostics_channel";
import type { SessionKeys } from "./keys.js";
import { type Awaitable, isPromise } from "./record.js";

/*
 * One channel for all operations, and one message at the end of each: a histogram or a span needs no more.
 * `tracingChannel` would create five channels and call the subscribers at least twice for each operation. In Node.js 20
 * it is experimental.
 */

export type OperationName =
  | "get"
  | "set"
  | "destroy"
  | "touch"
  | "all"
  | "ids"
  | "length"
  | "clear"
  | "entries"
  | "ping"
  | "findByUser"
  | "countByUser"
  | "destroyByUser"
  | "updateByUser"
  | "destroyByHandle"
  | "reindex";

/** The outcome of an operation that can succeed in several ways. */
export type Outcome = "written" | "merged" | "gone" | "removed" | "extended" | "skipped" | "none";

/** The message that the channel `express-session-stores:operation` of node:diagnostics_channel gets for every call. */
export interface OperationMessage {
  /** The name of the store's class. */
  store: string;
  prefix: string;
  operation: OperationName;
  /** From the call to its end. For `entries` it includes the time that the consumer takes. */
  durationMs: number;
  /**
   * - `get`: `found`, `none`.
   * - `set`: `written`, `merged` (with another request's changes), `gone` (destroyed or ended, not written), `removed`
   *   (as the request asked).
   * - `touch`: `extended`, `skipped` (too little to be written), `none` (no live session).
   * - All others: `done`.
   * - Any operation that failed: `error`.
   */
  outcome: Outcome | "found" | "done" | "error";
  /** For `error`: the `code` of the error or, without one, its name. */
  errorCode: string | undefined;
  /** The digest of the sid that the events have; `undefined` for operations on all sessions. */
  sidHash: string | undefined;
}

export const operations: Channel = channel("express-session-stores:operation");

/** Observes one operation for the subscribers of the channel. */
export class Observation {
  readonly #store: { readonly prefix: string };
  readonly #keys: SessionKeys;
  readonly #operation: OperationName;
  readonly #sid: unknown;
  readonly #begin = performance.now();

  constructor(
    store: { readonly prefix: string },
    keys: SessionKeys,
    operation: OperationName,
    sid?: unknown,
  ) {
    this.#store = store;
    this.#keys = keys;
    this.#operation = operation;
    this.#sid = sid;
  }

  /** @param operation - has the outcome, if the operation can succeed in several ways */
  watch(result: Awaitable<unknown>, operation?: { readonly outcome: Outcome | undefined }): void {
    const succeed = (value: unknown) => {
      if (this.#operation === "get") this.#end(value === null ? "none" : "found");
      else this.#end(operation?.outcome ?? "done");
    };
    if (isPromise(result)) result.then(succeed, error => this.#end("error", errorCodeOf(error)));
    else succeed(result);
  }

  /** Passes on the entries of a listing until it ends or its consumer stops. */
  async *follow<T>(entries: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    let errorCode: string | undefined;
    try {
      yield* entries;
    } catch (error) {
      errorCode = errorCodeOf(error);
      throw error;
    } finally {
      this.#end(errorCode === undefined ? "done" : "error", errorCode);
    }
  }

  /** A subscriber that throws does not fail the operation: `publish` turns that into an uncaught exception. */
  #end(outcome: OperationMessage["outcome"], errorCode?: string): void {
    const durationMs = performance.now() - this.#begin;
    operations.publish({
      store: this.#store.constructor.name,
      prefix: this.#store.prefix,
      operation: this.#operation,
      durationMs,
      outcome,
      errorCode,
      sidHash: typeof this.#sid === "string" ? this.#keys.sidHash(this.#sid) : undefined,
    } satisfies OperationMessage);
  }
}

/** Publishes no more of an error: its message may contain data, and a signal's reason may be anything. */
function errorCodeOf(error: unknown): string {
  const { code, name } = Object(error) as { code?: unknown; name?: unknown };
  if (typeof code === "string") return code;
  return typeof name === "string" ? name : "unknown";
}
