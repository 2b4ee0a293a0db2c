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
  type StoredRecord,
  tombstoneOver,
  touchedRecord,
  touchHolds,
  UNREADABLE,
  type UserEntry,
  type UserList,
  type WriteCondition,
  type WriteResult,
} from "../core/record.js";
import type { StoreOptions } from "../core/store-options.js";
import { CleanupTimer, DEFAULT_CLEANUP_SECONDS } from "../support/cleanup-timer.js";
import { decodeEntry, encodeEntry, MIN_KEY, sweepIndexKey, userKey } from "./entry.js";
import { sweep } from "./expiry-sweep.js";
import { type ListVersion, LmdbFile } from "./lmdb-file.js";

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

/** What a write puts in place of what it found. */
interface Replacement {
  readonly record: StoredRecord;
  readonly deleteAt: number;
  /** Written to the list of the user, even if it should be there. */
  readonly entry?: UserEntry | undefined;
}

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
    return chain(this.#open(), file => find(file, key));
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
    if (place !== undefined && (await put(file, key, write, place))) return WRITTEN;
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
    const found = find(file, key);
    if (!conditionHolds(found, write.condition)) return { written: false, current: found };
    const place = found?.token ?? EMPTY_PLACE;
    const isWritten = await file.ifListUnchanged(list, () => put(file, key, write, place));
    if (isWritten) return WRITTEN;
    return { written: false, current: find(file, key), listChanged: isWritten === undefined };
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
      const found = find(file, key);
      const replacement = next(found);
      if (replacement === undefined) return { written: false, current: found };
      if (await put(file, key, replacement, found?.token ?? EMPTY_PLACE)) return WRITTEN;
    }
  }

  protected override async _listUser(user: string): Promise<UserList> {
    const file = await this.#open();
    const token = file.listVersion(user);
    const start = userKey(user, "");
    const sessions = file.userKeys(userKey(user, this._keyPrefix)).map(listed => {
      const key = listed.slice(start.length);
      return { key, entryId: key, found: find(file, key) };
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

/** What a conditional write has to know of what it replaces. */
interface Place {
  /** `null` if nothing is stored. */
  readonly revision: number | null;
  readonly sweepAt?: number;
  readonly record?: Found["record"];
}

const EMPTY_PLACE: Place = { revision: null };

/** The record with its place, so that a condition can be evaluated for the record that the token stands for. */
type Token = Place & Pick<Found, "record">;

function find(file: LmdbFile, key: string): (Found & { readonly token: Token }) | undefined {
  const stored = file.get(key);
  if (stored === undefined) return undefined;
  const { value, version: revision } = stored;
  const entry = decodeEntry(value);
  if (entry === UNREADABLE) return { record: UNREADABLE, token: { record: UNREADABLE, revision } };
  const { record, sweepAt } = entry;
  return { record, token: { record, revision, sweepAt } };
}

/** The place that a condition expects, if it is known without reading. */
function knownPlace(condition: WriteCondition): Place | undefined {
  if (condition.absent) return EMPTY_PLACE;
  const token = condition.token as Token | undefined;
  return conditionHolds(token, condition) ? token : undefined;
}

/** Writes an entry in place of another. Returns whether that was still there. */
function put(
  file: LmdbFile,
  key: string,
  { record, deleteAt, entry }: Replacement,
  { revision, sweepAt, record: replaced }: Place,
): Promise<boolean> {
  const userMove = userMoveOf(key, replaced, record, entry !== undefined);
  // The index may lead the sweep to a record too early, but not too late.
  if (sweepAt !== undefined && sweepAt <= deleteAt) {
    return file.put(key, encodeEntry({ record, deleteAt, sweepAt }), revision, undefined, userMove);
  }
  const outdated = sweepAt === undefined ? undefined : sweepIndexKey(sweepAt, key);
  const move = { add: sweepIndexKey(deleteAt, key), remove: outdated };
  return file.put(key, encodeEntry({ record, deleteAt, sweepAt: deleteAt }), revision, move, userMove);
}

/** How the lists of users change with a record, if they do. */
function userMoveOf(
  key: string,
  replaced: Found["record"] | undefined,
  record: StoredRecord,
  isEntryNew: boolean,
) {
  const from = replaced === undefined || replaced === UNREADABLE ? undefined : replaced.user;
  const to = record.user;
  if (from === to && !isEntryNew) return undefined;
  return {
    add: to === undefined ? undefined : userKey(to, key),
    remove: from === undefined || from === to ? undefined : userKey(from, key),
  };
}
