import { randomBytes, randomUUID } from "node:crypto";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { ITxnRequest } from "etcd3";
import { Clock } from "../../lib/conformance/clock.js";
import { load, plain, requestSession, type TestSession } from "../../lib/conformance/sessions.js";
import { devicesOf, userOf } from "../../lib/conformance/user-sessions.js";
import { DynamoDBStore } from "../../lib/dynamodb/store.js";
import { EtcdStore } from "../../lib/etcd/store.js";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import { dynamodbClient, etcdClient } from "../helpers/engines/engines.js";
import { figure } from "../helpers/measures/figures.js";
import { type Request, type Traffic, trafficOfDynamoDB, trafficOfEtcd } from "../helpers/stores/counting.js";

const TTL_SECONDS = 14 * 24 * 60 * 60;
const USERS_SESSIONS = [1, 10, 100];
const BYTES = 500;

interface Engine {
  readonly name: string;
  open(options: StoreOptions): AbstractStore;
  readonly traffic: Traffic;
  /** Measures the costs of requests: DynamoDB's capacity units, etcd's operations. */
  costOf(work: () => unknown): Promise<{ requests: string[]; reads: number; writes: number }>;
  close(): void;
}

/** Capacity units of a table. */
interface Capacity {
  CapacityUnits?: number;
}

async function openDynamoDB(): Promise<Engine> {
  const client: DynamoDBClient = dynamodbClient();
  const traffic = trafficOfDynamoDB(client);
  let reads = 0;
  let writes = 0;
  client.middlewareStack.add(
    (next, { commandName = "" }) =>
      async args => {
        const answer = await next({ ...args, input: { ...args.input, ReturnConsumedCapacity: "TOTAL" } });
        const { ConsumedCapacity } = answer.output as { ConsumedCapacity?: Capacity | Capacity[] };
        for (const { CapacityUnits = 0 } of [ConsumedCapacity ?? []].flat()) {
          if (/Get|Query|Scan/.test(commandName)) reads += CapacityUnits;
          else writes += CapacityUnits;
        }
        return answer;
      },
    { step: "initialize" },
  );
  const tableName = `test-${randomUUID()}`;
  await new DynamoDBStore({ client, tableName }).createTable();
  return {
    name: "DynamoDB Local",
    open: options => new DynamoDBStore({ ...options, client, tableName }),
    traffic,
    async costOf(work) {
      [reads, writes] = [0, 0];
      const requests = await traffic.during(work);
      return { requests, reads, writes };
    },
    close: () => client.destroy(),
  };
}

async function openEtcd(): Promise<Engine> {
  const client = etcdClient();
  const traffic = trafficOfEtcd(client);
  return {
    name: "etcd",
    open: options => new EtcdStore({ ...options, client, cleanupInterval: 0 }),
    traffic,
    async costOf(work) {
      const sent = (await traffic.requestsDuring(work)).filter(({ name }) => name !== "leaseGrant");
      const operations = sent.flatMap(operationsOf);
      const writes = operations.filter(name => name !== "request_range").length;
      return { requests: sent.map(({ name }) => name), reads: operations.length - writes, writes };
    },
    close: () => client.close(),
  };
}

/** The operations of a request, if its conditions hold. */
function operationsOf({ name, input }: Request): string[] {
  if (name === "range") return ["request_range"];
  if (name !== "txn") return [name];
  const { compare = [], success = [], failure = [] } = input as ITxnRequest;
  // A delete is written in the branch in which its condition does not hold.
  const operations = success.length > 0 || compare.length === 0 ? success : failure;
  return operations.flatMap(operation => Object.keys(operation));
}

describe.each([
  ["DynamoDB Local", openDynamoDB],
  ["etcd", openEtcd],
] as const)("the costs of users in %s:", (_name, openEngine) => {
  let engine: Engine;
  let clock: Clock;
  let prefix: string;

  beforeAll(async () => {
    engine = await openEngine();
  });
  afterAll(() => engine.close());
  beforeEach(() => {
    clock = new Clock();
    prefix = `${randomBytes(3).toString("hex")}:`;
  });

  const open = (options: StoreOptions = {}) =>
    engine.open({ prefix, now: clock.now, touchAfter: 60, ttl: TTL_SECONDS, ...options });
  const newSid = () => randomBytes(24).toString("base64url");
  const sessionOf = (user: string | undefined, device: string): TestSession =>
    plain({ user, device, text: "x".repeat(BYTES) });
  const signIn = (store: AbstractStore, sid: string, user: string | undefined) =>
    store.set(sid, requestSession(store, sid, sessionOf(user, sid)));

  it("get, touch and ordinary saves cost the same with and without the option", async () => {
    const costs = [];
    for (const options of [{}, { user: userOf }, { user: userOf, maxSessionsPerUser: { max: 3 } }]) {
      const store = open(options);
      const sid = newSid();
      await signIn(store, sid, "ann");
      const steps: [string, () => Promise<unknown>][] = [];
      const request = await load(store, sid);
      steps.push(["get", () => store.get(sid)]);
      steps.push(["get of nothing", () => store.get("nothing")]);
      steps.push(["save", () => store.set(sid, Object.assign(request, { cart: 1 }))]);
      clock.advance(3600);
      steps.push(["touch", () => store.touch(sid, request)]);
      steps.push(["save again", () => store.set(sid, Object.assign(request, { cart: 2 }))]);
      steps.push(["anonymous", () => signIn(store, newSid(), undefined)]);
      steps.push(["sign-out", () => store.destroy(sid)]);
      const cost: Record<string, unknown> = {};
      for (const [name, step] of steps) cost[name] = await engine.costOf(step);
      costs.push(cost);
    }
    expect(costs[1]).toEqual(costs[0]);
    expect(costs[2]).toEqual(costs[0]);
    expect(costs[0]).toMatchObject({ "sign-out": { writes: 1, reads: 0 } });
  });

  it("a sign-in is one request, and so is a change of the user", async () => {
    const store = open({ user: userOf });
    await signIn(store, newSid(), "ann");
    const sid = newSid();
    const transaction = engine.name === "etcd" ? "txn" : "TransactWriteItems";
    expect((await engine.costOf(() => signIn(store, sid, "ann"))).requests).toEqual([transaction]);
    const request = Object.assign(await load(store, sid), { user: "bob" });
    // In DynamoDB, an item of bob's is created whose time is unknown, or there is nothing to compare it with.
    expect((await engine.costOf(() => store.set(sid, request))).requests).toEqual([transaction]);
    const limited = open({ user: userOf, maxSessionsPerUser: { max: 3 } });
    const cost = await engine.costOf(() => signIn(limited, newSid(), "ann"));
    // The entry and the session. A transaction of DynamoDB counts twice, at one unit for each.
    expect(cost.writes).toBe(engine.name === "etcd" ? 2 : 4);
  });

  it("an entry is renewed once per lifetime", async () => {
    const store = open({ user: userOf });
    const sid = newSid();
    await signIn(store, sid, "ann");
    const name = engine.name === "etcd" ? "txn" : "TransactWriteItems";
    let renewals = 0;
    const days = 10 * 14;
    for (let day = 0; day < days; day++) {
      clock.advance(24 * 60 * 60);
      const request = await load(store, sid);
      const sent = await engine.traffic.requestsDuring(() => store.touch(sid, request));
      const isRenewal = (each: Request) =>
        each.name === name &&
        JSON.stringify(each.input).includes(engine.name === "etcd" ? '"lease"' : "#rev");
      const transactions = sent.filter(isRenewal);
      if (engine.name === "etcd") {
        if (transactions.some(({ input }) => (input as ITxnRequest).success?.length === 2)) renewals += 1;
      } else if (transactions.length > 0) renewals += 1;
    }
    expect(renewals).toBeGreaterThanOrEqual(9);
    expect(renewals).toBeLessThanOrEqual(10);
  });

  it.each(USERS_SESSIONS)(
    "are one write for a sign-out and none for a listing, for a user with %d sessions",
    async count => {
      const store = open({ user: userOf });
      const limited = open({ user: userOf, maxSessionsPerUser: { max: 1000 } });
      const sids = Array.from({ length: count }, newSid);
      for (const sid of sids) await signIn(store, sid, "ann");
      const show = async (what: string, work: () => Promise<unknown>) => {
        const { requests, reads, writes } = await engine.costOf(work);
        const names = [...new Set(requests)].map(
          name => `${requests.filter(each => each === name).length} ${name}`,
        );
        figure(`| ${engine.name} | ${count} | ${what} | ${names.join(", ")} | ${reads} | ${writes} |`);
        return { requests, reads, writes };
      };
      const extra = newSid();
      await show("sign-in", () => signIn(store, extra, "ann"));
      const another = newSid();
      await show("sign-in with a limit", () => signIn(limited, another, "ann"));
      expect((await show("findByUser", () => devicesOf(store, "ann"))).writes).toBe(0);
      expect((await show("sign-out", () => store.destroy(extra))).writes).toBe(1);
      await show("findByUser after it", () => devicesOf(store, "ann"));
      expect(await engine.costOf(() => devicesOf(store, "ann"))).toMatchObject({ writes: 0 });
      await show("destroyByUser", () => store.destroyByUser("ann"));
      await show("findByUser of nobody", () => devicesOf(store, "ann"));
    },
  );
});
