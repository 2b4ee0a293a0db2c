import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { versionsOf } from "../lib/baseline.js";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const session = require("../../node_modules/express-session");

export const limits = ["raw lmdb, durable"];
export const versions = ["lmdb", "session-file-store", "connect-sqlite3", "sqlite3"];

/** In this folder and not in the system's temporary folder, which may be in memory. */
export async function start() {
  const dir = mkdtempSync(join(import.meta.dirname, "..", "file-"));
  return { at: { dir }, stop: () => rmSync(dir, { recursive: true }) };
}

/** Returns a contender's folder. If `at.kept` is set, it names the folder, so that another process finds it. */
function folder({ dir, kept }, name) {
  if (kept === undefined) return mkdtempSync(join(dir, `${name}-`));
  const path = join(dir, `${name}-${kept}`);
  mkdirSync(path, { recursive: true });
  return path;
}

function removeUnlessKept({ kept }, path) {
  if (kept === undefined) rmSync(path, { recursive: true });
}

export const contenders = {
  ...versionsOf(dist => async (at, options) => {
    const { FileStore } = require(dist("file.js"));
    const dir = folder(at, "ours");
    const store = new FileStore({ path: join(dir, "sessions.lmdb"), ...options });
    return fromStore(store, async () => {
      await store.close();
      removeUnlessKept(at, dir);
    });
  }),
  "session-file-store": async at => {
    const dir = folder(at, "files");
    const Store = require("session-file-store")(session);
    const store = new Store({ path: dir, ttl: 1800, reapInterval: -1, logFn() {} });
    // `clear` and the cleanup call back when the last file of the list is deleted, although others may not be.
    return { ...fromStore(store, () => removeUnlessKept(at, dir)), removesLate: true };
  },
  "connect-sqlite3 (WAL)": async at => {
    const dir = folder(at, "sqlite");
    const Store = require("connect-sqlite3")(session);
    const store = new Store({ db: "sessions.db", dir, concurrentDb: true });
    await new Promise(resolve => store.client.once("connect", resolve));
    const close = async () => {
      await new Promise(resolve => store.db.close(resolve));
      removeUnlessKept(at, dir);
    };
    // A touch changes a column that `get` does not return.
    return { ...fromStore(store, close), touchIsRead: false };
  },
  "raw lmdb, durable": async at => {
    const lmdb = require("../../node_modules/lmdb");
    const dir = folder(at, "raw");
    const db = lmdb.open({
      path: join(dir, "raw.lmdb"),
      noSubdir: true,
      overlappingSync: false,
      encoding: "string",
    });
    return fromClient({
      set: (sid, value) => db.put(sid, JSON.stringify(value)),
      get: sid => {
        const text = db.get(sid);
        return text === undefined ? null : JSON.parse(text);
      },
      destroy: sid => db.remove(sid),
      close: async () => {
        await db.close();
        removeUnlessKept(at, dir);
      },
    });
  },
};
