import { lstatSync, mkdirSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type {
  DatabaseOptions,
  Database as LmdbDatabase,
  RootDatabase,
  RootDatabaseOptionsWithPath,
} from "lmdb";
import { StoreError } from "../errors.js";
import { UnderWay } from "../support/in-flight.js";
import { requirePeer } from "../support/optional-peer.js";
import { assertLmdbOrNew } from "./integrity-check.js";

const lmdb = requirePeer<typeof import("lmdb")>("lmdb", "file", () => require("lmdb"));

const OWNER_ONLY_FOLDER = 0o700;
const OWNER_ONLY_FILE = 0o600;

/** A reminder is all in its key. */
const REMINDER = "r";

/** Keys are in the order of their bytes in UTF-8. */
const utf8Keys = {
  writeKey(key: string, target: Uint8Array, start: number): number {
    for (let index = 0; index < key.length; index++) {
      const code = key.charCodeAt(index);
      if (code > 127) {
        const bytes = Buffer.from(key);
        target.set(bytes, start);
        return start + bytes.length;
      }
      target[start + index] = code;
    }
    return start + key.length;
  },
  readKey(source: Uint8Array, start: number, end: number): string {
    return Buffer.from(source.subarray(start, end)).toString();
  },
};

/** Opened environments by path: LMDB must not open a file twice in one process (its locks would be lost). */
const opened = new Map<string, LmdbFile>();

/** Writes that are done in one step, or not at all. */
export interface Writes {
  put(key: string, text: string, revision: number, reminder: string): void;
  remove(key: string): void;
  removeReminder(reminder: string): void;
}

/** One LMDB environment with the two tables of the file store, shared by all stores of this process on its path. */
export class LmdbFile {
  readonly #path: string;
  readonly #environment: RootDatabase;
  /** Key to record. */
  readonly #records: LmdbDatabase<string, string>;
  /** Expiry, then key: what the clean-up has to look at, in order. */
  readonly #reminders: LmdbDatabase<string, string>;
  readonly #writes = new UnderWay();
  #users = 0;
  #closed = false;
  /** The time, in whole milliseconds, at which reads were made to see what others have committed. */
  #refreshed = 0;
  readonly #turnEnded = () => {
    this.#refreshed = 0;
  };

  private constructor(path: string) {
    this.#path = path;
    this.#environment = lmdb.open({
      path,
      noSubdir: true,
      maxDbs: 2,
      // A commit is acknowledged when it is synced, not when other transactions can see it.
      overlappingSync: false,
      // Its batches have promises of their own, which nobody can catch when a commit fails.
      eventTurnBatching: false,
      permissionsMode: OWNER_ONLY_FILE,
    } as RootDatabaseOptionsWithPath);
    // Its types know `keyEncoder` for the environment alone.
    const strings = { keyEncoder: utf8Keys, encoding: "string" } as DatabaseOptions;
    this.#records = this.#environment.openDB("records", { ...strings, useVersions: true });
    this.#reminders = this.#environment.openDB("reminders", strings);
  }

  /** Opens the file, or shares it if this process has it open. Every call needs a {@link release}. */
  static open(path: string): LmdbFile {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: OWNER_ONLY_FOLDER });
      const realPath = realPathOf(path);
      let file = opened.get(realPath);
      if (file === undefined) {
        assertLmdbOrNew(realPath);
        file = new LmdbFile(realPath);
        opened.set(realPath, file);
      }
      file.#users += 1;
      return file;
    } catch (error) {
      throw new StoreError(
        "ERR_STORE_UNAVAILABLE",
        `The session file "${path}" could not be opened: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }

  get(key: string): string | undefined {
    this.#refresh();
    return this.#records.get(key);
  }

  /** The records from `start` on, in the order of their keys. */
  records(start: string): Iterable<{ key: string; value: string }> {
    this.#refresh();
    return this.#records.getRange({ start });
  }

  /** The first reminders between two keys. */
  reminders(start: string, end: string, limit: number): string[] {
    this.#refresh();
    return [...this.#reminders.getKeys({ start, end, limit })];
  }

  /**
   * Writes a record: over anything, or only over one with the revision `expected`, or only if there is none if that
   * is `null`. A reminder that is given is there first. Resolves when all is synced to disk, with whether the record
   * was written.
   *
   * @param revision - a number for this write alone: what later writes expect
   */
  put(
    key: string,
    text: string,
    revision: number,
    expected?: number | null,
    reminder?: string,
  ): Promise<boolean> {
    this.#assertOpen();
    // Writes are done in the order of the calls, so who waits for the last one has waited for all.
    if (reminder !== undefined) this.#synced(this.#reminders.put(reminder, REMINDER)).catch(noop);
    return this.#synced(this.#records.put(key, text, revision, expected as number));
  }

  /** Removes a record and its reminder. Resolves when that is synced to disk. */
  async remove(key: string, reminder?: string): Promise<void> {
    this.#assertOpen();
    if (reminder !== undefined) this.removeReminder(reminder).catch(noop);
    await this.#synced(this.#records.remove(key));
  }

  async removeReminder(reminder: string): Promise<void> {
    this.#assertOpen();
    await this.#synced(this.#reminders.remove(reminder));
  }

  /**
   * Does several writes in one transaction, if a record has the revision `expected` in it. Resolves when all is synced
   * to disk, with whether it had. LMDB's own thread looks at the revision: a transaction with a callback would keep
   * everybody else from writing for as long as this process is busy with something else.
   */
  ifRevision(key: string, expected: number, work: (writes: Writes) => void): Promise<boolean> {
    this.#assertOpen();
    const queue = (write: Promise<unknown>) => {
      this.#synced(write).catch(noop);
    };
    const writes: Writes = {
      put: (at, text, revision, reminder) => {
        queue(this.#reminders.put(reminder, REMINDER));
        queue(this.#records.put(at, text, revision));
      },
      remove: at => queue(this.#records.remove(at)),
      removeReminder: reminder => queue(this.#reminders.remove(reminder)),
    };
    return this.#synced(this.#records.ifVersion(key, expected, () => work(writes)));
  }

  /**
   * Lets reads see what other processes have committed. Once for each turn of the event loop: what they do meanwhile
   * nobody here can know of. Unless the turn is one that waits for others without ending: so by the clock as well.
   */
  #refresh(): void {
    this.#assertOpen();
    const now = Date.now();
    if (this.#refreshed === now) return;
    this.#environment.resetReadTxn();
    if (this.#refreshed === 0) process.nextTick(this.#turnEnded);
    this.#refreshed = now;
  }

  /** What is still under way when its store is closed must not reach a closed environment: that ends the process. */
  #assertOpen(): void {
    if (this.#closed) throw new Error("The session file was closed");
  }

  #synced<T>(write: Promise<T>): Promise<T> {
    return this.#writes.track(write.catch(failedCommit));
  }

  /** Closes the file when the last store that opened it has released it, after the transactions under way. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#closed = true;
    opened.delete(this.#path);
    await this.#writes.end();
    await this.#environment.close();
  }
}

function noop(): void {}

/**
 * The path without links: LMDB's lock file stands beside it, and whoever opens the same file has to find the same
 * lock. Of a file that is missing it is where that will be, also if the path is a link to it.
 */
function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const place = join(realpathSync(dirname(path)), basename(path));
  const isLink = lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink();
  return isLink ? realPathOf(resolve(dirname(place), readlinkSync(place))) : place;
}

/** What failed is in a promise of its own, which would be an unhandled rejection. */
async function failedCommit(error: Error & { commitError?: Promise<never> }): Promise<never> {
  await error.commitError;
  throw error;
}
