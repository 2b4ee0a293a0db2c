import { setMaxListeners } from "node:events";
import { StoreError } from "../errors.js";
import type { Outcome } from "./diagnostics.js";

/** Clients are told to give up this much after the deadline: the caller is told first, and what it is told is ours. */
const CLIENT_DELAY_MS = 500;

/** One call of a store's method: how long it may take, and whether its caller has given it up. */
export class Operation {
  /** What it came to, if that is more than success; for the diagnostics. */
  outcome: Outcome | undefined;

  readonly #timeoutMs: number;
  readonly #callerSignal: AbortSignal | undefined;
  #controller: AbortController | undefined;
  #end: { reason: unknown } | undefined;
  #deadline: number | undefined;

  constructor(timeoutMs: number, callerSignal?: AbortSignal) {
    this.#timeoutMs = timeoutMs;
    this.#callerSignal = callerSignal;
    callerSignal?.throwIfAborted();
  }

  /**
   * When the time is up, on the real clock (`Date.now()`), whatever clock the store runs on. Counted from when it is
   * first asked for, which is in the same turn: an operation that is done at once never needs it.
   */
  get deadline(): number {
    this.#deadline ??= Date.now() + this.#timeoutMs;
    return this.#deadline;
  }

  /** The latest of the times after which a request for these operations is of no use. For clients, not for callers. */
  static clientDeadline(operations: readonly Operation[]): number {
    return Math.max(...operations.map(({ deadline }) => deadline)) + CLIENT_DELAY_MS;
  }

  /** Aborted when the time is up or the caller cancels. Made when first asked for: most backends do not need it. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#end !== undefined) this.#controller.abort(this.#end.reason);
    }
    return this.#controller.signal;
  }

  /** Whether the caller has had its answer (time-out, cancelled): nothing more must be begun on its behalf. */
  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** @throws what the caller was told, if it was told something already */
  throwIfEnded(): void {
    if (this.#end !== undefined) throw this.#end.reason;
  }

  /** A promise that settles with `work`, or rejects when the time is up or the caller cancels, whichever is first. */
  limit<T>(work: PromiseLike<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const stop = (reason: unknown) => {
        this.#end = { reason };
        settle();
        reject(reason);
        this.#controller?.abort(reason);
      };
      const cancel = () => stop(this.#callerSignal?.reason);
      const timer = setTimeout(() => stop(timedOut(this.#timeoutMs)), this.deadline - Date.now());
      const settle = () => {
        clearTimeout(timer);
        this.#callerSignal?.removeEventListener("abort", cancel);
      };
      if (this.#end !== undefined) stop(this.#end.reason);
      else if (this.#callerSignal?.aborted) cancel();
      else if (this.#callerSignal !== undefined) {
        // A signal for all calls of a server has as many listeners as there are calls: that is no leak.
        setMaxListeners(0, this.#callerSignal);
        this.#callerSignal.addEventListener("abort", cancel, { once: true });
      }
      work.then(
        value => {
          settle();
          resolve(value);
        },
        error => {
          settle();
          // Once it has ended, what fails only follows from that: a request that was aborted.
          reject(this.#end === undefined ? error : this.#end.reason);
        },
      );
    });
  }
}

function timedOut(timeoutMs: number): StoreError {
  return new StoreError(
    "ERR_STORE_TIMEOUT",
    `The session store's backend did not answer within ${timeoutMs} ms (option \`timeoutMs\`). A write may still have happened.`,
  );
}
