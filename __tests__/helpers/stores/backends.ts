import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeleteTableCommand, type DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { open as openLmdb } from "lmdb";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { EtcdStore } from "../../../lib/etcd/store.js";
import { FileStore } from "../../../lib/file/store.js";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import { MemoryStore } from "../../../lib/memory.js";
import { dynaliteClient, dynamodbClient, etcdClient } from "../engines/engines.js";
import { type Traffic, trafficOfDynamoDB, trafficOfEtcd } from "./counting.js";

/** A backend for sessions. It is opened once for all tests of a file that use it. */
export interface Backend {
  readonly name: string;
  /** Whether sessions outlive the store that saved them, and other stores on the same backend see them. */
  readonly persistent: boolean;
  /** Whether its stores support the option `user`. @defaultValue `false` */
  readonly hasUsers?: boolean;
  open(): Promise<OpenBackend>;
}

/** A record as version 0.1 stored it. */
interface OldRecord {
  data: string;
  version: string;
  expiresAt: number;
  slack: number;
  createdAt: number;
}

export interface OpenBackend {
  createStore(options: StoreOptions): AbstractStore;
  /** Stores a record in the format of version 0.1. Not in memory, which cannot contain one. */
  putOld?(key: string, record: OldRecord): Promise<unknown>;
  /** Records the client's requests from now on. Only for backends with a client. */
  watch?(): Traffic;
  close(): Promise<void>;
}

/** Encodes a record in the format of version 0.1, for backends with one value for each key. */
function encodeOld({ data, version, expiresAt, slack, createdAt }: OldRecord): string {
  return `${version} ${expiresAt} ${slack} ${createdAt}\n${data}`;
}

export const memory: Backend = {
  name: "memory",
  persistent: false,
  hasUsers: true,
  open: async () => ({ createStore: options => new MemoryStore(options), close: async () => {} }),
};

export const file: Backend = {
  name: "file",
  persistent: true,
  hasUsers: true,
  async open() {
    const folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
    const path = join(folder, "sessions.lmdb");
    return {
      createStore: options => new FileStore({ ...options, path }),
      async putOld(key, record) {
        const environment = openLmdb({ path, noSubdir: true, maxDbs: 4 });
        const strings = { encoding: "string", keyEncoding: "binary" } as const;
        const records = environment.openDB<string, Buffer>("records", { ...strings, useVersions: true });
        const reminders = environment.openDB<string, Buffer>("reminders", strings);
        await records.put(Buffer.from(key), `${record.expiresAt} 7 ${encodeOld(record)}`, 7);
        await reminders.put(Buffer.from(String(record.expiresAt).padStart(16, "0") + key), "");
        await environment.close();
      },
      close: () => rm(folder, { recursive: true }),
    };
  },
};

function dynamodb(name: string, connect: () => DynamoDBClient, hasUsers: boolean): Backend {
  return {
    name,
    persistent: true,
    hasUsers,
    async open() {
      const client = connect();
      const tableName = `test-${randomUUID()}`;
      const creator = new DynamoDBStore({ client, tableName });
      await creator.createTable();
      await creator.close();
      return {
        createStore: options => new DynamoDBStore({ ...options, client, tableName }),
        watch: () => trafficOfDynamoDB(client),
        putOld: (key, { data, version, expiresAt, slack, createdAt }) =>
          client.send(
            new PutItemCommand({
              TableName: tableName,
              Item: {
                id: { S: key },
                data: { S: data },
                expires: { N: `${expiresAt}` },
                ttl: { N: `${Math.ceil(expiresAt / 1000) + 60}` },
                c: { N: `${createdAt}` },
                v: { S: version },
                s: { N: `${slack}` },
              },
            }),
          ),
        async close() {
          await client.send(new DeleteTableCommand({ TableName: tableName }));
          client.destroy();
        },
      };
    },
  };
}

export const etcd: Backend = {
  name: "etcd",
  persistent: true,
  hasUsers: true,
  async open() {
    const client = etcdClient();
    return {
      createStore: options => new EtcdStore({ ...options, client }),
      watch: () => trafficOfEtcd(client),
      putOld: (key, record) => client.put(key).value(encodeOld(record)).exec(),
      close: async () => client.close(),
    };
  },
};

/** It has no transactions, which lists of users require. */
export const dynalite = dynamodb("DynamoDB (dynalite)", dynaliteClient, false);

export const backends: readonly Backend[] = [
  memory,
  file,
  dynalite,
  dynamodb("DynamoDB (DynamoDB Local)", dynamodbClient, true),
  etcd,
];

/**
 * Opens a backend for the tests of the enclosing `describe`. Its stores share a prefix that is unique to each test,
 * followed by `options.prefix`. After the test, they are cleared and closed.
 */
export function useBackend(backend: Backend): (options?: StoreOptions) => AbstractStore {
  const stores: AbstractStore[] = [];
  let opened: OpenBackend;
  let testPrefix: string;

  beforeAll(async () => {
    opened = await backend.open();
  });
  beforeEach(() => {
    testPrefix = `${randomUUID()}:`;
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) {
      await store.clear().catch(ignoreClosed);
      await store.close();
    }
  });
  afterAll(() => opened.close());

  return (options = {}) => {
    const store = opened.createStore({ ...options, prefix: testPrefix + (options.prefix ?? "") });
    stores.push(store);
    return store;
  };
}

function ignoreClosed(error: { code?: unknown }): void {
  if (error.code !== "ERR_STORE_CLOSED") throw error;
}
