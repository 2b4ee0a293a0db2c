import {
  AbstractStore,
  type ActivityUpdate,
  conditionHolds,
  decodeRecord,
  encodeRecord,
  type Found,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type StoredRecord,
  StoreError,
  type StoreOptions,
  tombstoneOver,
  touchHolds,
  UNREADABLE,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteResult,
} from "../../../lib/index.js";

/** The size of a page of a scan. */
export const PAGE_SIZE = 100;

/** The size limit of a session in a {@link MapStore}. */
export const MAX_SESSION_BYTES = 1_000_000;

/** The entries of a user, by their ids, and how many were added so far. */
interface List {
  readonly entries: Map<string, { readonly key: string; readonly deleteAt: number }>;
  added: number;
}

/** The lists of users beside the records that stores share. */
const listsOf = new WeakMap<Map<string, string>, Map<string, List>>();

/** A correct and simple store on a Map that several stores can share, for tests to break. */
export class MapStore extends AbstractStore {
  readonly options: StoreOptions;
  readonly #records: Map<string, string>;
  /** Whether the backend is unavailable. */
  down = false;

  constructor(options: StoreOptions, records: Map<string, string>) {
    super(options);
    this.options = options;
    this.#records = records;
  }

  get records(): Map<string, string> {
    if (this.down) throw new Error("ECONNREFUSED");
    return this.#records;
  }

  /** Returns the stored record, bypassing all faults. */
  stored(key: string): StoredRecord | undefined {
    const record = decodeRecord(this.records.get(key) ?? "");
    return record === UNREADABLE ? undefined : record;
  }

  isTombstoneAt(key: string): boolean {
    return this.stored(key)?.lifetime === 0;
  }

  /** Stores a record unconditionally. */
  put(key: string, record: StoredRecord): WriteResult {
    this.records.set(key, encodeRecord(record));
    return { written: true, token: encodeRecord(record) };
  }

  /** Returns the stored record, even if a fault replaces `_read`. */
  find(key: string): Found | undefined {
    const token = this.records.get(key);
    return token === undefined ? undefined : { record: decodeRecord(token), token };
  }

  override _read(key: string): Found | undefined {
    return this.find(key);
  }

  override _write(key: string, { record, condition, entry }: RecordWrite): WriteResult {
    const size = Buffer.byteLength(record.data);
    if (size > MAX_SESSION_BYTES) {
      throw new StoreError("ERR_SESSION_TOO_LARGE", `${size} bytes, but the limit is ${MAX_SESSION_BYTES}`);
    }
    const current = this.find(key);
    if (!conditionHolds(current, condition)) return { written: false, current };
    const isUnchanged = entry?.listToken === undefined || entry.listToken === this.listOf(entry.user).added;
    if (!isUnchanged) return { written: false, current, listChanged: true };
    this.addEntry(key, entry);
    return this.put(key, record);
  }

  listOf(user: string): List {
    let lists = listsOf.get(this.records);
    if (lists === undefined) {
      lists = new Map();
      listsOf.set(this.records, lists);
    }
    const userKey = this._userKey(user);
    const list = lists.get(userKey) ?? { entries: new Map(), added: 0 };
    lists.set(userKey, list);
    return list;
  }

  addEntry(key: string, entry: UserEntry | undefined): void {
    if (entry === undefined) return;
    const list = this.listOf(entry.user);
    list.entries.set(entry.id, { key, deleteAt: entry.deleteAt });
    list.added += 1;
  }

  override _listUser(user: string): UserList {
    const { entries, added } = this.listOf(user);
    // As a lease does.
    for (const [id, { deleteAt }] of entries) if (deleteAt <= this._now()) entries.delete(id);
    const sessions = [...entries].map(([entryId, { key }]) => ({ key, entryId, found: this.find(key) }));
    return { sessions, token: added };
  }

  override _removeEntries(user: string, entries: readonly UserSession[]): void {
    for (const { entryId } of entries) this.listOf(user).entries.delete(entryId);
  }

  override _touch(key: string, touch: ActivityUpdate): WriteResult {
    const current = this.find(key);
    if (!touchHolds(current, touch)) return { written: false, current };
    this.addEntry(key, touch.entry);
    return this.put(key, { ...current.record, activeAt: touch.activeAt });
  }

  override _remove(key: string, { tombstone, id }: Removal): void {
    const found = this.find(key);
    if (!this.stored(key)?.version.includes(id)) this.put(key, tombstoneOver(found, tombstone));
  }

  override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const keys = [...this.records.keys()].filter(key => key.startsWith(start));
    while (keys.length > 0) {
      const page = keys.splice(0, PAGE_SIZE).map(key => ({ key, ...this.find(key) }));
      yield page.filter((found): found is ScannedRecord => found.record !== undefined);
    }
  }

  override async _removeAll(...args: Parameters<AbstractStore["_removeAll"]>): Promise<void> {
    await super._removeAll(...args);
  }

  override _now(): number {
    return super._now();
  }
}
