import { AbstractStore } from "./core/abstract-store.js";
import { rules } from "./core/options.js";
import {
  type ActivityUpdate,
  conditionHolds,
  type Found,
  isTombstone,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type StoredRecord,
  tombstoneOver,
  touchedRecord,
  touchHolds,
  type UserList,
  type WriteResult,
} from "./core/record.js";
import type { StoreOptions } from "./core/store-options.js";
import { tooLarge } from "./errors.js";
import { CleanupTimer, DEFAULT_CLEANUP_SECONDS } from "./support/cleanup-timer.js";
import { EventLoopSlice } from "./support/event-loop-slice.js";
import { UsageOrder } from "./support/usage-order.js";

/** The options of {@link MemoryStore}. */
export interface MemoryStoreOptions extends StoreOptions {
  /** The most sessions to keep. Beyond, the least recently used ones are evicted. @defaultValue no bound */
  max?: number | undefined;
  /**
   * The most bytes of keys and serialized sessions to keep, with 200 for the overhead of each session. Beyond, the least
   * recently used ones are evicted. @defaultValue no bound
   */
  maxBytes?: number | undefined;
  /** Seconds between sweeps of ended sessions; 0 switches them off. @defaultValue `60` */
  cleanupInterval?: number | undefined;
}

/** A record in memory. */
interface Entry extends ScannedRecord {
  readonly record: StoredRecord;
  readonly deleteAt: number;
}

const PAGE_SIZE = 250;
const COUNT_SLICE = 10_000;
const ENTRY_OVERHEAD_BYTES = 200;
/** Bounds the memory of destroyed sessions. */
const MAX_TOMBSTONES = 10_000;
/** How many are dropped together when there are more. */
const DROPPED_TOMBSTONES = 1_000;
const WRITTEN: WriteResult = { written: true };

/**
 * Sessions in the memory of this process: for tests, development, and single processes that may lose their sessions
 * when they restart.
 *
 * @example
 * app.use(session({ store: new MemoryStore({ max: 100_000 }), secret, resave: false, saveUninitialized: false }));
 */
export class MemoryStore extends AbstractStore {
  /** A touch in memory costs nothing, so none is skipped. */
  static override readonly defaultTouchAfter = 0;

  readonly #entries = new Map<string, Entry>();
  /** The tombstones, the oldest first, and some that were replaced or deleted. */
  #tombstones: Entry[] = [];
  /** The keys of the sessions of each user. */
  readonly #users = new Map<string, Set<string>>();
  /** Counts the entries that were added to the lists of users. */
  #entriesAdded = 0;
  /** The keys in the order of their use, if there is a bound: decides which sessions are evicted. */
  #usage: UsageOrder | undefined;
  readonly #max: number;
  readonly #maxBytes: number | undefined;
  readonly #cleanup: CleanupTimer;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: MemoryStoreOptions = {}) {
    super(options, {
      max: rules.positiveInteger,
      maxBytes: rules.positiveInteger,
      cleanupInterval: rules.interval,
    });
    this.#max = options.max ?? Number.POSITIVE_INFINITY;
    this.#maxBytes = options.maxBytes;
    if (options.max !== undefined || options.maxBytes !== undefined) this.#usage = new UsageOrder();
    this.#cleanup = new CleanupTimer(
      options.cleanupInterval ?? DEFAULT_CLEANUP_SECONDS,
      () => this.cleanup(),
      error => this._reportError(error),
    );
  }

  /** Deletes the sessions that ended at least a minute ago, in slices. Returns how many they were. */
  async cleanup(): Promise<number> {
    this._assertOpen();
    const slice = new EventLoopSlice();
    let deleted = 0;
    for (const page of this.#pages()) {
      const now = this._now();
      for (const { key, record, deleteAt } of page) {
        if (deleteAt > now) continue;
        this.#delete(key);
        if (isTombstone(record)) continue;
        this._reportExpired(key);
        deleted += 1;
      }
      if (slice.isUsedUp) await slice.yield();
    }
    this.#tombstones = this.#tombstones.filter(({ deleteAt }) => deleteAt > this._now());
    return deleted;
  }

  protected override _read(key: string): Found | undefined {
    this.#usage?.use(key);
    return this.#entries.get(key);
  }

  protected override _write(key: string, { record, condition, deleteAt, entry }: RecordWrite): WriteResult {
    const size = this.#maxBytes === undefined ? 1 : sizeOf(key, record);
    if (this.#maxBytes !== undefined && size > this.#maxBytes) {
      throw tooLarge(size, this.#maxBytes, "`maxBytes`, the bound of the memory store,");
    }
    const current = this.#entries.get(key);
    if (!conditionHolds(current, condition)) return { written: false, current };
    const { listToken = this.#entriesAdded } = entry ?? {};
    if (listToken !== this.#entriesAdded) return { written: false, current, listChanged: true };
    if (isTombstone(record)) this.#bury({ key, record, deleteAt }, current);
    else this.#put({ key, record, deleteAt }, size, current);
    return WRITTEN;
  }

  protected override _touch(key: string, touch: ActivityUpdate): WriteResult {
    const current = this._read(key);
    if (!touchHolds(current, touch)) return { written: false, current };
    const record = touchedRecord(current.record, touch.activeAt);
    this.#entries.set(key, { key, record, deleteAt: touch.deleteAt });
    return WRITTEN;
  }

  protected override _remove(key: string, { tombstone, id, deleteAt }: Removal): void {
    const current = this.#entries.get(key);
    if (current?.record.version.includes(id)) return;
    this.#bury({ key, record: tombstoneOver(current, tombstone), deleteAt }, current);
  }

  protected override _listUser(user: string): UserList {
    const keys = [...(this.#users.get(user) ?? [])];
    const sessions = keys.map(key => ({ key, entryId: key, found: this.#entries.get(key) }));
    return { sessions, token: this.#entriesAdded };
  }

  /** There is no garbage: the lists change with the records. */
  protected override _removeEntries(): void {}

  protected override async *_scan(): AsyncGenerator<ScannedRecord[]> {
    yield* this.#pages();
  }

  /** Counts without pages. */
  protected override async _count(isLive: (record: StoredRecord) => boolean): Promise<number> {
    const slice = new EventLoopSlice();
    let count = 0;
    let seen = 0;
    for (const { record } of this.#entries.values()) {
      if (isLive(record)) count += 1;
      seen += 1;
      if (seen % COUNT_SLICE === 0 && slice.isUsedUp) await slice.yield();
    }
    return count;
  }

  protected override async _close(): Promise<void> {
    this.#cleanup.stop();
    this.#entries.clear();
    this.#tombstones = [];
    this.#users.clear();
    this.#usage = undefined;
  }

  #put(entry: Entry, size: number, current: Entry | undefined): void {
    const { key } = entry;
    this.#file(key, current?.record.user, entry.record.user);
    this.#entries.set(key, entry);
    if (this.#usage !== undefined) this.#evict(this.#usage, key, size);
    this.#cleanup.start();
  }

  #evict(usage: UsageOrder, newest: string, size: number): void {
    usage.set(newest, size);
    while (usage.count > this.#max || usage.size > (this.#maxBytes ?? Number.POSITIVE_INFINITY)) {
      this.#delete(usage.oldest as string);
    }
  }

  /** Puts a tombstone, which evicts no session. */
  #bury(tombstone: Entry, current: Entry | undefined): void {
    const { key } = tombstone;
    this.#usage?.delete(key);
    this.#file(key, current?.record.user, undefined);
    this.#entries.set(key, tombstone);
    this.#tombstones.push(tombstone);
    if (this.#tombstones.length <= MAX_TOMBSTONES) return;
    for (const oldest of this.#tombstones.splice(0, DROPPED_TOMBSTONES)) {
      if (this.#entries.get(oldest.key) === oldest) this.#entries.delete(oldest.key);
    }
  }

  #delete(key: string): void {
    this.#usage?.delete(key);
    this.#file(key, this.#entries.get(key)?.record.user, undefined);
    this.#entries.delete(key);
  }

  /** Moves a session from the list of one user to that of another. */
  #file(key: string, from: string | undefined, to: string | undefined): void {
    if (from === to) return;
    const left = from === undefined ? undefined : this.#users.get(from);
    left?.delete(key);
    if (left?.size === 0) this.#users.delete(from as string);
    if (to === undefined) return;
    const keys = this.#users.get(to) ?? new Set();
    this.#users.set(to, keys.add(key));
    this.#entriesAdded += 1;
  }

  *#pages(): Generator<Entry[]> {
    let page: Entry[] = [];
    // The keys of now: a Map repeats what is deleted and added again while it is iterated, perhaps forever.
    for (const key of [...this.#entries.keys()]) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      page.push(entry);
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
