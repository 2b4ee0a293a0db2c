import type { Operation } from "../operation.js";
import { type Awaitable, type FoundRecord, isPromise } from "../record.js";

/** What a write of a session leaves stored, if it is known. */
interface Written {
  readonly stored?: FoundRecord | undefined;
}

interface PendingWrite {
  /** Resolves when the write settles or times out. Cleared then, since a busy Map keeps its entries for a while. */
  settled: (() => Promise<Written | undefined>) | undefined;
}

/**
 * Queues the writes of each key in this process: a session never conflicts with itself, twenty parallel saves cost twenty
 * writes instead of two hundred, and a removal follows the saves before it.
 */
export class WriteQueue {
  readonly #pending = new Map<string, PendingWrite>();

  /**
   * Runs `write` once the previous write of the key has settled. The caller's own time limit keeps running.
   *
   * @param write - gets what the previous write has stored
   */
  run<T extends object | undefined>(
    key: string,
    operation: Operation,
    write: (latest?: FoundRecord) => Awaitable<T>,
  ): Awaitable<T> {
    const before = this.#pending.get(key);
    const outcome = before === undefined ? write() : runAfter(before, write);
    return isPromise(outcome) ? this.#enqueue(key, operation, outcome) : outcome;
  }

  #enqueue<T extends object | undefined>(
    key: string,
    operation: Operation,
    outcome: PromiseLike<T>,
  ): PromiseLike<T> {
    // If the backend never responds, the next write waits only until this write's own time limit.
    const pending: PendingWrite = {
      settled: () => operation.withTimeout(outcome).catch(() => undefined),
    };
    this.#pending.set(key, pending);
    const settled = () => {
      pending.settled = undefined;
      if (this.#pending.get(key) === pending) this.#pending.delete(key);
    };
    outcome.then(settled, settled);
    return outcome;
  }
}

async function runAfter<T>(
  before: PendingWrite,
  write: (latest: FoundRecord | undefined) => Awaitable<T>,
): Promise<T> {
  const written = await before.settled?.();
  return await write(written?.stored);
}
