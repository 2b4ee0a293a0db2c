import { createRequire } from "node:module";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const session = require("../../node_modules/express-session");
const { MemoryStore } = require("../../dist/memory.js");

export const counts = { 1: 20_000, 16: 20_000, 64: 20_000 };

export const contenders = {
  ours: async () => {
    const store = new MemoryStore();
    return fromStore(store, () => store.close());
  },
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
