import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { versionsOf } from "../lib/baseline.js";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const session = require("../../node_modules/express-session");

export const limits = ["Map with JSON"];
export const versions = ["express-session", "memorystore", "lru-cache"];

export async function start() {
  return { at: {}, stop() {} };
}

const versioned = more =>
  versionsOf(dist => async (_at, options) => {
    const { MemoryStore } = require(dist("memory.js"));
    const store = new MemoryStore({ ...options, ...more });
    return fromStore(store, () => store.close());
  });

export const contenders = {
  ...versioned(),
  "ours with encryption": versioned({ encryption: { keys: [randomBytes(32)] } }).ours,
  "ours with hashIds": versioned({ hashIds: true }).ours,
  "express-session MemoryStore": async () => fromStore(new session.MemoryStore()),
  memorystore: async () => fromStore(new (require("memorystore")(session))({})),
  "Map with JSON": async () => {
    const map = new Map();
    return fromClient({
      set: (sid, value) => map.set(sid, JSON.stringify(value)),
      get: sid => (map.has(sid) ? JSON.parse(map.get(sid)) : null),
      destroy: sid => map.delete(sid),
    });
  },
};
