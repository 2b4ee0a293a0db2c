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

export const contenders = {
  ...versionsOf(dist => async (_at, options) => {
    const { MemoryStore } = require(dist("memory.js"));
    const store = new MemoryStore(options);
    return fromStore(store, () => store.close());
  }),
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
