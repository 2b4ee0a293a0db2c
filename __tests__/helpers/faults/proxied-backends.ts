import { randomUUID } from "node:crypto";
import { DeleteItemCommand, DeleteTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { createClient, type RedisClientType } from "@redis/client";
import { noop } from "cockatiel";
import { Etcd3, type ITxnRequest } from "etcd3";
import { RedisStore } from "../../../examples/custom-store/redis-store.js";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { EtcdStore } from "../../../lib/etcd/store.js";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import { dynaliteClient, dynamodbClient, etcdEndpoints } from "../engines/engines.js";
import { DynamoDBProxy } from "./dynamodb-proxy.js";
import { EtcdProxy } from "./etcd-proxy.js";
import type { FaultProxy, FaultProxyOptions } from "./fault-proxy.js";
import { RedisProxy } from "./redis-proxy.js";

/** The fault of a broken store, which shows that a test can fail. */
export type Flaw =
  /** Destroying a session leaves no tombstone. */
  | "deletes"
  /** A write that expects no record has no condition. */
  | "overwrites";

/** A backend whose stores reach it through proxies, one for each process. */
export interface ProxiedBackend {
  readonly name: string;
  /** Whether the client sends a request again if it gets no response. */
  readonly repeats: boolean;
  open(): Promise<OpenProxiedBackend>;
}

export interface OpenProxiedBackend {
  /** Starts the proxy of one process. */
  link(options?: LinkOptions): Promise<ProxyLink>;
  close(): Promise<void>;
}

interface LinkOptions extends FaultProxyOptions {
  /** How long the client waits for a response before it sends a request again, if the client has such a setting. */
  attemptMs?: number;
}

/** The connection of one process to the backend. */
export interface ProxyLink {
  readonly proxy: FaultProxy;
  connect(): Promise<Connection>;
  close(): Promise<void>;
}

/** A client of one process. */
export interface Connection {
  createStore(options: StoreOptions, flaw?: Flaw): AbstractStore;
  close(): void;
}

const ATTEMPT_MS = 1000;

function dynamodb(name: string, variable: string, connectDirectly: () => DynamoDBClient): ProxiedBackend {
  return {
    name,
    repeats: true,
    async open() {
      const direct = connectDirectly();
      const tableName = `test-${randomUUID()}`;
      const creator = new DynamoDBStore({ client: direct, tableName });
      await creator.createTable();
      await creator.close();
      return {
        async link({ attemptMs = ATTEMPT_MS, ...options } = {}) {
          const proxy = new DynamoDBProxy(options);
          const endpoint = await proxy.start(process.env[variable] ?? "");
          return {
            proxy,
            close: () => proxy.close(),
            async connect() {
              const client = new DynamoDBClient({
                endpoint,
                region: "us-east-1",
                credentials: { accessKeyId: "local", secretAccessKey: "local" },
                maxAttempts: 3,
                requestHandler: { requestTimeout: attemptMs, throwOnRequestTimeout: true },
              });
              return {
                createStore: (options, flaw) => {
                  if (flaw === "overwrites") removeConditions(client);
                  const store = new DynamoDBStore({ ...options, client, tableName });
                  if (flaw === "deletes") {
                    breakRemoval(store, key =>
                      client.send(new DeleteItemCommand({ TableName: tableName, Key: { id: { S: key } } })),
                    );
                  }
                  return store;
                },
                close: () => client.destroy(),
              };
            },
          };
        },
        async close() {
          await direct.send(new DeleteTableCommand({ TableName: tableName }));
          direct.destroy();
        },
      };
    },
  };
}

const etcd: ProxiedBackend = {
  name: "etcd",
  repeats: true,
  open: async () => ({
    async link({ attemptMs: _attemptMs, ...options } = {}) {
      const proxy = new EtcdProxy(options);
      const hosts = await proxy.start(etcdEndpoints()[0] as string);
      return {
        proxy,
        close: () => proxy.close(),
        async connect() {
          // Otherwise etcd3's circuit breaker would reject all calls for five seconds after a few failures.
          const client = new Etcd3({ hosts, faultHandling: { host: () => noop } });
          return {
            createStore: (options, flaw) => {
              if (flaw === "overwrites") removeComparisons(client);
              const store = new EtcdStore({ ...options, client, cleanupInterval: 0 });
              if (flaw === "deletes") breakRemoval(store, key => client.delete().key(key).exec());
              return store;
            },
            close: () => client.close(),
          };
        },
      };
    },
    close: async () => {},
  }),
};

const redis: ProxiedBackend = {
  name: "Redis",
  repeats: false,
  open: async () => ({
    async link({ attemptMs = ATTEMPT_MS, ...options } = {}) {
      const proxy = new RedisProxy(options);
      const url = await proxy.start(process.env.REDIS_URL ?? "");
      return {
        proxy,
        close: () => proxy.close(),
        async connect() {
          const socket = { socketTimeout: attemptMs, reconnectStrategy: 10 };
          const client = createClient({ url, socket }) as RedisClientType;
          client.on("error", () => {});
          await client.connect();
          return {
            createStore: (options, flaw) => {
              if (flaw === "overwrites") removeChecks(client);
              const store = new RedisStore({ ...options, client });
              if (flaw === "deletes") breakRemoval(store, key => client.del(key));
              return store;
            },
            close: () => client.destroy(),
          };
        },
      };
    },
    close: async () => {},
  }),
};

export const proxiedBackends: readonly ProxiedBackend[] = [
  dynamodb("dynalite", "DYNALITE_ENDPOINT", dynaliteClient),
  dynamodb("DynamoDB Local", "DYNAMODB_ENDPOINT", dynamodbClient),
  etcd,
  redis,
];

function breakRemoval(store: AbstractStore, remove: (key: string) => PromiseLike<unknown>): void {
  Object.assign(store, { _remove: async (key: string) => void (await remove(key)) });
}

function removeConditions(client: DynamoDBClient): void {
  client.middlewareStack.add(
    next => args => {
      const { ConditionExpression, ExpressionAttributeNames, ...rest } = args.input as Record<
        string,
        unknown
      >;
      const input = ConditionExpression === "attribute_not_exists(#id)" ? rest : args.input;
      return next({ ...args, input: input as typeof args.input });
    },
    { step: "initialize" },
  );
}

function removeComparisons({ kv }: Etcd3): void {
  const txn = kv.txn.bind(kv);
  const remove = ({ compare = [], success = [], ...rest }: ITxnRequest): ITxnRequest => ({
    ...rest,
    compare: compare.filter(({ mod_revision }) => mod_revision !== "0"),
    success: success.map(step => (step.request_txn ? { request_txn: remove(step.request_txn) } : step)),
  });
  kv.txn = (request, options) => txn(remove(request), options);
}

function removeChecks(client: RedisClientType): void {
  const run = client.eval.bind(client);
  const put = 'redis.call("DEL"';
  Object.assign(client, {
    eval: (script: string, options: { keys: string[]; arguments: string[] }) =>
      run(options.arguments[1] === "" ? script.slice(script.indexOf(put)) : script, options),
  });
}
