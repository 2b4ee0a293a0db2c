import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LmdbFile } from "../../../lib/file/lmdb-file.js";
import { FileStore, type FileStoreOptions } from "../../../lib/file/store.js";

interface SessionFile {
  /** The folder for all tests of the file. */
  folder: string;
  /** A new file for each test, in a folder that does not exist yet. A test may set another path. */
  path: string;
  /** The open stores, which are closed after the test. */
  readonly stores: FileStore[];
  readonly open: (options?: Partial<FileStoreOptions>) => FileStore;
  /** Returns every key of the sweep index. */
  readonly indexKeys: () => Promise<string[]>;
}

export function useSessionFile(): SessionFile {
  const stores: FileStore[] = [];
  const sessionFile: SessionFile = {
    folder: "",
    path: "",
    stores,
    open(options = {}) {
      const store = new FileStore({ path: sessionFile.path, ...options });
      stores.push(store);
      return store;
    },
    async indexKeys() {
      const file = await LmdbFile.open(sessionFile.path);
      const keys = file.indexKeys("9".repeat(16), 1000);
      await file.release();
      return keys;
    },
  };

  beforeAll(() => {
    sessionFile.folder = mkdtempSync(join(tmpdir(), "file-store-"));
  });
  beforeEach(() => {
    sessionFile.path = join(mkdtempSync(join(sessionFile.folder, "test-")), "data", "sessions.lmdb");
  });
  afterEach(async () => {
    await Promise.all(stores.splice(0).map(store => store.close()));
  });
  afterAll(() => rmSync(sessionFile.folder, { recursive: true, force: true }));

  return sessionFile;
}

export const session = (fields: object = {}) => ({ cookie: { originalMaxAge: null }, ...fields });

/** A session that ends `ms` after its last use. */
export function living(ms: number) {
  return { cookie: { originalMaxAge: ms } };
}
