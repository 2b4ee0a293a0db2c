/** What waits to be sent. */
export interface Batchable {
  readonly key: string;
  /** Bytes it adds to a request. */
  readonly size: number;
  /** True when its caller no longer waits: it is not sent any more. */
  readonly ended: boolean;
}

export interface BatchOptions<Item, Result> {
  /** Sends a batch and returns the results in the order of the items. */
  send(items: Item[]): Promise<Result[]>;
  /** How many items and bytes go into one request at most, and how many requests are under way at once. */
  limits(): { items: number; bytes: number; requests: number };
  /** Whether a batch may hold several items of one key. */
  repeatKeys: boolean;
  /** Whether an error may be the doing of one item, so that each is sent again by itself. */
  isolate(error: unknown): boolean;
}

interface Waiting<Item, Result> {
  item: Item;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/**
 * Gathers operations that wait at the same moment into one request: those of one turn of the event loop, and under
 * load those that come while earlier requests are under way. A lone operation is sent at the end of its turn.
 *
 * An item is sent after it was added, never joined to a request that is already under way: a read that joined an
 * earlier one could miss a write that finished in between.
 */
export class Batcher<Item extends Batchable, Result> {
  readonly #options: BatchOptions<Item, Result>;
  #waiting: Waiting<Item, Result>[] = [];
  #requests = 0;
  #scheduled = false;

  constructor(options: BatchOptions<Item, Result>) {
    this.#options = options;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const limits = this.#options.limits();
      while (this.#waiting.length > 0 && this.#requests < limits.requests) {
        const batch = this.#take(limits.items, limits.bytes);
        if (batch.length > 0) this.#send(batch);
      }
    });
  }

  #take(maxItems: number, maxBytes: number): Waiting<Item, Result>[] {
    const batch: Waiting<Item, Result>[] = [];
    const left: Waiting<Item, Result>[] = [];
    const keys = new Set<string>();
    let bytes = 0;
    for (const waiting of this.#waiting) {
      const { key, size, ended } = waiting.item;
      if (ended) continue;
      const fits = batch.length === 0 || (batch.length < maxItems && bytes + size <= maxBytes);
      if (fits && (this.#options.repeatKeys || !keys.has(key))) {
        batch.push(waiting);
        bytes += size;
      } else left.push(waiting);
      // Noted even if it is left: a later item of the same key must not overtake it.
      keys.add(key);
    }
    this.#waiting = left;
    return batch;
  }

  #send(batch: Waiting<Item, Result>[]): void {
    this.#requests += 1;
    this.#options
      .send(batch.map(({ item }) => item))
      .then(
        results => batch.forEach(({ resolve }, index) => resolve(results[index] as Result)),
        error => {
          if (batch.length > 1 && this.#options.isolate(error)) for (const one of batch) this.#send([one]);
          else for (const { reject } of batch) reject(error);
        },
      )
      .finally(() => {
        this.#requests -= 1;
        if (this.#waiting.length > 0) this.#schedule();
      });
  }
}
