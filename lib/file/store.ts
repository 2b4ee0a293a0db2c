import { AbstractStore } from "../core/abstract-store.js";
import type { Operation } from "../core/operation.js";
import { rules } from "../core/options.js";
import {
  type ActivityUpdate,
  type Awaitable,
  chain,
  conditionHolds,
  type Found,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  tombstoneOver,
  touchedRecord,
  touchHolds,
  UNREADABLE,
  type UserList,
  type WriteResult,
} from "../core/record.js";
import type { StoreOptions } from "../core/store-options.js";
import { CleanupTimer, DEFAULT_CLEANUP_SECONDS } from "../support/cleanup-timer.js";
import { decodeEntry, MIN_KEY, userKey } from "./entry.js";
import { sweep } from "./expiry-sweep.js";
import { type ListVersion, LmdbFile } from "./lmdb-file.js";
import { EMPTY_PLACE, findRecord, knownPlace, putRecord, type Replacement } from "./stored-records.js";

/** The options of {@link FileStore}. */
export interface FileStoreOptions extends StoreOptions {
  /**
   * The database file, on a local file system. The file and its folder are created if missing, for this user alone.
   * A second file, with `-lock` at the end of its name, is created beside it.
   */
  path: string;
  /** Seconds between sweeps of expired sessions; 0 switches them off. @defaultValue `60` */
  cleanupInterval?: number | undefined;
}

const WRITTEN: WriteResult = { written: true };

/** A page of a listing ends when it has this much. */
const PAGE_RECORDS = 250;
const PAGE_CHARACTERS = 1024 * 1024;

/** For the package's own code. */
export let fileOf: (store: FileStore) => Awaitable<LmdbFile>;

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
  #file: LmdbFile | undefined;
  #opening: Promise<LmdbFile> | undefined;

  static {
    fileOf = store => store.#open();
  }

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: FileStoreOptions) {
    super(options, { path: { ...rules.nonEmptyString, required: true }, cleanupInterval: rules.interval });
    this.path = options.path;
    this.#cleanup = new CleanupTimer(
      options.cleanupInterval ?? DEFAULT_CLEANUP_SECONDS,
      () => this.cleanup(),
      error => this._reportError(error),
    );
  }

  /**
   * Deletes the sessions, of every prefix, that expired at least a minute ago. The cost depends on their number, not
   * on that of all sessions. Several processes may do it at the same time. Returns how many were deleted.
   */
  async cleanup(): Promise<number> {
    this._assertOpen();
    return await this._track(this.#sweep());
  }

  async #sweep(): Promise<number> {
    let deleted = 0;
    await sweep(
      await this.#open(),
      () => this._now(),
      key => {
        this._reportExpired(key);
        deleted += 1;
      },
    );
    return deleted;
  }

  protected override _read(key: string): Awaitable<Found | undefined> {
    return chain(this.#open(), file => findRecord(file, key));
  }

  protected override async _write(
    key: string,
    write: RecordWrite,
    operation: Operation,
  ): Promise<WriteResult> {
    const { condition } = write;
    const file = await this.#open();
    operation.throwIfAbandoned();
    const list = write.entry?.listToken as ListVersion | undefined;
    if (list !== undefined) return await this.#writeIfListUnchanged(file, key, write, list);
    // Mostly nothing came in between, and the entry need not be read.
    const place = knownPlace(condition);
    if (place !== undefined && (await putRecord(file, key, write, place))) return WRITTEN;
    return await this.#replace(key, operation, found =>
      conditionHolds(found, condition) ? write : undefined,
    );
  }

  async #writeIfListUnchanged(
    file: LmdbFile,
    key: string,
    write: RecordWrite,
    list: ListVersion,
  ): Promise<WriteResult> {
    const found = findRecord(file, key);
    if (!conditionHolds(found, write.condition)) return { written: false, current: found };
    const place = found?.token ?? EMPTY_PLACE;
    const isWritten = await file.ifListUnchanged(list, () => putRecord(file, key, write, place));
    if (isWritten) return WRITTEN;
    return { written: false, current: findRecord(file, key), listChanged: isWritten === undefined };
  }

  protected override _touch(key: string, touch: ActivityUpdate, operation: Operation): Promise<WriteResult> {
    const { activeAt, deleteAt } = touch;
    return this.#replace(key, operation, found =>
      touchHolds(found, touch) ? { record: touchedRecord(found.record, activeAt), deleteAt } : undefined,
    );
  }

  protected override async _remove(key: string, removal: Removal, operation: Operation): Promise<void> {
    const { tombstone, id, deleteAt } = removal;
    await this.#replace(key, operation, found => {
      const record = found?.record;
      const isLater = record !== undefined && record !== UNREADABLE && record.version.includes(id);
      return isLater ? undefined : { record: tombstoneOver(found, tombstone), deleteAt };
    });
  }

  /** Writes what `next` makes of what is stored, unless that is nothing. Asks again if it was changed in between. */
  async #replace(
    key: string,
    operation: Operation,
    next: (found: Found | undefined) => Replacement | undefined,
  ): Promise<WriteResult> {
    const file = await this.#open();
    for (;;) {
      operation.throwIfAbandoned();
      const found = findRecord(file, key);
      const replacement = next(found);
      if (replacement === undefined) return { written: false, current: found };
      if (await putRecord(file, key, replacement, found?.token ?? EMPTY_PLACE)) return WRITTEN;
    }
  }

  protected override async _listUser(user: string): Promise<UserList> {
    const file = await this.#open();
    const token = file.listVersion(user);
    const start = userKey(user, "");
    const sessions = file.userKeys(userKey(user, this._keyPrefix)).map(listed => {
      const key = listed.slice(start.length);
      return { key, entryId: key, found: findRecord(file, key) };
    });
    return { sessions, token };
  }

  /** There is no garbage: the lists change with the records. */
  protected override _removeEntries(): void {}

  protected override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const file = await this.#open();
    let from: string | undefined = start || MIN_KEY;
    while (from !== undefined) {
      const page: ScannedRecord[] = [];
      let characters = 0;
      let next: string | undefined;
      for (const { key, value } of file.entries(from)) {
        if (!key.startsWith(start)) break;
        if (page.length >= PAGE_RECORDS || characters >= PAGE_CHARACTERS) {
          next = key;
          break;
        }
        const entry = decodeEntry(value);
        page.push({ key, record: entry === UNREADABLE ? UNREADABLE : entry.record });
        characters += value.length;
      }
      yield page;
      from = next;
    }
  }

  protected override async _close(): Promise<void> {
    // A file that is still being checked is released when the check has ended: nobody waits for that.
    if (this.#file === undefined)
      this.#opening?.then(
        file => this.#release(file),
        () => {},
      );
    else await this.#release(this.#file);
  }

  async #release(file: LmdbFile): Promise<void> {
    this.#cleanup.stop();
    await file.release();
  }

  /** The file, opened when first needed, because constructors do no I/O. Synchronous if it is open. */
  #open(): Awaitable<LmdbFile> {
    if (this.#file !== undefined) return this.#file;
    this.#opening ??= LmdbFile.open(this.path).then(
      file => {
        this.#cleanup.start();
        this.#file = file;
        // The promise holds the AsyncLocalStorage context of the first request.
        this.#opening = undefined;
        return file;
      },
      error => {
        // The next operation tries again.
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }
}
