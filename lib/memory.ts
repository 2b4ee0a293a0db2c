import { LRUCache } from "lru-cache";
import { AbstractStore } from "./core/abstract-store.js";
import { GRACE_MS } from "./core/expiry.js";
import { rules } from "./core/options.js";
import {
  canExtend,
  type Expected,
  type Extension,
  isExpected,
  type ScannedRecord,
  type StoredRecord,
  type WriteResult,
} from "./core/record.js";
import type { StoreOptions } from "./core/store-options.js";
import { tooLarge } from "./errors.js";
import { CleanupTimer } from "./support/cleanup-timer.js";
import { TimeSlice } from "./support/event-loop-slice.js";

/** The options of {@link MemoryStore}. */
export interface MemoryStoreOptions extends StoreOptions {
  /** How many sessions to keep at most; beyond, the least recently used ones go. @defaultValue no bound */
  max?: number | undefined;
  /**
   * How many bytes of keys and serialized sessions to keep at most, with 200 for each session's bookkeeping; beyond,
   * the least recently used ones go. @defaultValue no bound
   */
  maxBytes?: number | undefined;
  /** Seconds between clean-ups of expired sessions; 0 switches them off. @defaultValue `60` */
  cleanupInterval?: number | undefined;
}

const PAGE_SIZE = 250;
const COUNT_SLICE = 10_000;
const ENTRY_OVERHEAD_BYTES = 200;
const WRITTEN: WriteResult = { written: true };

/**
 * Sessions in the memory of this process: for tests, development, and single processes that may lose their sessions
 * at a restart.
 *
 * @example
 * app.use(session({ store: new MemoryStore({ max: 100_000 }), secret, resave: false, saveUninitialized: false }));
 */
export class MemoryStore extends AbstractStore {
  readonly #records = new Map<string, StoredRecord>();
  /** The keys in the order of their use, if there is a bound; decides which records go. */
  readonly #use: LRUCache<string, number> | undefined;
  readonly #max: number | undefined;
  readonly #maxBytes: number | undefined;
  readonly #cleanup: CleanupTimer;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: MemoryStoreOptions = {}) {
    super(
      options,
      { max: rules.positiveInteger, maxBytes: rules.positiveInteger, cleanupInterval: rules.interval },
      { touchAfter: 0, shared: false },
    );
    this.#max = options.max;
    this.#maxBytes = options.maxBytes;
    if (this.#max !== undefined || this.#maxBytes !== undefined) {
      // Not the cache's own `max`, for which it allocates memory at once.
      this.#use = new LRUCache({
        maxSize: this.#maxBytes ?? Number.MAX_SAFE_INTEGER,
        dispose: (_size, key, reason) => reason === "evict" && this.#records.delete(key),
      });
    }
    this.#cleanup = new CleanupTimer(
      options.cleanupInterval,
      () => this.cleanup(),
      error => this._reportError(error),
    );
  }

  /** Removes the sessions that expired at least a minute ago, in slices. Returns how many they were. */
  async cleanup(): Promise<number> {
    this._assertOpen();
    const slice = new TimeSlice();
    let removed = 0;
    for (const page of this.#pages()) {
      const until = this._now() - GRACE_MS;
      for (const { key, record } of page) {
        if (record.expiresAt > until) continue;
        this._remove(key);
        this._reportExpired(key);
        removed += 1;
      }
      if (slice.isUsedUp) await slice.rest();
    }
    return removed;
  }

  protected override _read(key: string): StoredRecord | undefined {
    this.#use?.get(key);
    return this.#records.get(key);
  }

  protected override _write(key: string, record: StoredRecord, expected: Expected | undefined): WriteResult {
    const size = this.#maxBytes === undefined ? 1 : sizeOf(key, record);
    if (this.#maxBytes !== undefined && size > this.#maxBytes) {
      throw tooLarge(size, this.#maxBytes, "`maxBytes`, the bound of the memory store,");
    }
    const current = this.#records.get(key);
    if (!isExpected(current, expected)) return { written: false, current };
    this.#records.set(key, record);
    // The size is the value too: the cache does not look at the size again if the value is the same.
    this.#use?.set(key, size, { size });
    if (this.#max !== undefined && this.#records.size > this.#max) this.#use?.pop();
    this.#cleanup.start();
    return WRITTEN;
  }

  protected override _extend(key: string, extension: Extension): boolean {
    const record = this._read(key);
    if (!canExtend(record, extension)) return false;
    const { data, version, createdAt } = record;
    const { expiresAt, slack } = extension;
    this.#records.set(key, { data, version, expiresAt, slack, createdAt });
    return true;
  }

  protected override _remove(key: string): void {
    this.#records.delete(key);
    this.#use?.delete(key);
  }

  protected override async *_scan(): AsyncGenerator<ScannedRecord[]> {
    yield* this.#pages();
  }

  /** Every record here was written by this store, so its expiry says all about whether it is live. */
  protected override async _count(): Promise<number> {
    const slice = new TimeSlice();
    const now = this._now();
    let count = 0;
    let seen = 0;
    for (const { expiresAt } of this.#records.values()) {
      if (expiresAt > now) count += 1;
      seen += 1;
      if (seen % COUNT_SLICE === 0 && slice.isUsedUp) await slice.rest();
    }
    return count;
  }

  protected override async _close(): Promise<void> {
    this.#cleanup.stop();
    this.#records.clear();
    this.#use?.clear();
  }

  *#pages(): Generator<ScannedRecord[]> {
    let page: ScannedRecord[] = [];
    // The keys that are there now: a Map hands out what is removed and added again once more, and may never end.
    for (const key of [...this.#records.keys()]) {
      const record = this.#records.get(key);
      if (record === undefined) continue;
      page.push({ key, record });
      if (page.length === PAGE_SIZE) {
        yield page;
        page = [];
      }
    }
    yield page;
  }
}

function sizeOf(key: string, record: StoredRecord): number {
  return Buffer.byteLength(key) + Buffer.byteLength(record.data) + ENTRY_OVERHEAD_BYTES;
}
