import { runInBackground } from "./background.js";

/** An operation that waits to be sent. */
export interface Batchable {
  readonly key: string;
  /** Bytes that it adds to a request. */
  readonly size: number;
  /** How many of the items of a request it counts for. @defaultValue `1` */
  readonly weight?: number;
  /** Whether it is sent in a request of its own. */
  readonly isAlone?: boolean;
  /** An abandoned operation is not sent, and its promise is rejected. */
  readonly operation: { readonly isAbandoned: boolean };
}

export interface BatcherOptions<Item, Result> {
  /** Sends a batch. Resolves with the results in the order of the items. */
  send(items: Item[]): Promise<Result[]>;
  /** How many items and bytes one request may have. */
  limits(): { items: number; bytes: number };
  /** How many requests may be in flight. */
  maxInFlight: number;
  /** How long a request holds its place among those in flight, in milliseconds. @defaultValue until it settles */
  maxHoldMs?: number;
  /** Whether items of one key may be in flight together. If not, they are sent one after the other, in order. */
  allowSameKey: boolean;
  /** Whether one item may have caused an error, so that each item is sent again on its own. */
  retryIndividually(error: unknown): boolean;
}

interface Queued<Item, Result> {
  readonly item: Item;
  /** Also set when its batch was rejected, perhaps because of this item. */
  readonly sendAlone: boolean;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/**
 * Coalesces concurrent operations into one request: those added in the same tick and, while requests are in flight, all
 * that arrive until the next one is sent.
 *
 * An item never joins a request that has been sent already: a read that joined one could miss a write that was
 * acknowledged in between. Requests run in no caller's `AsyncLocalStorage` context, since they serve several callers.
 */
export class Batcher<Item extends Batchable, Result> {
  readonly #options: BatcherOptions<Item, Result>;
  #queue: Queued<Item, Result>[] = [];
  #inFlight = 0;
  readonly #keysInFlight = new Set<string>();
  #isScheduled = false;

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ item, sendAlone: item.isAlone ?? false, resolve, reject });
      // An idle batcher adds no turn of the event loop to the latency. A busy one waits for the end of this turn, in
      // which the callers that a response has just resumed add their next operations.
      this.#schedule(this.#inFlight === 0 ? process.nextTick : setImmediate);
    });
  }

  #schedule(later: (flush: () => void) => void): void {
    if (this.#isScheduled || this.#queue.length === 0 || this.#inFlight >= this.#options.maxInFlight) return;
    this.#isScheduled = true;
    runInBackground(() => later(this.#flush));
  }

  readonly #flush = (): void => {
    this.#isScheduled = false;
    while (this.#inFlight < this.#options.maxInFlight) {
      const { items, bytes } = this.#options.limits();
      const batch = this.#take(items, bytes);
      if (batch.length === 0) return;
      this.#send(batch);
    }
  };

  #take(maxItems: number, maxBytes: number): Queued<Item, Result>[] {
    const { allowSameKey } = this.#options;
    const batch: Queued<Item, Result>[] = [];
    const left: Queued<Item, Result>[] = [];
    // A later item must not overtake an earlier one of the same key.
    const keysLeft = new Set<string>();
    let bytes = 0;
    let count = 0;
    let next = 0;
    for (; next < this.#queue.length && count < maxItems; next++) {
      const queued = this.#queue[next] as Queued<Item, Result>;
      const { key, size, weight = 1, operation } = queued.item;
      if (operation.isAbandoned) {
        // The caller has its error already. This rejection releases what is held for the time of the request.
        queued.reject(new Error("The operation was cancelled before it was sent"));
        continue;
      }
      const hasRoom = bytes + size <= maxBytes && count + weight <= maxItems;
      const fits = !queued.sendAlone && !batch[0]?.sendAlone && hasRoom;
      const isBlocked = !allowSameKey && (this.#keysInFlight.has(key) || keysLeft.has(key));
      if ((fits || batch.length === 0) && !isBlocked) {
        batch.push(queued);
        bytes += size;
        count += weight;
        if (!allowSameKey) this.#keysInFlight.add(key);
      } else {
        left.push(queued);
        if (!allowSameKey) keysLeft.add(key);
      }
    }
    this.#queue = left.concat(this.#queue.slice(next));
    return batch;
  }

  #send(batch: Queued<Item, Result>[]): void {
    const release = this.#occupy();
    const settled = () => {
      if (!this.#options.allowSameKey) for (const { item } of batch) this.#keysInFlight.delete(item.key);
      release();
    };
    this.#options.send(batch.map(({ item }) => item)).then(
      results => {
        batch.forEach(({ resolve }, index) => {
          resolve(results[index] as Result);
        });
        settled();
      },
      error => {
        if (batch.length > 1 && this.#options.retryIndividually(error)) {
          // In front, so that they stay before later items of the same keys.
          this.#queue = batch.map(queued => ({ ...queued, sendAlone: true })).concat(this.#queue);
        } else for (const { reject } of batch) reject(error);
        settled();
      },
    );
  }

  /** Takes a place among the requests in flight. Returns the function that gives it back. */
  #occupy(): () => void {
    const { maxHoldMs } = this.#options;
    this.#inFlight += 1;
    let isHeld = true;
    const release = () => {
      clearTimeout(timer);
      if (isHeld) this.#inFlight -= 1;
      isHeld = false;
      // The callers go on first: what they add now is sent along.
      this.#schedule(setImmediate);
    };
    // A request that hangs must not keep all later ones waiting.
    const timer = maxHoldMs === undefined ? undefined : setTimeout(release, maxHoldMs);
    return release;
  }
}
