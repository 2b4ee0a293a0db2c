import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { StoreError } from "../errors.js";
import { runInBackground } from "../support/background.js";
import { InFlight } from "../support/in-flight.js";
import { MIN_KEY } from "./entry.js";
import { type Environment, failedCommit, openEnvironment, type Table } from "./environment.js";
import { assertLmdbOrNew } from "./integrity-check.js";
import { guardOf } from "./list-guard.js";
import { ReadSnapshot } from "./read-snapshot.js";
import { realPathOf } from "./real-path.js";

const OWNER_ONLY_FOLDER = 0o700;

/** An index entry is all in its key. */
const INDEX_VALUE = "i";

/** A change of the sweep index or of the lists of users that belongs to a write. */
interface KeyMove {
  readonly add: string | undefined;
  readonly remove: string | undefined;
}

/** A number that changes with the list of a user, see {@link LmdbFile.listVersion}. */
export interface ListVersion {
  readonly guard: string;
  readonly version: number | null;
}

/** A stored text. `version` is chosen anew by each write, so that a conditional write can name what it replaces. */
export interface StoredText {
  readonly value: string;
  readonly version: number;
}

/** What lmdb-js returns, whose types do not say it. */
export interface LmdbStatus {
  readonly pageSize: number;
  readonly mapSize: number;
  readonly lastPageNumber: number;
  readonly maxReaders: number;
  readonly lastTxnId: number;
  /** A line for each reader, as LMDB prints them. */
  readonly readerList: string;
}

/** Files of this process by path, also those that are being opened. All stores of a path share one. */
const opened = new Map<string, Promise<LmdbFile>>();

/** One LMDB environment with the tables of the file store, shared by all stores of this process on its path. */
export class LmdbFile {
  readonly #path: string;
  readonly #root: Environment["root"];
  readonly #entries: Table;
  readonly #index: Table;
  readonly #users: Table;
  readonly #snapshot: ReadSnapshot;
  readonly #writes = new InFlight();
  #stores = 0;
  #isClosed = false;

  private constructor(path: string, { root, entries, index, users }: Environment) {
    this.#path = path;
    this.#root = root;
    this.#entries = entries;
    this.#index = index;
    this.#users = users;
    this.#snapshot = new ReadSnapshot(root);
  }

  /** Opens the file, or shares it if this process has opened it. Every call needs a {@link release}. */
  static async open(path: string): Promise<LmdbFile> {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: OWNER_ONLY_FOLDER });
      const realPath = realPathOf(path);
      for (;;) {
        let opening = opened.get(realPath);
        if (opening === undefined) {
          opening = runInBackground(() => LmdbFile.#open(realPath));
          opened.set(realPath, opening);
        }
        const file = await opening;
        // The last user may have released it just now.
        if (file.#isClosed) continue;
        file.#stores += 1;
        return file;
      }
    } catch (error) {
      const { message } = error as Error;
      throw new StoreError(
        "ERR_STORE_UNAVAILABLE",
        `The session file "${path}" could not be opened: ${message}`,
        { cause: error },
      );
    }
  }

  static async #open(path: string): Promise<LmdbFile> {
    try {
      await assertLmdbOrNew(path);
      return new LmdbFile(path, await openEnvironment(path));
    } catch (error) {
      opened.delete(path);
      throw error;
    }
  }

  get(key: string): StoredText | undefined {
    this.#beginRead();
    return this.#entries.getEntry(key) as StoredText | undefined;
  }

  /** The entries from a key on, in the order of their keys, at one moment. Read them without a pause. */
  entries(start: string): Iterable<{ key: string; value: string }> {
    this.#beginRead();
    return this.#entries.getRange({ start });
  }

  /** The first keys of the sweep index that are before `end`. */
  indexKeys(end: string, limit: number): string[] {
    this.#beginRead();
    return [...this.#index.getKeys({ start: MIN_KEY, end, limit })];
  }

  /**
   * Writes a text if the stored one has the version `expected`, or if nothing is stored and `expected` is `null`.
   * Resolves when the write is synced to disk, with whether it took place. LMDB's own thread compares the versions: a
   * transaction with a callback would lock out all other writers while this process is busy with something else.
   */
  put(
    key: string,
    text: string,
    expected: number | null,
    move?: KeyMove,
    userMove?: KeyMove,
  ): Promise<boolean> {
    this.#assertOpen();
    const version = newVersion();
    if (userMove !== undefined || (move !== undefined && expected !== null)) {
      return this.#ifVersion(key, expected, () => {
        this.#move(this.#index, move);
        this.#move(this.#users, userMove);
        this.#queue(this.#entries.put(key, text, version));
      });
    }
    // An index entry without a record does no harm: the sweep removes it.
    this.#move(this.#index, move);
    return this.#synced(this.#entries.put(key, text, version, expected as number));
  }

  /** The keys of the lists of users from `start` on that begin with it, at one moment. */
  userKeys(start: string): string[] {
    this.#beginRead();
    const keys: string[] = [];
    for (const key of this.#users.getKeys({ start })) {
      if (!key.startsWith(start)) break;
      keys.push(key);
    }
    return keys;
  }

  /** Changes with the list of a user, if those who add to it call {@link ifListUnchanged}. Read it before the list. */
  listVersion(user: string): ListVersion {
    this.#beginRead();
    const guard = guardOf(user);
    return { guard, version: this.#users.getEntry(guard)?.version ?? null };
  }

  /** Writes what `write` does if no other process has been here since. Resolves with `undefined` if one has. */
  async ifListUnchanged(
    { guard, version }: ListVersion,
    write: () => Promise<boolean>,
  ): Promise<boolean | undefined> {
    this.#assertOpen();
    let written: Promise<boolean> | undefined;
    const isUnchanged = this.#synced(
      this.#users.ifVersion(guard, version as number, () => {
        this.#queue(this.#users.put(guard, INDEX_VALUE, newVersion()));
        written = write();
      }),
    );
    return (await isUnchanged) ? await written : undefined;
  }

  /** Removes the text and what leads to it if it has the version `expected`. Resolves with whether it had. */
  remove(key: string, expected: number, indexKey: string, userKey?: string): Promise<boolean> {
    this.#assertOpen();
    return this.#ifVersion(key, expected, () => {
      this.#queue(this.#index.remove(indexKey));
      if (userKey !== undefined) this.#queue(this.#users.remove(userKey));
      this.#queue(this.#entries.remove(key));
    });
  }

  async removeIndexKey(indexKey: string): Promise<void> {
    this.#assertOpen();
    await this.#synced(this.#index.remove(indexKey));
  }

  /** Frees the places of readers that were killed. As long as they are taken, no page is used again. */
  clearStaleReaders(): void {
    this.#assertOpen();
    this.#root.readerCheck();
  }

  /** What LMDB says of the file: its pages, and the readers that have a place in its lock file. */
  status(): LmdbStatus {
    this.#beginRead();
    return {
      ...(this.#root.getStats() as Omit<LmdbStatus, "readerList">),
      readerList: this.#root.readerList(),
    };
  }

  /** Closes the file when the last store that opened it has released it, after the writes in flight. */
  async release(): Promise<void> {
    this.#stores -= 1;
    if (this.#stores > 0) return;
    this.#isClosed = true;
    opened.delete(this.#path);
    await this.#writes.drained();
    await this.#root.close();
  }

  #beginRead(): void {
    this.#assertOpen();
    this.#snapshot.begin();
  }

  /** A call that reached a closed environment would end the process. */
  #assertOpen(): void {
    if (this.#isClosed) throw new Error("The session file was closed");
  }

  #ifVersion(key: string, expected: number | null, writes: () => void): Promise<boolean> {
    return this.#synced(this.#entries.ifVersion(key, expected as number, writes));
  }

  #move(table: Table, move: KeyMove | undefined): void {
    if (move?.add !== undefined) this.#queue(table.put(move.add, INDEX_VALUE));
    if (move?.remove !== undefined) this.#queue(table.remove(move.remove));
  }

  /** Writes are done in the order of the calls, so that whoever waits for the last one has waited for all. */
  #queue(write: Promise<unknown>): void {
    this.#synced(write).catch(() => {});
  }

  #synced<T>(write: Promise<T>): Promise<T> {
    const acknowledge = (result: T) => {
      // lmdb-js may settle the write in the tick in which it was queued: later reads of the tick must see it.
      this.#snapshot.expire();
      return result;
    };
    return this.#writes.track(write.then(acknowledge, failedCommit));
  }
}

/** Random, because processes that share the file choose versions without talking to each other. */
function newVersion(): number {
  return Math.ceil(Math.random() * Number.MAX_SAFE_INTEGER);
}
