/** What waits to be sent. */
export interface Batchable {
  readonly key: string;
  /** Bytes it adds to a request. */
  readonly size: number;
  /** Once it has ended, nobody waits any more and the item is not sent. */
  readonly operation: { readonly ended: boolean };
}

export interface BatchOptions<Item, Result> {
  /** Sends a batch and returns the results in the order of the items. */
  send(items: Item[]): Promise<Result[]>;
  /** How many items and bytes go into one request at most, and how many requests are under way at once. */
  limits(): { items: number; bytes: number; requests: number };
  /** Whether items of one key may be under way at once. If not, they are sent one after the other, in order. */
  repeatKeys: boolean;
  /** Whether an error may be the doing of one item, so that each is sent again by itself. */
  isolate(error: unknown): boolean;
}

interface Waiting<Item, Result> {
  item: Item;
  /** Its batch was refused, maybe for it: it is sent by itself now. */
  alone: boolean;
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
  readonly #keysUnderWay = new Set<string>();
  #scheduled = false;

  constructor(options: BatchOptions<Item, Result>) {
    this.#options = options;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, alone: false, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const limits = this.#options.limits();
      while (this.#requests < limits.requests) {
        const batch = this.#take(limits.items, limits.bytes);
        if (batch.length === 0) return;
        this.#send(batch);
      }
    });
  }

  #take(maxItems: number, maxBytes: number): Waiting<Item, Result>[] {
    const batch: Waiting<Item, Result>[] = [];
    const left: Waiting<Item, Result>[] = [];
    // Those under way, and those that are left: a later item of the same key must not overtake it.
    const taken = new Set(this.#keysUnderWay);
    let bytes = 0;
    for (const waiting of this.#waiting) {
      const { item, alone } = waiting;
      const { key, size } = item;
      if (item.operation.ended) continue;
      const joins = !alone && !batch[0]?.alone && batch.length < maxItems && bytes + size <= maxBytes;
      if ((joins || batch.length === 0) && !taken.has(key)) {
        batch.push(waiting);
        bytes += size;
      } else left.push(waiting);
      if (!this.#options.repeatKeys) taken.add(key);
    }
    this.#waiting = left;
    return batch;
  }

  #send(batch: Waiting<Item, Result>[]): void {
    this.#requests += 1;
    if (!this.#options.repeatKeys) for (const { item } of batch) this.#keysUnderWay.add(item.key);
    this.#options
      .send(batch.map(({ item }) => item))
      .then(
        results => {
          for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result);
        },
        error => {
          if (batch.length > 1 && this.#options.isolate(error)) {
            // In front, so that they keep their place before later items of the same keys.
            this.#waiting.unshift(...batch.map(waiting => ({ ...waiting, alone: true })));
          } else for (const { reject } of batch) reject(error);
        },
      )
      .finally(() => {
        this.#requests -= 1;
        for (const { item } of batch) this.#keysUnderWay.delete(item.key);
        this.#schedule();
      });
  }
}
