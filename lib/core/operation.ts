import { setMaxListeners } from "node:events";
import { StoreError } from "../errors.js";
import type { Outcome } from "./diagnostics.js";

/** Added to the deadline that clients get, so that our timeout error reaches the caller before the client's. */
const CLIENT_DELAY_MS = 500;

/** One call of a store's method: its time limit, and whether its caller still waits. */
export class Operation {
  /** The outcome for the diagnostics, if there is more to say than success. */
  outcome: Outcome | undefined;

  readonly #timeoutMs: number;
  readonly #callerSignal: AbortSignal | undefined;
  #controller: AbortController | undefined;
  #abandoned: { reason: unknown } | undefined;
  #deadline: number | undefined;

  constructor(timeoutMs: number, callerSignal?: AbortSignal) {
    this.#timeoutMs = timeoutMs;
    this.#callerSignal = callerSignal;
    callerSignal?.throwIfAborted();
  }

  /**
   * When the time is up, on the real clock (`Date.now()`), whatever clock the store uses. The time starts when it is
   * first read, in the same turn: an operation that completes synchronously never needs it.
   */
  get deadline(): number {
    this.#deadline ??= Date.now() + this.#timeoutMs;
    return this.#deadline;
  }

  /** When a request that serves these operations is of no more use. For clients, not for callers. */
  static requestDeadline(operations: readonly Operation[]): number {
    return Math.max(...operations.map(({ deadline }) => deadline)) + CLIENT_DELAY_MS;
  }

  /** Aborted when the time is up or the caller cancels. Created on first use: most backends do not need it. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      // A call for a user has a request for each session, which is no leak.
      setMaxListeners(0, this.#controller.signal);
      if (this.#abandoned !== undefined) this.#controller.abort(this.#abandoned.reason);
    }
    return this.#controller.signal;
  }

  /** Notes how the call ended, for the diagnostics. */
  end(outcome: Outcome): void {
    this.outcome = outcome;
  }

  /** Whether the caller has had its error (time limit, cancelled): nothing more may be started on its behalf. */
  get isAbandoned(): boolean {
    return this.#abandoned !== undefined;
  }

  /** @throws the error that the caller had, if it had one */
  throwIfAbandoned(): void {
    if (this.#abandoned !== undefined) throw this.#abandoned.reason;
  }

  /** @throws the reason of the caller's signal, if the caller has cancelled */
  throwIfCancelled(): void {
    this.#callerSignal?.throwIfAborted();
  }

  /** Starts the time limit again, for the next page of a listing. */
  renew(): void {
    this.throwIfCancelled();
    this.#deadline = undefined;
  }

  /** A promise that settles with `work`, or rejects when the time is up or the caller cancels, whichever is first. */
  withTimeout<T>(work: PromiseLike<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const abandon = (reason: unknown) => {
        this.#abandoned = { reason };
        settle();
        reject(reason);
        this.#controller?.abort(reason);
      };
      const cancel = () => abandon(this.#callerSignal?.reason);
      const timer = setTimeout(
        () => abandon(timedOut(this.#timeoutMs)),
        Math.max(0, this.deadline - Date.now()),
      );
      const settle = () => {
        clearTimeout(timer);
        this.#callerSignal?.removeEventListener("abort", cancel);
      };
      if (this.#abandoned !== undefined) abandon(this.#abandoned.reason);
      else if (this.#callerSignal?.aborted) cancel();
      else if (this.#callerSignal !== undefined) {
        // One signal for all calls of a server has as many listeners as there are calls, which is no leak.
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
          // Once abandoned, a failure is only a consequence, such as an aborted request.
          reject(this.#abandoned === undefined ? error : this.#abandoned.reason);
        },
      );
    });
  }
}

function timedOut(timeoutMs: number): StoreError {
  return new StoreError(
    "ERR_STORE_TIMEOUT",
    `The session store's backend did not respond within ${timeoutMs} ms (option \`timeoutMs\`). A write may still have taken place.`,
  );
}
