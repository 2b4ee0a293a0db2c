import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeConformance } from "../../lib/conformance.js";
import { LmdbFile } from "../../lib/file/lmdb-file.js";
import { FileStore } from "../../lib/file/store.js";

describe("the file store", () => {
  const folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  storeConformance({
    describe,
    it,
    createStore: options => new FileStore({ path: join(folder, "sessions.lmdb"), ...options }),
    capabilities: { users: true },
    putRaw: async (store, key, text) => {
      const file = await LmdbFile.open(store.path);
      await file.put(key, text, file.get(key)?.version ?? null);
      await file.release();
    },
  });
});
