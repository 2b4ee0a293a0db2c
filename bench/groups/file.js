import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const session = require("../../node_modules/express-session");
const lmdb = require("../../node_modules/lmdb");
const { FileStore } = require("../../dist/file.js");

export const counts = { 1: 300, 16: 2000, 64: 4000 };

/** In this folder and not in the system's temporary one, which may be in memory. */
function folder() {
  return mkdtempSync(join(import.meta.dirname, "..", "file-"));
}

export const contenders = {
  ours: async () => {
    const dir = folder();
    const store = new FileStore({ path: join(dir, "sessions.lmdb"), touchAfter: 0 });
    return fromStore(store, async () => {
      await store.close();
      rmSync(dir, { recursive: true });
    });
  },
  "session-file-store": async () => {
    const dir = folder();
    const Store = require("session-file-store")(session);
    const store = new Store({ path: dir, ttl: 1800, reapInterval: -1, logFn() {} });
    return fromStore(store, () => rmSync(dir, { recursive: true }));
  },
  "connect-sqlite3 (WAL)": async () => {
    const dir = folder();
    const Store = require("connect-sqlite3")(session);
    const store = new Store({ db: "sessions.db", dir, concurrentDB: true });
    const close = async () => {
      await new Promise(resolve => store.db.close(resolve));
      rmSync(dir, { recursive: true });
    };
    // A touch moves a column, which `get` does not tell.
    return { ...fromStore(store, close), touchIsRead: false };
  },
  "raw lmdb, durable": async () => {
    const dir = folder();
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
        rmSync(dir, { recursive: true });
      },
    });
  },
};
