/** What waits to be sent. */
export interface Batchable {
  readonly key: string;
  /** Bytes it adds to a request. */
  readonly size: number;
  /** Once it has ended, nobody waits any more: the item is not sent, and its promise rejected. */
  readonly operation: { readonly ended: boolean };
}

export interface BatchOptions<Item, Result> {
  /** Sends a batch and returns the results in the order of the items. */
  send(items: Item[]): Promise<Result[]>;
  /** How many items and bytes go into one request at most. */
  limits(): { items: number; bytes: number };
  /** How many requests are under way at once, at most. */
  requests: number;
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
 * load those that come while earlier requests are under way. While nothing is under way, an operation waits for those
 * of the same callback only.
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
      this.#schedule(this.#requests === 0 ? process.nextTick : setImmediate);
    });
  }

  #schedule(later: (flush: () => void) => void): void {
    if (this.#scheduled || this.#waiting.length === 0 || this.#requests >= this.#options.requests) return;
    this.#scheduled = true;
    later(this.#flush);
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    while (this.#requests < this.#options.requests) {
      const { items, bytes } = this.#options.limits();
      const batch = this.#take(items, bytes);
      if (batch.length === 0) return;
      this.#send(batch);
    }
  };

  #take(maxItems: number, maxBytes: number): Waiting<Item, Result>[] {
    const { repeatKeys } = this.#options;
    const batch: Waiting<Item, Result>[] = [];
    const left: Waiting<Item, Result>[] = [];
    // A later item of the same key must not overtake one that is left.
    const keysLeft = new Set<string>();
    let bytes = 0;
    let next = 0;
    for (; next < this.#waiting.length && batch.length < maxItems; next++) {
      const waiting = this.#waiting[next] as Waiting<Item, Result>;
      const { item, alone } = waiting;
      const { key, size } = item;
      if (item.operation.ended) {
        // Its caller has been told, but whoever keeps something for the time of the request has not.
        waiting.reject(new Error("It was given up before it was sent."));
        continue;
      }
      const joins = !alone && !batch[0]?.alone && bytes + size <= maxBytes;
      const taken = !repeatKeys && (this.#keysUnderWay.has(key) || keysLeft.has(key));
      if ((joins || batch.length === 0) && !taken) {
        batch.push(waiting);
        bytes += size;
        if (!repeatKeys) this.#keysUnderWay.add(key);
      } else {
        left.push(waiting);
        if (!repeatKeys) keysLeft.add(key);
      }
    }
    this.#waiting = left.concat(this.#waiting.slice(next));
    return batch;
  }

  #send(batch: Waiting<Item, Result>[]): void {
    this.#requests += 1;
    const ended = () => {
      this.#requests -= 1;
      if (!this.#options.repeatKeys) for (const { item } of batch) this.#keysUnderWay.delete(item.key);
      // After the callers have gone on: what they add now goes along.
      this.#schedule(setImmediate);
    };
    this.#options.send(batch.map(({ item }) => item)).then(
      results => {
        batch.forEach(({ resolve }, index) => {
          resolve(results[index] as Result);
        });
        ended();
      },
      error => {
        if (batch.length > 1 && this.#options.isolate(error)) {
          // In front, so that they keep their place before later items of the same keys.
          this.#waiting = batch.map(waiting => ({ ...waiting, alone: true })).concat(this.#waiting);
        } else for (const { reject } of batch) reject(error);
        ended();
      },
    );
  }
}
