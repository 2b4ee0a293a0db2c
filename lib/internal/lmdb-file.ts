import { mkdirSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Database as LmdbDatabase, RootDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { StoreError } from "../errors.js";
import { assertLmdbOrNew } from "./lmdb-check.js";
import { requirePeer } from "./peers.js";

const lmdb = requirePeer<typeof import("lmdb")>("lmdb", "file", () => require("lmdb"));

const OWNER_ONLY_FOLDER = 0o700;
const OWNER_ONLY_FILE = 0o600;

/** Opened environments by path: LMDB must not open a file twice in one process (its locks would be lost). */
const opened = new Map<string, LmdbFile>();

/** One LMDB environment with the two tables of the file store, shared by all stores of this process on its path. */
export class LmdbFile {
  /** Key to record. */
  readonly records: LmdbDatabase<string, Buffer>;
  /** Expiry, then key: what the clean-up has to look at, in order. */
  readonly expiries: LmdbDatabase<Buffer, Buffer>;

  readonly #path: string;
  readonly #environment: RootDatabase;
  readonly #pending = new Set<Promise<unknown>>();
  #users = 0;

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
    this.records = this.#environment.openDB("records", { keyEncoding: "binary", encoding: "string" });
    this.expiries = this.#environment.openDB("expiries", { keyEncoding: "binary", encoding: "binary" });
  }

  /** Opens the file, or shares it if this process has it open. Every call needs a {@link release}. */
  static open(path: string): LmdbFile {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: OWNER_ONLY_FOLDER });
      const realPath = join(realpathSync(dirname(path)), basename(path));
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

  /** Lets the next read see what other processes have committed. */
  refresh(): void {
    this.#environment.resetReadTxn();
  }

  /**
   * Runs `work` in a write transaction, which is atomic across processes; resolves when it is synced to disk. What
   * `work` wrote before it throws stays written.
   */
  transaction<T>(work: () => T): Promise<T> {
    const done = this.#environment.transaction(work).catch(failedCommit);
    this.#pending.add(done);
    const settled = () => this.#pending.delete(done);
    done.then(settled, settled);
    return done;
  }

  /** Closes the file when the last store that opened it has released it, after the transactions under way. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    opened.delete(this.#path);
    await Promise.allSettled(this.#pending);
    await this.#environment.close();
  }
}

/** What failed is in a promise of its own, which would be an unhandled rejection. */
async function failedCommit(error: Error & { commitError?: Promise<never> }): Promise<never> {
  await error.commitError;
  throw error;
}
