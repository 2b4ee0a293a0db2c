import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateTableCommand,
  DeleteTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
} from "@aws-sdk/client-dynamodb";
import { createClient, type RedisClientType } from "@redis/client";
import { noop } from "cockatiel";
import { Etcd3 } from "etcd3";
import { dynaliteClient, etcdEndpoints } from "../helpers/engines/engines.js";
import { DynamoDBProxy } from "../helpers/faults/dynamodb-proxy.js";
import { EtcdProxy } from "../helpers/faults/etcd-proxy.js";
import type { Fault, FaultProxy, FaultProxyOptions } from "../helpers/faults/fault-proxy.js";
import { injectRandomFaults } from "../helpers/faults/random-faults.js";
import { RedisProxy } from "../helpers/faults/redis-proxy.js";
import { seeded } from "../helpers/random.js";

const ATTEMPT_MS = 300;
const prefix = `faults-${randomUUID()}-`;

/** A raw client behind a proxy. Its writes are unconditional, so that each late write is visible. */
interface Connected {
  proxy: FaultProxy;
  put(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | undefined>;
  close(): Promise<void>;
}

interface Backend {
  name: string;
  open(options?: FaultProxyOptions): Promise<Connected>;
  /** How often the client sends a write that gets no response. */
  attempts: number;
}

const backends: Backend[] = [
  {
    name: "DynamoDBProxy",
    attempts: 3,
    async open(options) {
      const direct = dynaliteClient();
      const TableName = `test-${randomUUID()}`;
      await direct.send(
        new CreateTableCommand({
          TableName,
          KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
          AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
          BillingMode: "PAY_PER_REQUEST",
        }),
      );
      const proxy = new DynamoDBProxy(options);
      const client = new DynamoDBClient({
        endpoint: await proxy.start(process.env.DYNALITE_ENDPOINT ?? ""),
        region: "us-east-1",
        credentials: { accessKeyId: "local", secretAccessKey: "local" },
        maxAttempts: 3,
        requestHandler: { requestTimeout: ATTEMPT_MS, throwOnRequestTimeout: true },
      });
      const tableReady = () => client.send(new GetItemCommand({ TableName, Key: { id: { S: "a" } } }));
      while (!(await tableReady().catch(() => false))) await sleep(50);
      return {
        proxy,
        put: (key, value) =>
          client.send(new PutItemCommand({ TableName, Item: { id: { S: key }, value: { S: value } } })),
        get: async key => {
          const command = new GetItemCommand({
            TableName,
            Key: { id: { S: key } },
            ConsistentRead: true,
          });
          return (await client.send(command)).Item?.value?.S;
        },
        async close() {
          client.destroy();
          await proxy.close();
          await direct.send(new DeleteTableCommand({ TableName }));
          direct.destroy();
        },
      };
    },
  },
  {
    name: "EtcdProxy",
    // etcd3 retries three times after errors that it treats as a fault of the connection.
    attempts: 4,
    async open(options) {
      const proxy = new EtcdProxy(options);
      const hosts = await proxy.start(etcdEndpoints()[0] as string);
      // Otherwise the circuit breaker would reject calls after a few failures.
      const faultHandling = { host: () => noop };
      const client = new Etcd3({
        hosts,
        faultHandling,
        defaultCallOptions: () => ({ deadline: Date.now() + ATTEMPT_MS }),
      });
      return {
        proxy,
        put: async (key, value) => client.put(prefix + key).value(value),
        get: async key => (await client.get(prefix + key).string()) ?? undefined,
        async close() {
          client.close();
          await proxy.close();
        },
      };
    },
  },
  {
    name: "RedisProxy",
    attempts: 1,
    async open(options) {
      const proxy = new RedisProxy(options);
      const url = await proxy.start(process.env.REDIS_URL ?? "");
      const socket = { socketTimeout: ATTEMPT_MS, reconnectStrategy: 10 };
      const client = createClient({ url, socket }) as RedisClientType;
      client.on("error", () => {});
      await client.connect();
      const script = 'return redis.call("SET", KEYS[1], ARGV[1])';
      return {
        proxy,
        put: (key, value) => client.eval(script, { keys: [prefix + key], arguments: [value] }),
        get: async key => (await client.get(prefix + key)) ?? undefined,
        async close() {
          client.destroy();
          await proxy.close();
        },
      };
    },
  },
];

describe.each(backends)("$name", ({ open, attempts }) => {
  const key = "ada";
  let connected: Connected;

  /** Applies `fault` to the next write of `key`, or to all its writes. */
  function inject(fault: Fault, all = false): void {
    let isOver = false;
    connected.proxy.intercept(({ kind, body }) => {
      if (isOver || kind !== "write" || !body.includes(key)) return "forward";
      isOver = !all;
      return fault;
    });
  }

  beforeEach(async () => {
    connected = await open();
    await connected.put(key, "before");
  });
  afterEach(() => connected.close());

  it("forwards all calls without a policy", async () => {
    expect(await connected.get(key)).toBe("before");
    expect(await connected.get("nobody")).toBeUndefined();
  });

  it("hold keeps a write back until it is released", async () => {
    inject("hold", true);
    await expect(connected.put(key, "late")).rejects.toThrow();
    expect(await connected.get(key)).toBe("before");
    expect(connected.proxy.held).toHaveLength(attempts);
    expect(connected.proxy.held[0]).toMatchObject({ kind: "write", name: expect.any(String) });
    await connected.proxy.release(1);
    expect(await connected.get(key)).toBe("late");
    await connected.put("others", "are not held");
    expect(connected.proxy.held).toHaveLength(attempts - 1);
  });

  it("drop-response delivers a write whose client gets an error", async () => {
    inject("drop-response", true);
    await expect(connected.put(key, "unconfirmed")).rejects.toThrow();
    expect(await connected.get(key)).toBe("unconfirmed");
    expect(connected.proxy.counts["drop-response"]).toBe(attempts);
  });

  it("drop-response may let the client wait until it times out", async () => {
    await connected.close();
    connected = await open({ lostResponse: "hang" });
    inject("drop-response", true);
    const start = performance.now();
    await expect(connected.put(key, "unconfirmed")).rejects.toThrow();
    expect(performance.now() - start).toBeGreaterThan(ATTEMPT_MS * 0.9);
    expect(await connected.get(key)).toBe("unconfirmed");
  });

  it("repeat delivers a write a second time when it is released", async () => {
    inject("repeat");
    await connected.put(key, "first");
    await connected.put(key, "second");
    expect(await connected.get(key)).toBe("second");
    await connected.proxy.release();
    expect(await connected.get(key)).toBe("first");
  });

  it("delay delivers a write after a later one", async () => {
    inject("delay");
    await Promise.all([connected.put(key, "first"), connected.put(key, "second")]);
    expect(await connected.get(key)).toBe("first");
  });

  it("a delayed write that nothing follows is delivered after some time", async () => {
    inject("delay");
    await connected.put(key, "alone");
    expect(await connected.get(key)).toBe("alone");
  });

  it("random faults leave each key with a value that was written", async () => {
    const random = seeded(7);
    const faults = { "drop-response": 0.05, repeat: 0.2, delay: 0.2, release: 0.1 };
    injectRandomFaults(connected.proxy, random, { ...faults, only: call => call.kind === "write" });
    const keys = Array.from({ length: 100 }, (_, index) => `random-${index % 10}`);
    await Promise.allSettled(keys.map((name, index) => connected.put(name, `${name}:${index}`)));
    connected.proxy.intercept();
    await connected.proxy.release();
    await connected.proxy.drained();
    for (const name of new Set(keys)) expect(await connected.get(name)).toMatch(new RegExp(`^${name}:`));
    for (const fault of ["drop-response", "repeat", "delay"] as const) {
      expect(connected.proxy.counts[fault]).toBeGreaterThan(0);
    }
  });
});

it("EtcdProxy treats a transaction that only reads as a read", async () => {
  const proxy = new EtcdProxy();
  const client = new Etcd3({ hosts: await proxy.start(etcdEndpoints()[0] as string) });
  const kinds: string[] = [];
  proxy.intercept(({ kind, name }) => {
    kinds.push(`${name}: ${kind}`);
    return "forward";
  });
  const get = client.get(`${prefix}ada`);
  await client.if(`${prefix}ada`, "Create", ">", 0).then(get).else(get).commit();
  await client.if(`${prefix}ada`, "Create", ">", 0).then(client.put(prefix).value("")).else(get).commit();
  const lease = client.lease(60, { autoKeepAlive: false });
  await lease.grant();
  await lease.revoke();
  expect(kinds).toEqual(["Txn: read", "Txn: write", "LeaseGrant: write", "LeaseRevoke: write"]);
  client.close();
  await proxy.close();
});
