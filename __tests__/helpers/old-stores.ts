import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient, type RedisClientType } from "@redis/client";
import { RedisStore } from "connect-redis";
import session, { type Store } from "express-session";

/** A session store of somebody else, which several migrating stores read and write. */
export interface OldStoreKind {
  readonly name: string;
  open(): Promise<{ store: Store; close(): Promise<void> }>;
}

type StoreClass = new (options: object) => Store;

const memorystore = require("memorystore")(session) as StoreClass;
const fileStore = require("session-file-store")(session) as StoreClass;

export const oldStores: readonly OldStoreKind[] = [
  {
    name: "express-session's MemoryStore",
    open: async () => ({ store: new session.MemoryStore(), close: async () => {} }),
  },
  {
    name: "memorystore",
    open: async () => ({ store: new memorystore({}), close: async () => {} }),
  },
  {
    name: "session-file-store",
    async open() {
      const path = await mkdtemp(join(tmpdir(), "express-session-stores-old-"));
      const options = { path, ttl: 3600, reapInterval: -1, retries: 0, logFn() {} };
      return { store: new fileStore(options), close: () => rm(path, { recursive: true }) };
    },
  },
  {
    name: "connect-redis",
    async open() {
      const client = createClient({ url: process.env.REDIS_URL ?? "" }) as RedisClientType;
      await client.connect();
      const store = new RedisStore({ client: client as never, prefix: `old-${Math.random()}:` });
      return { store: store as unknown as Store, close: async () => client.destroy() };
    },
  },
];
