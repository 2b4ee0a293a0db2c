import { AbstractStore } from "./abstract-store.js";
import { CleanupTimer } from "./internal/cleanup-timer.js";
import { GRACE_MS } from "./internal/expiry.js";
import { LmdbFile } from "./internal/lmdb-file.js";
import { rules } from "./internal/options.js";
import {
  canExtend,
  decodeRecord,
  type Expected,
  type Extension,
  encodeRecord,
  isExpected,
  type ScannedRecord,
  type StoredRecord,
  type WriteResult,
} from "./internal/record.js";
import type { StoreOptions } from "./internal/store-options.js";
import { TimeSlice } from "./internal/time-slice.js";

/** The options of {@link FileStore}. */
export interface FileStoreOptions extends StoreOptions {
  /**
   * The database file, on a local file system. It and its folder are created if missing, for this user alone; a
   * second file with `-lock` at the end of the name stands beside it.
   */
  path: string;
  /** Seconds between clean-ups of expired sessions; 0 switches them off. @defaultValue `60` */
  cleanupInterval?: number | undefined;
}

/** How many sessions a clean-up removes in one transaction, during which nobody else can write. */
const CLEANUP_SLICE = 100;

/** A page of a listing ends when it has this much. */
const PAGE_RECORDS = 250;
const PAGE_CHARACTERS = 1024 * 1024;

/** 8 bytes of epoch milliseconds, before the key of a session. */
const INDEX_TIME_BYTES = 8;
const INDEX_VALUE = Buffer.from([0]);
const ZERO_BYTE = Buffer.from([0]);
const NO_BYTES = Buffer.alloc(0);

/**
 * A record as it is in the file, and the time under which the index of expiries has it. That entry is a reminder to
 * look at the record then: touches leave it where it is, and a clean-up that comes by and finds the record alive
 * moves it. So a touch costs one write, and a clean-up looks only at what is due.
 */
interface Entry {
  indexedAt: number;
  record: StoredRecord;
}

/**
 * Sessions in an LMDB file: for development, and for one server with as many processes as it has. A write is
 * acknowledged when it is on disk.
 *
 * @example
 * app.use(session({ store: new FileStore({ path: "data/sessions.lmdb" }), secret, resave: false, saveUninitialized: false }));
 */
export class FileStore extends AbstractStore {
  /** The database file, as it was given. */
  readonly path: string;
  readonly #cleanup: CleanupTimer;
  #opened: LmdbFile | undefined;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: FileStoreOptions) {
    super(options, { path: { ...rules.nonEmptyString, required: true }, cleanupInterval: rules.interval });
    this.path = options.path;
    this.#cleanup = new CleanupTimer(
      options.cleanupInterval,
      () => this.cleanup(),
      error => this._reportError(error),
    );
  }

  /**
   * Removes the sessions, of every prefix, that expired at least a minute ago. The cost goes with their number, not
   * with that of all sessions. Several processes may do it at once. Returns how many it removed.
   */
  async cleanup(): Promise<number> {
    this._assertOpen();
    return await this._track(this.#removeExpired());
  }

  protected override _read(key: string): StoredRecord | undefined {
    const file = this.#file();
    file.refresh();
    return entryOf(file, Buffer.from(key))?.record;
  }

  protected override _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
  ): Promise<WriteResult> {
    const file = this.#file();
    const id = Buffer.from(key);
    return file.transaction<WriteResult>(() => {
      const current = entryOf(file, id);
      if (!isExpected(current?.record, expected)) return { written: false, current: current?.record };
      putEntry(file, id, record, current);
      return { written: true };
    });
  }

  protected override _extend(key: string, extension: Extension): Promise<boolean> {
    const file = this.#file();
    const id = Buffer.from(key);
    return file.transaction(() => {
      const current = entryOf(file, id);
      if (current === undefined || !canExtend(current.record, extension)) return false;
      const { expiresAt, slack } = extension;
      putEntry(file, id, { ...current.record, expiresAt, slack }, current);
      return true;
    });
  }

  protected override _remove(key: string): Promise<void> {
    return this._removeAll([key]);
  }

  protected override async _removeAll(keys: string[]): Promise<void> {
    const file = this.#file();
    await file.transaction(() => {
      for (const key of keys) {
        const id = Buffer.from(key);
        removeEntry(file, id, entryOf(file, id));
      }
    });
  }

  protected override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const file = this.#file();
    let from = start === "" ? ZERO_BYTE : Buffer.from(start);
    for (;;) {
      const page: ScannedRecord[] = [];
      let last: Buffer | undefined;
      let characters = 0;
      file.refresh();
      for (const { key: id, value } of file.records.getRange({ start: from })) {
        const key = id.toString();
        if (!key.startsWith(start)) break;
        page.push({ key, record: decodeEntry(value).record });
        characters += value.length;
        if (page.length < PAGE_RECORDS && characters < PAGE_CHARACTERS) continue;
        last = id;
        break;
      }
      yield page;
      if (last === undefined) return;
      from = Buffer.concat([last, ZERO_BYTE]);
    }
  }

  protected override async _close(): Promise<void> {
    this.#cleanup.stop();
    await this.#opened?.release();
  }

  /** The file, opened when first needed: constructors do no I/O. */
  #file(): LmdbFile {
    this.#opened ??= LmdbFile.open(this.path);
    this.#cleanup.start();
    return this.#opened;
  }

  async #removeExpired(): Promise<number> {
    const file = this.#file();
    const slice = new TimeSlice();
    let removed = 0;
    for (;;) {
      const until = this._now() - GRACE_MS;
      file.refresh();
      const due = [
        ...file.expiries.getKeys({ start: ZERO_BYTE, end: indexKey(until + 1), limit: CLEANUP_SLICE }),
      ];
      if (due.length === 0) return removed;
      removed += await file.transaction(() => due.filter(key => expire(file, key, until)).length);
      await slice.rest();
    }
  }
}

/** Follows a reminder of the index; returns whether it removed a session. */
function expire(file: LmdbFile, reminder: Buffer, until: number): boolean {
  const id = reminder.subarray(INDEX_TIME_BYTES);
  const entry = entryOf(file, id);
  if (entry === undefined || !indexKey(entry.indexedAt, id).equals(reminder)) {
    // Another process was here before.
    file.expiries.removeSync(reminder);
    return false;
  }
  if (entry.record.expiresAt <= until) {
    removeEntry(file, id, entry);
    return true;
  }
  file.expiries.removeSync(reminder);
  putEntry(file, id, entry.record, undefined);
  return false;
}

function entryOf(file: LmdbFile, id: Buffer): Entry | undefined {
  const text = file.records.get(id);
  return text === undefined ? undefined : decodeEntry(text);
}

/** Within a transaction. The index comes first: a record without a reminder would never be cleaned up. */
function putEntry(file: LmdbFile, id: Buffer, record: StoredRecord, current: Entry | undefined): void {
  let indexedAt = current?.indexedAt;
  if (indexedAt === undefined || !(indexedAt <= record.expiresAt)) {
    if (indexedAt !== undefined) file.expiries.removeSync(indexKey(indexedAt, id));
    indexedAt = record.expiresAt;
    file.expiries.putSync(indexKey(indexedAt, id), INDEX_VALUE);
  }
  file.records.putSync(id, encodeEntry({ record, indexedAt }));
}

function removeEntry(file: LmdbFile, id: Buffer, entry: Entry | undefined): void {
  if (entry === undefined) return;
  file.records.removeSync(id);
  file.expiries.removeSync(indexKey(entry.indexedAt, id));
}

/** Times before 1970 count as 1970: the index orders unsigned numbers. */
function indexKey(time: number, id: Buffer = NO_BYTES): Buffer {
  const key = Buffer.allocUnsafe(INDEX_TIME_BYTES + id.length);
  key.writeBigUInt64BE(BigInt(Math.max(0, Math.floor(Number.isFinite(time) ? time : 0))));
  id.copy(key, INDEX_TIME_BYTES);
  return key;
}

function encodeEntry({ record, indexedAt }: Entry): string {
  return `${indexedAt} ${encodeRecord(record)}`;
}

function decodeEntry(text: string): Entry {
  const end = text.indexOf(" ");
  return { indexedAt: Number(text.slice(0, Math.max(0, end))), record: decodeRecord(text.slice(end + 1)) };
}
