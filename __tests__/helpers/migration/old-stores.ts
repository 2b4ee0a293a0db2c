import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeleteTableCommand, type DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { createClient, type RedisClientType } from "@redis/client";
import MongoStore from "connect-mongo";
import { RedisStore } from "connect-redis";
import session, { type Store } from "express-session";
import { Pool, type PoolConfig } from "pg";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import {
  readConnectDynamoDB,
  readConnectMongo,
  readConnectPgSimple,
  readConnectRedis,
  readDynamoDBStore,
  readMemoryStore,
  readMemorystore,
  readSessionFileStore,
  type SessionReader,
} from "../../../lib/migrate.js";
import { dynaliteClient } from "../engines/engines.js";
import { FakeMongoClient } from "./fake-mongo.js";

/** A session store of another package, which several migrating stores read and write. */
export interface OldStoreKind {
  readonly name: string;
  /** Whether a touch leaves the saved session unchanged, with the cookie of the last save. */
  readonly touchesExpiryAlone: boolean;
  /** The lifetime in seconds of a session without `maxAge`. `undefined` if it never ends. */
  readonly defaultTtl: number | undefined;
  open(): Promise<OpenOldStore>;
}

export interface OpenOldStore {
  readonly store: Store;
  readonly reader: SessionReader;
  /** Stores a value that is not a session under a sid. */
  corrupt(sid: string): unknown;
  /** Stores data of another program beside the sessions, in a backend to which other programs have access. */
  addForeign?(): Promise<unknown>;
  close(): Promise<void>;
}

/** Returns all items of a reader. */
export async function collect<T>(reader: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of reader) items.push(item);
  return items;
}

type StoreClass = new (options: object, callback?: (error: unknown) => void) => Store;

const memorystore = require("memorystore")(session) as StoreClass;
const fileStore = require("session-file-store")(session) as StoreClass;
const connectDynamoDB = require("connect-dynamodb")(session) as StoreClass;
const connectPgSimple = require("connect-pg-simple")(session) as StoreClass;

const NOT_JSON = '{"user":"ann"';
const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
const inAnHour = () => Math.floor(Date.now() / 1000) + HOUR_S;

/** A table with a string as its key, as both stores of DynamoDB create it. */
async function openTable(hashKey: string) {
  const client = dynaliteClient();
  const tableName = `old-${randomUUID()}`;
  const creator = new DynamoDBStore({ client, tableName, attributes: { id: hashKey } });
  await creator.createTable();
  const put = (Item: NonNullable<PutItemCommand["input"]["Item"]>) =>
    client.send(new PutItemCommand({ TableName: tableName, Item }));
  const close = async () => {
    await client.send(new DeleteTableCommand({ TableName: tableName }));
    client.destroy();
  };
  return { client, tableName, put, close };
}

export async function openConnectDynamoDB(): Promise<
  OpenOldStore & { client: DynamoDBClient; tableName: string }
> {
  const { client, tableName, put, close } = await openTable("id");
  const store = new connectDynamoDB({ client, table: tableName });
  return {
    client,
    tableName,
    store,
    reader: readConnectDynamoDB({ client, table: tableName }),
    corrupt: sid => put({ id: { S: `sess:${sid}` }, expires: { N: `${inAnHour()}` }, sess: { S: NOT_JSON } }),
    async addForeign() {
      await put({ id: { S: "cart:1" }, sess: { S: "{}" } });
      // A touch of connect-dynamodb leaves this item behind if the session was destroyed.
      await put({ id: { S: "sess:touched" }, expires: { N: `${inAnHour()}` } });
    },
    close,
  };
}

/** A store of dynamodb-store, which creates its own table. */
export function createDynamoDBStore(
  tableName: string,
  endpoint = process.env.DYNALITE_ENDPOINT,
): Promise<Store> {
  // Suppresses a message of the AWS SDK v2, which says at its first use that it is no longer maintained.
  process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
  // The SDK loads `domain`. After that, no test in this process could look for uncaught exceptions.
  jest.doMock("domain", () => ({ Domain: class {} }));
  const dynamodbStore = require("dynamodb-store") as StoreClass;
  const dynamoConfig = {
    endpoint,
    region: "us-east-1",
    accessKeyId: "local",
    secretAccessKey: "local",
  };
  return new Promise((resolve, reject) => {
    const options = { dynamoConfig, table: { name: tableName }, touchInterval: 0 };
    const store: Store = new dynamodbStore(options, error => (error ? reject(error) : resolve(store)));
  });
}

export async function openDynamoDBStore(): Promise<
  OpenOldStore & { client: DynamoDBClient; tableName: string }
> {
  const { client, tableName, put, close } = await openTable("sessionId");
  const store = await createDynamoDBStore(tableName);
  return {
    client,
    tableName,
    store,
    reader: readDynamoDBStore({ client, table: { name: tableName } }),
    corrupt: sid =>
      put({ sessionId: { S: `sess:${sid}` }, expires: { N: `${inAnHour()}` }, sess: { S: "ann" } }),
    addForeign: () => put({ sessionId: { S: "cart:1" }, expires: { N: `${inAnHour()}` }, sess: { M: {} } }),
    close,
  };
}

/** Opens the store in a separate schema, because the names of its index and its constraint are always the same. */
export async function openConnectPgSimple(config: PoolConfig = {}): Promise<OpenOldStore> {
  const pool = new Pool({ connectionString: process.env.POSTGRES_URL, ...config });
  const schemaName = `old "${randomUUID()}`;
  const schema = `"${schemaName.replace('"', '""')}"`;
  await pool.query(`CREATE SCHEMA ${schema}`);
  await pool.query(
    `CREATE TABLE ${schema}.session (sid varchar PRIMARY KEY, sess text NOT NULL, expire timestamp(6) NOT NULL)`,
  );
  const store = new connectPgSimple({ pool, schemaName, pruneSessionInterval: false });
  return {
    store,
    reader: readConnectPgSimple({ pool, schemaName }),
    corrupt: sid =>
      pool.query(`INSERT INTO ${schema}.session VALUES ($1, $2, now() + interval '1 hour')`, [sid, NOT_JSON]),
    async close() {
      await pool.query(`DROP SCHEMA ${schema} CASCADE`);
      await pool.end();
    },
  };
}

export const oldStores: readonly OldStoreKind[] = [
  {
    name: "express-session's MemoryStore",
    touchesExpiryAlone: false,
    defaultTtl: undefined,
    async open() {
      const store = new session.MemoryStore();
      const { sessions } = store as unknown as { sessions: Record<string, string> };
      return {
        store,
        reader: readMemoryStore({ store }),
        corrupt(sid) {
          sessions[sid] = NOT_JSON;
        },
        close: async () => {},
      };
    },
  },
  {
    name: "memorystore",
    touchesExpiryAlone: false,
    defaultTtl: DAY_S,
    async open() {
      const store = new memorystore({});
      const { store: cache } = store as unknown as {
        store: { set(sid: string, text: string, maxAge: number): void };
      };
      return {
        store,
        reader: readMemorystore({ store }),
        corrupt: sid => cache.set(sid, NOT_JSON, HOUR_S * 1000),
        close: async () => {},
      };
    },
  },
  {
    name: "session-file-store",
    touchesExpiryAlone: false,
    defaultTtl: HOUR_S,
    async open() {
      const path = await mkdtemp(join(tmpdir(), "express-session-stores-old-"));
      const options = { path, ttl: HOUR_S, reapInterval: -1, retries: 0, logFn() {} };
      return {
        store: new fileStore(options),
        reader: readSessionFileStore({ path, ttl: HOUR_S }),
        corrupt: sid => writeFile(join(path, `${sid}.json`), NOT_JSON),
        // write-file-atomic keeps such a file while it writes.
        addForeign: () => writeFile(join(path, "sid.json.1234567"), "{}"),
        close: () => rm(path, { recursive: true }),
      };
    },
  },
  {
    name: "connect-redis",
    touchesExpiryAlone: true,
    defaultTtl: DAY_S,
    async open() {
      const client = createClient({ url: process.env.REDIS_URL ?? "" }) as RedisClientType;
      await client.connect();
      // Redis would interpret these characters as a pattern.
      const prefix = `old-[${randomUUID()}]*:`;
      const store = new RedisStore({ client: client as never, prefix });
      return {
        store: store as unknown as Store,
        reader: readConnectRedis({ client, prefix }),
        corrupt: sid => client.set(`${prefix}${sid}`, NOT_JSON, { EX: HOUR_S }),
        async addForeign() {
          await client.set(`other:${prefix}`, "{}", { EX: HOUR_S });
          await client.set(prefix.replace("*", "any"), "{}", { EX: HOUR_S });
          await client.rPush(`${prefix}list`, "no string");
          await client.expire(`${prefix}list`, HOUR_S);
        },
        close: async () => client.destroy(),
      };
    },
  },
  { name: "connect-dynamodb", touchesExpiryAlone: true, defaultTtl: DAY_S, open: openConnectDynamoDB },
  { name: "dynamodb-store", touchesExpiryAlone: true, defaultTtl: DAY_S, open: openDynamoDBStore },
  {
    name: "connect-pg-simple",
    touchesExpiryAlone: true,
    defaultTtl: DAY_S,
    open: () => openConnectPgSimple(),
  },
  ...[true, false].map(stringify => ({
    name: `connect-mongo with stringify: ${stringify}, on what is not MongoDB`,
    touchesExpiryAlone: true,
    defaultTtl: 14 * DAY_S,
    async open() {
      const client = new FakeMongoClient();
      const store = MongoStore.create({ client: client as never, stringify });
      return {
        store: store as unknown as Store,
        reader: readConnectMongo({ client }),
        corrupt: (sid: string) =>
          client.db().collection("sessions").insertOne({ _id: sid, session: NOT_JSON }),
        addForeign: () => client.db().collection("sessions").insertOne({ _id: 1, session: "{}" }),
        close: () => store.close(),
      };
    },
  })),
];
