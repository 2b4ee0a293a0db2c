import { LRUCache } from "lru-cache";
import { AbstractStore } from "./abstract-store.js";
import { tooLarge } from "./errors.js";
import { CleanupTimer } from "./internal/cleanup-timer.js";
import { GRACE_MS } from "./internal/expiry.js";
import { rules } from "./internal/options.js";
import {
  canExtend,
  type Extension,
  type ScannedRecord,
  type StoredRecord,
  type WriteResult,
} from "./internal/record.js";
import type { StoreOptions } from "./internal/store-options.js";
import { TimeSlice } from "./internal/time-slice.js";

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

const DEFAULT_CLEANUP_SECONDS = 60;
const PAGE_SIZE = 250;
const ENTRY_OVERHEAD_BYTES = 200;

/**
 * Sessions in the memory of this process: for tests, development, and single processes that may lose their sessions
 * at a restart.
 *
 * @example
 * app.use(session({ store: new MemoryStore({ max: 100_000 }), secret, resave: false, saveUninitialized: false }));
 */
export class MemoryStore extends AbstractStore {
  readonly #records: Map<string, StoredRecord> | LRUCache<string, StoredRecord>;
  readonly #maxBytes: number | undefined;
  readonly #cleanup: CleanupTimer;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: MemoryStoreOptions = {}) {
    super(
      options,
      { max: rules.positiveInteger, maxBytes: rules.positiveInteger, cleanupInterval: rules.interval },
      0,
    );
    this.#maxBytes = options.maxBytes;
    this.#records = recordsWithin(options.max, options.maxBytes);
    this.#cleanup = new CleanupTimer(
      options.cleanupInterval ?? DEFAULT_CLEANUP_SECONDS,
      () => this.cleanup(),
      error => this._reportError(error),
    );
  }

  /** Removes the sessions that expired at least a minute ago, in slices. Returns how many they were. */
  async cleanup(): Promise<number> {
    const slice = new TimeSlice();
    let removed = 0;
    for (const page of this.#pages()) {
      const until = this._now() - GRACE_MS;
      for (const { key, record } of page) {
        if (record.expiresAt > until) continue;
        this.#records.delete(key);
        removed += 1;
      }
      await slice.rest();
    }
    return removed;
  }

  protected override _read(key: string): StoredRecord | undefined {
    return this.#records.get(key);
  }

  protected override _write(
    key: string,
    record: StoredRecord,
    expected: StoredRecord | undefined,
  ): WriteResult {
    if (this.#maxBytes !== undefined) {
      const size = sizeOf(record, key);
      if (size > this.#maxBytes)
        throw tooLarge(size, this.#maxBytes, "`maxBytes`, the bound of the memory store,");
    }
    if (expected !== undefined) {
      const current = this.#records.get(key);
      if (current?.version !== expected.version) return { written: false, current };
    }
    this.#records.set(key, record);
    this.#cleanup.start();
    return { written: true };
  }

  protected override _extend(key: string, extension: Extension): boolean {
    const record = this.#records.get(key);
    if (!canExtend(record, extension)) return false;
    this.#records.set(key, { ...record, expiresAt: extension.expiresAt, slack: extension.slack });
    return true;
  }

  protected override _remove(key: string): void {
    this.#records.delete(key);
  }

  protected override async *_scan(): AsyncGenerator<ScannedRecord[]> {
    yield* this.#pages();
  }

  protected override async _close(): Promise<void> {
    this.#cleanup.stop();
    this.#records.clear();
  }

  *#pages(): Generator<ScannedRecord[]> {
    let page: ScannedRecord[] = [];
    for (const [key, record] of entriesOf(this.#records)) {
      page.push({ key, record });
      if (page.length === PAGE_SIZE) {
        yield page;
        page = [];
      }
    }
    yield page;
  }
}

function recordsWithin(max: number | undefined, maxBytes: number | undefined) {
  if (max === undefined && maxBytes === undefined) return new Map<string, StoredRecord>();
  if (maxBytes === undefined) return new LRUCache<string, StoredRecord>({ max: max as number });
  const bytes = { maxSize: maxBytes, sizeCalculation: sizeOf };
  return new LRUCache<string, StoredRecord>(max === undefined ? bytes : { ...bytes, max });
}

function sizeOf(record: StoredRecord, key: string): number {
  return Buffer.byteLength(key) + Buffer.byteLength(record.data) + ENTRY_OVERHEAD_BYTES;
}

/** Entries in an order that reads and writes do not disturb. Does not count as use of an entry. */
function* entriesOf(records: Map<string, StoredRecord> | LRUCache<string, StoredRecord>) {
  if (records instanceof Map) return yield* records;
  // The cache's own iterators follow the order of use, which changes under a slow reader: it would miss entries.
  for (const key of [...records.keys()]) {
    const record = records.peek(key);
    if (record !== undefined) yield [key, record] as const;
  }
}
