import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PutItemCommand } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { createClient, createCluster, type RedisClientType } from "@redis/client";
import MongoStore, { createKrupteinAdapter } from "connect-mongo";
import { RedisStore } from "connect-redis";
import session, { type SessionData, type Store } from "express-session";
import { Redis } from "ioredis";
import { MongoClient } from "mongodb";
import { Client } from "pg";
import { MemoryStore } from "../../lib/memory.js";
import {
  readAll,
  readConnectDynamoDB,
  readConnectMongo,
  readConnectPgSimple,
  readConnectRedis,
  readDynamoDBStore,
  readMemoryStore,
  readMemorystore,
  readSessionFileStore,
  type SessionReader,
  type SourceSession,
} from "../../lib/migrate.js";
import { settled } from "../helpers/apps/app.js";
import { FakeMongoClient } from "../helpers/migration/fake-mongo.js";
import {
  collect,
  openConnectDynamoDB,
  openConnectPgSimple,
  openDynamoDBStore,
} from "../helpers/migration/old-stores.js";

const TEN_MINUTES = 600_000;

function sessionWith(fields: object, maxAge = TEN_MINUTES): SessionData {
  const cookie = new session.Cookie();
  cookie.maxAge = maxAge;
  return { cookie, ...fields } as SessionData;
}

const save = (store: Store, sid: string, fields: object) =>
  settled(done => store.set(sid, sessionWith(fields), done));

/** The fields that the application has set, by sid. */
async function fieldsOf(reader: SessionReader): Promise<Record<string, object>> {
  const items = (await collect(reader)) as SourceSession[];
  const entries = items.map(item => {
    const {
      cookie: _cookie,
      __lastAccess: _time,
      ...fields
    } = item.session as SessionData & Record<string, unknown>;
    return [item.sid, fields];
  });
  return Object.fromEntries(entries);
}

const opened: { close(): unknown }[] = [];
function closing<T>(value: T, close: (value: T) => unknown): T {
  opened.push({ close: () => close(value) });
  return value;
}
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

describe("readConnectRedis", () => {
  async function redis(): Promise<RedisClientType> {
    const client = createClient({ url: process.env.REDIS_URL ?? "" }) as RedisClientType;
    await client.connect();
    return closing(client, each => each.destroy());
  }
  const ioredis = (options = {}) =>
    closing(new Redis(process.env.REDIS_URL ?? "", options), each => each.disconnect());

  it("reads with a client of ioredis", async () => {
    const prefix = `${randomUUID()}:`;
    const store = new RedisStore({ client: (await redis()) as never, prefix }) as unknown as Store;
    await save(store, "a", { user: "ann" });
    expect(await fieldsOf(readConnectRedis({ client: ioredis(), prefix, scanCount: 5 }))).toEqual({
      a: { user: "ann" },
    });
  });

  it("takes a session without a TTL as used now", async () => {
    const prefix = `${randomUUID()}:`;
    const client = await redis();
    const store = new RedisStore({ client: client as never, prefix, disableTTL: true }) as unknown as Store;
    await save(store, "a", { user: "ann" });
    await settled(done => store.set("b", { cookie: new session.Cookie() } as SessionData, done));
    const long = JSON.stringify({ cookie: { originalMaxAge: TEN_MINUTES, expires: new Date(0) } });
    await client.set(`${prefix}old`, long);
    const found = new Map(
      (await collect(readConnectRedis({ client, prefix }))).map(item => [item.sid, item]),
    );
    expect([...found.keys()].sort()).toEqual(["a", "b", "old"]);
    for (const sid of ["a", "old"]) {
      const { expiresAt } = found.get(sid) as SourceSession;
      expect(Math.abs((expiresAt ?? 0) - Date.now() - TEN_MINUTES)).toBeLessThan(1000);
    }
    expect((found.get("b") as SourceSession).expiresAt).toBeUndefined();
  });

  it("parses with the serializer of the store, which may be asynchronous", async () => {
    const prefix = `${randomUUID()}:`;
    const client = await redis();
    await client.set(`${prefix}a`, Buffer.from('{"user":"ann"}').toString("base64"));
    const serializer = { parse: async (text: string) => JSON.parse(Buffer.from(text, "base64").toString()) };
    expect(await fieldsOf(readConnectRedis({ client, prefix, serializer }))).toEqual({ a: { user: "ann" } });
  });

  it("refuses clients with which it would miss sessions", async () => {
    const read = (client: unknown) => () => readConnectRedis({ client: client as RedisClientType });
    const expected =
      /Expected `client` to be a client of redis or ioredis, without `keyPrefix` and not of a cl/;
    expect(read(createCluster({ rootNodes: [{ url: process.env.REDIS_URL ?? "" }] }))).toThrow(expected);
    expect(read(ioredis({ keyPrefix: "a:", lazyConnect: true }))).toThrow(expected);
    expect(read({})).toThrow(expected);
  });

  it("passes on the error of a client that is closed", async () => {
    const client = await redis();
    client.destroy();
    opened.length = 0;
    await expect(collect(readConnectRedis({ client }))).rejects.toThrow(/closed/i);
  });
});

describe("readConnectPgSimple", () => {
  it("gives the same expiry whatever the time zones are", async () => {
    const options = "-c TimeZone=Asia/Kathmandu";
    const old = closing(await openConnectPgSimple({ options }), each => each.close());
    await save(old.store, "a", { user: "ann" });
    const [item] = (await collect(old.reader)) as SourceSession[];
    expect(Math.abs((item?.expiresAt ?? 0) - Date.now() - TEN_MINUTES)).toBeLessThan(1500);
  });

  it("reads the table that connect-pg-simple creates, with a Client and the defaults", async () => {
    const client = closing(new Client({ connectionString: process.env.POSTGRES_URL }), each => each.end());
    await client.connect();
    const schema = `old_${randomUUID().replaceAll("-", "")}`;
    await client.query(`CREATE SCHEMA ${schema}`);
    await client.query(`SET search_path TO ${schema}`);
    const connectPgSimple = require("connect-pg-simple")(session);
    const store: Store = new connectPgSimple({
      pool: client,
      createTableIfMissing: true,
      pruneSessionInterval: false,
    });
    await save(store, "a", { user: "ann" });
    expect(await fieldsOf(readConnectPgSimple({ pool: client }))).toEqual({ a: { user: "ann" } });
    await client.query(`DROP SCHEMA ${schema} CASCADE`);
    await expect(collect(readConnectPgSimple({ pool: client }))).rejects.toThrow(/"session" does not exist/);
  });
});

describe("readConnectMongo", () => {
  const crypto = { secret: "squirrel" };

  it("rejects encrypted sessions and says what to do, and reads them with the adapter of connect-mongo", async () => {
    for (const stringify of [true, false]) {
      const client = new FakeMongoClient();
      const store = MongoStore.create({ client: client as never, crypto, stringify }) as unknown as Store;
      await save(store, "a", { user: "ann" });
      await expect(collect(readConnectMongo({ client }))).rejects.toThrow(
        /`cryptoAdapter: createKrupteinAdapter/,
      );
      const cryptoAdapter = createKrupteinAdapter(crypto);
      expect(await fieldsOf(readConnectMongo({ client, cryptoAdapter }))).toEqual({ a: { user: "ann" } });
      const wrong = createKrupteinAdapter({ secret: "other" });
      expect(await collect(readConnectMongo({ client, cryptoAdapter: wrong }))).toEqual([
        { sid: "a", error: expect.objectContaining({ code: "ERR_SESSION_SERIALIZE" }) },
      ]);
    }
  });

  it("reads another database and collection, with the function `unserialize`", async () => {
    const client = new FakeMongoClient();
    const names = { dbName: "shop", collectionName: "visits" };
    const serialize = (data: object) => ({ wrapped: JSON.stringify(data) });
    const unserialize = (stored: unknown) => JSON.parse((stored as { wrapped: string }).wrapped);
    const store = MongoStore.create({ client: client as never, ...names, serialize, unserialize } as never);
    await save(store as unknown as Store, "a", { user: "ann" });
    expect(await fieldsOf(readConnectMongo({ client, ...names, unserialize }))).toEqual({
      a: { user: "ann" },
    });
  });

  it("takes a client of the driver", () => {
    const client = new MongoClient("mongodb://127.0.0.1:1");
    expect(readConnectMongo({ client })).toHaveProperty([Symbol.asyncIterator]);
  });
});

describe("readSessionFileStore", () => {
  const fileStore = require("session-file-store")(session);
  const folder = async () =>
    closing(await mkdtemp(join(tmpdir(), "reader-")), path => rm(path, { recursive: true }));
  const quiet = { reapInterval: -1, retries: 0, logFn() {} };

  it("rejects encrypted files and says what to do", async () => {
    const path = await folder();
    await save(new fileStore({ path, secret: "squirrel", ...quiet }), "a", { user: "ann" });
    await expect(collect(readSessionFileStore({ path }))).rejects.toThrow(/encrypted .*Let MigratingStore/);
  });

  it("reads files with another extension or none, and no folders", async () => {
    for (const fileExtension of [".session", ""]) {
      const path = await folder();
      await save(new fileStore({ path, fileExtension, ...quiet }), "a.b", { user: "ann" });
      await mkdir(join(path, `folder${fileExtension}`));
      expect(await fieldsOf(readSessionFileStore({ path, fileExtension }))).toEqual({
        "a.b": { user: "ann" },
      });
    }
  });

  it("gives a session without a time of access, which does not end", async () => {
    const path = await folder();
    await writeFile(join(path, "a.json"), '{"cookie":{},"user":"ann"}');
    expect(await collect(readSessionFileStore({ path }))).toEqual([
      { sid: "a", session: { cookie: {}, user: "ann" }, expiresAt: undefined },
    ]);
  });

  it("reports a file that cannot be read, without its sid in the message", async () => {
    const path = await folder();
    await symlink("loop.json", join(path, "loop.json"));
    await symlink("nowhere", join(path, "gone.json"));
    const found = (await collect(readSessionFileStore({ path }))) as { sid: string; error: Error }[];
    expect(found).toEqual([{ sid: "loop", error: expect.any(Error) }]);
    expect(found[0]?.error).toMatchObject({ code: "ERR_SESSION_SERIALIZE", cause: { code: "ELOOP" } });
    expect(found[0]?.error.message).not.toContain("loop");
  });

  it("passes on the error of a missing folder", async () => {
    await expect(collect(readSessionFileStore({ path: "/nonexistent" }))).rejects.toThrow(/ENOENT/);
  });
});

describe("readers of DynamoDB", () => {
  it("read with a document client too", async () => {
    const old = closing(await openConnectDynamoDB(), each => each.close());
    await save(old.store, "a", { user: "ann" });
    const client = DynamoDBDocumentClient.from(old.client);
    expect(await fieldsOf(readConnectDynamoDB({ client, table: old.tableName }))).toEqual({
      a: { user: "ann" },
    });
  });

  it("read any value that is in a map of dynamodb-store", async () => {
    const old = closing(await openDynamoDBStore(), each => each.close());
    const { client, tableName } = old;
    const fields = {
      text: "",
      big: 2 ** 60,
      no: null,
      off: false,
      list: [[1], { a: { b: 2 } }],
      bytes: Buffer.from("a"),
    };
    await save(old.store, "a", fields);
    const expires = { N: String(Math.floor(Date.now() / 1000) + 60) };
    const sets = { M: { s: { SS: ["a"] }, n: { NS: ["1"] }, huge: { N: "1e100" } } };
    const Item = { sessionId: { S: "sess:sets" }, expires, sess: sets };
    await client.send(new PutItemCommand({ TableName: tableName, Item }));
    const { a, sets: found } = await fieldsOf(old.reader);
    const { updated: _updated, ...read } = a as Record<string, unknown>;
    expect(read).toEqual({ ...fields, bytes: new Uint8Array(fields.bytes) });
    expect(found).toEqual({ s: ["a"], n: [1], huge: 1e100 });
  });

  it("pass on the error of a missing table", async () => {
    const { client, close } = await openConnectDynamoDB();
    closing(close, each => each());
    await expect(collect(readDynamoDBStore({ client, table: { name: "no-such" } }))).rejects.toMatchObject({
      name: "ResourceNotFoundException",
    });
  });
});

it("readMemorystore gives the expiry of the option `ttl`, and leaves what has ended in the cache", async () => {
  const memorystore = require("memorystore")(session);
  const store = new memorystore({ ttl: 50_000 });
  await save(store, "a", { user: "ann" });
  store.store.set("ended", "{}", 1);
  await new Promise(resolve => setTimeout(resolve, 10));
  const items = (await collect(readMemorystore({ store }))) as SourceSession[];
  expect(items.map(({ sid }) => sid)).toEqual(["a"]);
  expect(Math.abs((items[0]?.expiresAt ?? 0) - Date.now() - 50_000)).toBeLessThan(1000);
  expect(store.store.itemCount).toBe(2);
});

describe("readAll", () => {
  it("reads an object of sessions by their ids", async () => {
    const store = new session.MemoryStore();
    await save(store, "a", { user: "ann" });
    expect(await fieldsOf(readAll(store))).toEqual({ a: { user: "ann" } });
  });

  it("reads an array of sessions with ids, which do not become part of them", async () => {
    const client = createClient({ url: process.env.REDIS_URL ?? "" }) as RedisClientType;
    await client.connect();
    closing(client, each => each.destroy());
    const store = new RedisStore({ client: client as never, prefix: randomUUID() }) as unknown as Store;
    await save(store, "a", { user: "ann" });
    expect(await fieldsOf(readAll(store))).toEqual({ a: { user: "ann" } });
  });

  it("rejects sessions without ids and says why", async () => {
    const store = MongoStore.create({ client: new FakeMongoClient() as never }) as unknown as Store;
    await save(store, "a", { user: "ann" });
    await expect(collect(readAll(store))).rejects.toThrow(
      "The old store's `all` gives sessions without their ids, so that it cannot be told which browser a session belongs to.",
    );
  });

  it("rejects an object that is not a store of another package with `all`", () => {
    const expected = /Expected `store` to be a session store of another package, with a method `all`, got/;
    for (const store of [undefined, {}, new MemoryStore()]) {
      expect(() => readAll(store as Store)).toThrow(expected);
    }
  });
});

it("readers reject wrong options immediately, and say what they expect", () => {
  const client = { send() {} };
  const wrong: [string, () => unknown][] = [
    ["Expected `client` to be a client of redis or ioredis", () => readConnectRedis({} as never)],
    ["Unknown option `ttl`", () => readConnectRedis({ client: { call() {} }, ttl: 1 } as never)],
    ["Expected `scanCount`", () => readConnectRedis({ client: { call() {} }, scanCount: 0 } as never)],
    ["Expected `pool` to be a Pool or a Client of pg", () => readConnectPgSimple({ pool: {} } as never)],
    ["Expected `tableName`", () => readConnectPgSimple({ pool: { query() {} }, tableName: "" } as never)],
    ["Expected `client` to be a MongoClient", () => readConnectMongo({ client: {} } as never)],
    [
      "Unknown option `transformId`",
      () => readConnectMongo({ client: { db() {} }, transformId: 1 } as never),
    ],
    ["Unknown option `secret`", () => readSessionFileStore({ secret: "x" } as never)],
    ["Expected `path`", () => readSessionFileStore({ path: "" })],
    ["Expected `client` to be a DynamoDBClient", () => readConnectDynamoDB({} as never)],
    ["Expected `prefix` to be a string", () => readConnectDynamoDB({ client, prefix: 1 } as never)],
    ["Expected `table` to be an object", () => readDynamoDBStore({ client, table: "x" } as never)],
    [
      "Expected `store` to be a store of memorystore",
      () => readMemorystore({ store: new session.MemoryStore() }),
    ],
    ["Expected `store` to be a MemoryStore", () => readMemoryStore({ store: {} as Store })],
    ["Expected `options` to be", () => readMemoryStore(undefined as never)],
  ];
  for (const [message, read] of wrong) {
    expect(read).toThrow(TypeError);
    expect(read).toThrow(message);
  }
});
