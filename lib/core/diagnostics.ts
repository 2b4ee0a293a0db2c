import { type Channel, channel } from "node:diagnostics_channel";
import type { KeySpace } from "./keys.js";
import { type Awaitable, isPromise } from "./record.js";

/*
 * One channel for all operations and one message at the end of each: that is what a histogram or a span needs.
 * `tracingChannel` would give five channels and call the subscribers twice or more for each operation; in Node 20 it
 * is experimental.
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
  | "ping";

/** What an operation came to, where success is not all there is to say. */
export type Outcome = "written" | "merged" | "gone" | "removed" | "extended" | "skipped" | "none";

/** What the channel `express-session-stores:operation` of node:diagnostics_channel tells about each call that ended. */
export interface OperationMessage {
  /** The name of the store's class. */
  store: string;
  prefix: string;
  operation: OperationName;
  /** From the call to its end, whichever way; of `entries` with the time that its consumer takes. */
  durationMs: number;
  /**
   * - `get`: `found`, `none`.
   * - `set`: `written`, `merged` (with another request's changes), `gone` (destroyed meanwhile, not written), `removed`
   *   (its expiry was past).
   * - `touch`: `extended`, `skipped` (too little to be written), `none` (no session, or it ends later already).
   * - The others: `done`.
   * - `error`: it failed.
   */
  outcome: Outcome | "found" | "done" | "error";
  /** For `error`: the `code` of the error, or its name if it has none. */
  errorCode: string | undefined;
  /** A digest of the sid, as in the events; `undefined` for operations on all sessions. */
  sidHash: string | undefined;
}

export const operations: Channel = channel("express-session-stores:operation");

/** One operation that somebody wants to know about. */
export class Observation {
  readonly #store: { readonly prefix: string };
  readonly #keys: KeySpace;
  readonly #operation: OperationName;
  readonly #sid: unknown;
  readonly #begin = performance.now();

  constructor(store: { readonly prefix: string }, keys: KeySpace, operation: OperationName, sid?: unknown) {
    this.#store = store;
    this.#keys = keys;
    this.#operation = operation;
    this.#sid = sid;
  }

  /** @param operation - has the outcome of what succeeds, if there is more than one */
  watch(result: Awaitable<unknown>, operation?: { readonly outcome: Outcome | undefined }): void {
    const succeed = (value: unknown) => {
      if (this.#operation === "get") this.#end(value === null ? "none" : "found");
      else this.#end(operation?.outcome ?? "done");
    };
    if (isPromise(result)) result.then(succeed, error => this.#end("error", errorCodeOf(error)));
    else succeed(result);
  }

  /** Hands on the entries of a listing until it ends, or its consumer has enough. */
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

  /** A subscriber that throws does not fail the operation: `publish` makes an uncaught exception of it. */
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

/** Nothing else of an error: its message is not ours, and what a caller aborts with may be anything. */
function errorCodeOf(error: unknown): string {
  const { code, name } = Object(error) as { code?: unknown; name?: unknown };
  if (typeof code === "string") return code;
  return typeof name === "string" ? name : "unknown";
}
