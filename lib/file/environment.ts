import type { DatabaseOptions, Database as LmdbDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { peerError } from "../support/optional-peer.js";
import { assertOneNamespace, failWhereLmdbWaits } from "./pid-namespace.js";

const lmdb = loadLmdb();

const OWNER_ONLY_FILE = 0o600;

/** LMDB's default of 126 is less than the processes of a large machine. A place costs 64 bytes of the lock file. */
const MAX_READERS = 4096;

/** Encodes keys as UTF-8, so that they are in the order of their bytes. */
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

/** The types of lmdb do not know these options. */
const STRINGS = { keyEncoder: utf8Keys, encoding: "string" } as DatabaseOptions;

export type Table = LmdbDatabase<string, string>;

export interface Environment {
  readonly root: Table;
  /** Key to entry. */
  readonly entries: Table;
  /** Keys of the sweep index. */
  readonly index: Table;
  /** Keys of the lists of users, and guards. */
  readonly users: Table;
}

type TableClass = new (name: string | null, options: DatabaseOptions) => Table;

/**
 * Opens LMDB without waiting for its write lock on the main thread: a process that was stopped may hold it. Missing
 * tables are created by LMDB's own thread.
 *
 * @throws Error if a process of another pid namespace has opened the file
 */
export async function openEnvironment(path: string): Promise<Environment> {
  const options = {
    path,
    noSubdir: true,
    maxDbs: 4,
    maxReaders: MAX_READERS,
    // A commit is acknowledged when it is synced, not when other transactions can see it.
    overlappingSync: false,
    // Its batches have promises of their own, which nobody can catch when a commit fails.
    eventTurnBatching: false,
    permissionsMode: OWNER_ONLY_FILE,
  } as RootDatabaseOptionsWithPath;
  const LmdbTable = lmdb.openAsClass(options) as unknown as TableClass;
  try {
    const ExistingTable = tableOpenedByReading(LmdbTable);
    const root = failWhereLmdbWaits(
      () => new ExistingTable(null, { ...options, isRoot: true } as DatabaseOptions),
    );
    const openTables = (TableOfOptions: TableClass) => ({
      entries: new TableOfOptions("records", { ...STRINGS, useVersions: true }),
      index: new TableOfOptions("sweep-index", STRINGS),
      users: new TableOfOptions("users", { ...STRINGS, useVersions: true }),
    });
    let tables: ReturnType<typeof openTables>;
    try {
      tables = openTables(ExistingTable);
    } catch (error) {
      if ((error as Error).message !== "Database not found") throw error;
      // All in one transaction. Processes that created a new file together, a table in each transaction, have lost writes
      // and damaged the file. Why is not known: a commit of lmdb-js that finds nothing to write forgets no free pages, as
      // it should.
      tables = await root.transaction(() => openTables(LmdbTable)).catch(failedCommit);
    }
    await assertOneNamespace(root, path);
    return { root, ...tables };
  } catch (error) {
    // Closes what the class has opened, also if there is no table yet.
    await Object.assign(Object.create(LmdbTable.prototype) as Table, { isRoot: true }).close();
    throw error;
  }
}

/** Rejects with the reason of a failed commit, which is in a promise that would be an unhandled rejection. */
export async function failedCommit(error: Error & { commitError?: Promise<never> }): Promise<never> {
  await error.commitError;
  throw error;
}

/**
 * The constructor of lmdb-js opens a table in a write transaction, also one that is there. This class opens it in the
 * read transaction of the moment, as lmdb-js itself does for read-only files.
 */
function tableOpenedByReading(LmdbTable: TableClass): TableClass {
  return class extends LmdbTable {
    constructor(name: string | null, options: DatabaseOptions) {
      super(name, { ...options, create: false } as DatabaseOptions);
    }

    /** Overrides what the constructor calls. */
    override transactionSync<T>(open: () => T): T {
      this.useReadTransaction().done();
      return open();
    }
  };
}

function loadLmdb(): typeof import("lmdb") {
  try {
    return require("lmdb");
  } catch (error) {
    throw peerError(error, "lmdb", "file");
  }
}
