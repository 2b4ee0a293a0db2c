import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { basename } from "node:path";
import { deflateRawSync } from "node:zlib";
import {
  CreateTableCommand,
  DeleteTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  GetItemCommand,
  ScanCommand,
} from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { Clock } from "../lib/conformance/clock.js";
import { eventsOf, invoke, methodNames } from "../lib/conformance/observe.js";
import { find, load, plain, requestSession, sids, stored } from "../lib/conformance/sessions.js";
import { storeConformance } from "../lib/conformance.js";
import type { AbstractStore } from "../lib/core/abstract-store.js";
import { type DynamoDBAttributes, DynamoDBStore, type DynamoDBStoreOptions } from "../lib/dynamodb/store.js";
import { Browser, createApp } from "./helpers/app.js";
import { type Interference, loseAnswer, type Request, trafficOfDynamoDB } from "./helpers/counting.js";
import { dynaliteClient, dynamodbClient } from "./helpers/engines.js";

const MAX_ITEM_BYTES = 400 * 1024;

/** Whether the tests run on AWS's own engine: dynamodb-local.test.ts is this file once more, side by side with this. */
const isAws = basename(expect.getState().testPath ?? "") === "dynamodb-local.test.ts";

describe(`DynamoDBStore on ${isAws ? "DynamoDB Local" : "dynalite"}`, () => {
  const makeClient = isAws ? dynamodbClient : dynaliteClient;
  const views = isAws ? 100 : 1000;
  /** The client of the stores. */
  const client = makeClient();
  const traffic = trafficOfDynamoDB(client);
  /** The tests' own way to look at what is in DynamoDB. */
  const raw = makeClient();
  const tableName = `dynamodb-test-${randomUUID()}`;
  const tables = [tableName];

  let prefix: string;
  let clock: Clock;
  beforeAll(() => new DynamoDBStore({ client, tableName }).createTable());
  beforeEach(() => {
    prefix = `${randomUUID()}:`;
    clock = new Clock();
  });
  afterEach(() => {
    expect(traffic.forgetAwaited()).toEqual([]);
  });
  afterAll(async () => {
    await Promise.allSettled(tables.map(TableName => raw.send(new DeleteTableCommand({ TableName }))));
    client.destroy();
    raw.destroy();
  });

  function open(options: Partial<DynamoDBStoreOptions> = {}): DynamoDBStore {
    const own = { client, tableName, prefix, now: clock.now, touchAfter: 0, timeoutMs: 20_000 };
    return new DynamoDBStore({ ...own, ...options });
  }

  /** A name for a table, which is deleted in the end. */
  function newTableName(): string {
    const name = `dynamodb-test-${randomUUID()}`;
    tables.push(name);
    return name;
  }

  async function itemOf(sid: string, Key: object = { id: prefix + sid }) {
    const get = new GetCommand({ TableName: tableName, Key, ConsistentRead: true });
    return (await DynamoDBDocumentClient.from(raw).send(get)).Item;
  }

  function saveAll(store: AbstractStore, some: string[], fields = {}): Promise<unknown> {
    return Promise.all(some.map(sid => store.set(sid, plain(fields))));
  }

  const links = new WeakMap<AbstractStore, DynamoDBClient["config"]["requestHandler"]>();
  storeConformance({
    describe,
    it,
    createStore: options => {
      // With a request handler of its own, so that it can be broken without the others.
      const requestHandler = Object.create(client.config.requestHandler);
      const middlewareStack = client.middlewareStack.clone();
      // The SDK's repetitions may come after the test.
      middlewareStack.remove("traffic");
      const config = { ...client.config, requestHandler };
      const link = Object.create(client, {
        config: { value: config },
        middlewareStack: { value: middlewareStack },
      });
      const store = new DynamoDBStore({ timeoutMs: 20_000, ...options, client: link, tableName });
      links.set(store, requestHandler);
      return store;
    },
    capabilities: { maxSessionBytes: MAX_ITEM_BYTES },
    plant: async (_store, key, text) => {
      // DynamoDB Local knows no empty strings.
      const Item = { id: key, data: text || null };
      await DynamoDBDocumentClient.from(raw).send(new PutCommand({ TableName: tableName, Item }));
    },
    breakBackend: store => {
      const down = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
      Object.assign(links.get(store) as object, { handle: () => Promise.reject(down) });
    },
  });

  describe("cost", () => {
    it("is one request for each get, set, touch and destroy", async () => {
      const store = open();
      expect(await traffic.during(() => store.set("sid", plain()))).toEqual(["PutItem"]);
      expect(await traffic.during(() => store.get("sid"))).toEqual(["GetItem"]);
      const session = await load(store, "sid");
      for (const views of [1, 2]) {
        session.views = views;
        expect(await traffic.during(() => store.set("sid", session))).toEqual(["PutItem"]);
        clock.advance(1);
        expect(await traffic.during(() => store.touch("sid", session))).toEqual(["UpdateItem"]);
      }
      expect(await traffic.during(() => store.touch("sid", plain()))).toEqual(["UpdateItem"]);
      expect(await stored(store, "sid")).toEqual({ views: 2 });
      expect(await traffic.during(() => store.destroy("sid"))).toEqual(["DeleteItem"]);
      expect(await traffic.during(() => store.get("sid"))).toEqual(["GetItem"]);
    });

    it.each([
      { touchAfter: 60, atMost: 1, atLeast: 0 },
      { touchAfter: 0, atMost: views, atLeast: views },
    ])(
      `is $atMost writes at most for ${views} page views of one user within a minute with touchAfter $touchAfter`,
      async ({ touchAfter, atMost, atLeast }) => {
        const store = open({ touchAfter });
        await store.set("sid", plain({ user: "ann" }));
        const requests = await traffic.during(async () => {
          for (let view = 0; view < views; view++) {
            clock.advance(60 / views);
            await store.touch("sid", await load(store, "sid"));
          }
        });
        const writes = requests.filter(name => name !== "GetItem");
        expect(writes.length).toBeLessThanOrEqual(atMost);
        expect(writes.length).toBeGreaterThanOrEqual(atLeast);
        expect(requests).toHaveLength(views + writes.length);
      },
    );
  });

  it("costs 20 write requests at most for 1,000 page views in 1,000 s with default options", async () => {
    const store = open({ touchAfter: undefined });
    const now = jest.spyOn(Date, "now").mockImplementation(clock.now);
    try {
      const browser = new Browser(createApp(store, { cookie: { maxAge: 30 * 60 * 1000 } }));
      const requests = await traffic.during(async () => {
        await browser.send("POST /sign-in?user=ann");
        for (let view = 0; view < 1000; view++) {
          clock.advance(1);
          await browser.send("GET /");
        }
      });
      const writes = requests.filter(name => name !== "GetItem");
      expect(writes.length).toBeLessThanOrEqual(20);
      expect(requests.length - writes.length).toBe(1000);
      // Nor does it end early for that.
      clock.advance(30 * 60 - 1);
      expect(await browser.fields()).toEqual({ user: "ann" });
    } finally {
      now.mockRestore();
    }
  });

  describe("reads", () => {
    it("that wait at the same moment go out together, by the hundred, and each gets its own", async () => {
      const store = open();
      const some = sids(150);
      await Promise.all(some.map(sid => store.set(sid, plain({ sid }))));
      const found: unknown[] = [];
      const requests = await traffic.requestsDuring(async () => {
        found.push(...(await Promise.all([...some, "none"].map(sid => stored(store, sid)))));
      });
      expect(found).toEqual([...some.map(sid => ({ sid })), null]);
      expect(requests.map(({ name }) => name)).toEqual(["BatchGetItem", "BatchGetItem"]);
      expect(requests.map(keysOf).map(keys => keys.length)).toEqual([100, 51]);
    });

    it("of the same session go out together as one key, and share no object", async () => {
      const store = open();
      await saveAll(store, ["a", "b"]);
      const found: unknown[] = [];
      const requests = await traffic.requestsDuring(async () => {
        found.push(...(await Promise.all(["a", "b", "a"].map(sid => store.get(sid)))));
      });
      expect(requests.map(keysOf)).toEqual([[`${prefix}a`, `${prefix}b`]]);
      expect(found[0]).toEqual(found[2]);
      expect(found[0]).not.toBe(found[2]);
    });

    it("that come while one is under way do not wait for it", async () => {
      const store = open();
      await saveAll(store, ["a", "b"]);
      let answer = () => {};
      const held = new Promise<void>(resolve => {
        answer = resolve;
      });
      traffic.next("GetItem", async perform => {
        await held;
        return perform();
      });
      const first = store.get("a");
      await new Promise(setImmediate);
      expect(await store.get("b")).not.toBeNull();
      answer();
      expect(await first).not.toBeNull();
    });

    it("ask again for the keys that DynamoDB did not get to", async () => {
      const store = open();
      const some = sids(20);
      await saveAll(store, some);
      traffic.next("BatchGetItem", async perform => {
        const answer = await perform();
        const left = answer.body.Responses[tableName].splice(5);
        const Keys = left.map(({ id }: { id: unknown }) => ({ id }));
        answer.body.UnprocessedKeys = { [tableName]: { Keys, ConsistentRead: true } };
        return answer;
      });
      const requests = await traffic.requestsDuring(() => Promise.all(some.map(sid => find(store, sid))));
      expect(requests.map(keysOf).map(keys => keys.length)).toEqual([20, 15]);
    });

    it("do not wait for a key that DynamoDB throttles", async () => {
      const store = open();
      await saveAll(store, ["a", "hot"]);
      let cool = () => {};
      const cooled = new Promise<void>(resolve => {
        cool = resolve;
      });
      traffic.next("BatchGetItem", async perform => {
        const answer = await perform();
        const { Responses } = answer.body;
        Responses[tableName] = Responses[tableName].filter((item: { id: { S: string } }) =>
          item.id.S.endsWith("a"),
        );
        const Keys = [{ id: { S: `${prefix}hot` } }];
        answer.body.UnprocessedKeys = { [tableName]: { Keys, ConsistentRead: true } };
        traffic.next("BatchGetItem", async again => {
          await cooled;
          return again();
        });
        return answer;
      });
      const hot = store.get("hot");
      expect(await Promise.all([store.get("a"), store.get("none")])).toEqual([expect.anything(), null]);
      cool();
      expect(await hot).not.toBeNull();
    });

    it("fail for a key that stays throttled, and for that alone", async () => {
      const store = open();
      await saveAll(store, ["a", "hot"]);
      traffic.next("BatchGetItem", async perform => {
        const answer = await perform();
        const Keys = [{ id: { S: `${prefix}hot` } }];
        answer.body.UnprocessedKeys = { [tableName]: { Keys, ConsistentRead: true } };
        traffic.next("BatchGetItem", () => Promise.reject(new Error("throttled")));
        return answer;
      });
      const [a, hot] = await Promise.allSettled([store.get("a"), store.get("hot")]);
      expect(a).toMatchObject({ status: "fulfilled", value: expect.anything() });
      expect(hot).toMatchObject({ status: "rejected", reason: { code: "ERR_STORE_UNAVAILABLE" } });
    });

    it.each([true, false])("are consistent if consistentRead is %s", async consistentRead => {
      const store = open(consistentRead ? {} : { consistentRead });
      await saveAll(store, ["a", "b"]);
      const requests = await traffic.requestsDuring(async () => {
        await store.get("a");
        await Promise.all([store.get("a"), store.get("b")]);
        await store.length();
      });
      const asked = requests.map(({ input }) => (input.RequestItems?.[tableName] ?? input).ConsistentRead);
      expect(requests.map(({ name }) => name)).toEqual(["GetItem", "BatchGetItem", ...Array(4).fill("Scan")]);
      expect(asked).toEqual(Array(6).fill(consistentRead));
    });

    it("that a refused save needs are consistent even if consistentRead is false", async () => {
      const store = open({ consistentRead: false });
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      await store.destroy("sid");
      const requests = await traffic.requestsDuring(() => store.set("sid", session));
      expect(requests).toMatchObject([
        { name: "PutItem" },
        { name: "GetItem", input: { ConsistentRead: true } },
      ]);
    });
  });

  describe("items", () => {
    it("have the key, the session as one string, the expiry in ms and a TTL in whole seconds after the grace", async () => {
      const store = open({ ttl: 100, touchAfter: 10 });
      clock.advance(Math.ceil(clock.now() / 1000) + 0.001 - clock.now() / 1000);
      const session = plain({ user: "ann" });
      await store.set("sid", session);
      expect(await itemOf("sid")).toEqual({
        id: `${prefix}sid`,
        data: JSON.stringify(session),
        expires: clock.now() + 110_000,
        ttl: (clock.now() - 1) / 1000 + 110 + 60 + 1,
        c: clock.now(),
        v: expect.any(String),
        s: 10_000,
      });
    });

    it("keep everything but the expiry when they are touched", async () => {
      const store = open({ ttl: 100 });
      await saveAll(store, ["sid"], { user: "ann" });
      const before = await itemOf("sid");
      clock.advance(50);
      await store.touch("sid", plain());
      expect(await itemOf("sid")).toEqual({
        ...before,
        expires: before?.expires + 50_000,
        ttl: before?.ttl + 50,
      });
    });

    it("have the attribute names that the option says, in every operation", async () => {
      const attributes = {
        id: "token",
        data: "session data",
        expires: "#expiry",
        ttl: "removeAt",
        created: "size",
        version: "version",
        slack: "slack-ms",
      };
      const store = open({ attributes, tableName: newTableName() });
      await store.createTable();
      await saveAll(store, ["a", "b"], { user: "ann" });
      const Key = { token: { S: `${prefix}a` } };
      const { Item } = await raw.send(new GetItemCommand({ TableName: store.tableName, Key }));
      expect(Object.keys(Item ?? {}).sort()).toEqual(Object.values(attributes).sort());
      const [one, other] = [await load(store, "a"), await load(store, "a")];
      clock.advance(10);
      await store.touch("a", one);
      one.views = 1;
      await store.set("a", one);
      other.theme = "dark";
      await store.set("a", other);
      const merged = { user: "ann", views: 1, theme: "dark" };
      expect(await Promise.all(["a", "b"].map(sid => stored(store, sid)))).toEqual([merged, { user: "ann" }]);
      expect((await store.ids()).sort()).toEqual(["a", "b"]);
      await store.destroy("a");
      expect(await store.length()).toBe(1);
      await store.clear();
      expect(await store.all()).toEqual([]);
    });

    it("that are expired are not found while DynamoDB still has them, and can be saved by a running request", async () => {
      const store = open({ ttl: 10 });
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      clock.advance(10);
      expect(await store.get("sid")).toBeNull();
      expect(await Promise.all(["sid", "sid"].map(sid => store.get(sid)))).toEqual([null, null]);
      expect(await store.all()).toEqual([]);
      expect(await store.length()).toBe(0);
      await store.touch("sid", session);
      expect(await store.get("sid")).toBeNull();
      expect(await itemOf("sid")).toBeDefined();
      session.user = "ann";
      await store.set("sid", session);
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
    });

    it("are not made by a touch", async () => {
      const store = open();
      await store.touch("sid", plain());
      await store.touch("sid", requestSession(store, "sid", plain()));
      expect(await itemOf("sid")).toBeUndefined();
    });

    it("that are no records are absent, reported, and left as they are", async () => {
      const store = open();
      const items = [
        {},
        { data: "{}" },
        { data: "{}", expires: "soon", v: "1", c: 1, s: 0 },
        { data: 42 },
        { expires: clock.in(10).getTime() },
      ];
      for (const foreign of items) {
        const Item = { ...foreign, id: `${prefix}sid` };
        await DynamoDBDocumentClient.from(raw).send(new PutCommand({ TableName: tableName, Item }));
        const corrupt = eventsOf(store, "corrupt");
        expect(await store.get("sid")).toBeNull();
        await store.touch("sid", plain());
        expect(await store.all()).toEqual([]);
        expect(await itemOf("sid")).toEqual(Item);
        expect(await corrupt()).toHaveLength(2);
        store.removeAllListeners("corrupt");
      }
    });
  });

  describe("capacity", () => {
    const metered: DynamoDBClient = makeClient();
    let units: number[] = [];
    beforeAll(() => {
      metered.middlewareStack.add(
        next => async args => {
          const answer = await next({ ...args, input: { ...args.input, ReturnConsumedCapacity: "TOTAL" } });
          const { ConsumedCapacity } = answer.output as { ConsumedCapacity: object };
          units.push(
            ...[ConsumedCapacity]
              .flat()
              .map(consumed => (consumed as { CapacityUnits: number }).CapacityUnits),
          );
          return answer;
        },
        { step: "initialize" },
      );
    });
    afterAll(() => metered.destroy());

    async function unitsOf(work: () => Promise<unknown>): Promise<number> {
      units = [];
      await work();
      return units.reduce((sum, one) => sum + one, 0);
    }

    /** A session of so many bytes of JSON. */
    function sessionOf(bytes: number, text: (length: number) => string = length => "x".repeat(length)) {
      const session = plain({ user: "ann", text: "" }, clock.in(1800));
      session.text = text(bytes - JSON.stringify(session).length);
      expect(JSON.stringify(session)).toHaveLength(bytes);
      return session;
    }

    const incompressible = (length: number) => randomBytes(length).toString("base64").slice(0, length);
    const compressible = (length: number) => "All work and no play. ".repeat(length).slice(0, length);

    /** What DynamoDB counts for the item of a session, by the rules in its documentation. */
    async function bytesOf(sid: string): Promise<number> {
      const { Item } = await raw.send(
        new GetItemCommand({ TableName: tableName, Key: { id: { S: sid } }, ConsistentRead: true }),
      );
      return Object.entries(Item ?? {}).reduce((size, [name, { S, N, B }]) => {
        const digits = N?.replace(/^0+|0+$/g, "").length;
        const value =
          digits === undefined ? (B?.length ?? Buffer.byteLength(S ?? "")) : Math.ceil(digits / 2) + 1;
        return size + Buffer.byteLength(name) + value;
      }, 0);
    }

    it("of a write is one unit for a session of 900 bytes of JSON under an ordinary key", async () => {
      const store = open({ client: metered, prefix: undefined, touchAfter: undefined });
      const sid = randomBytes(24).toString("base64url");
      const session = requestSession(store, sid, plain({ user: "ann" }, clock.in(1800)));
      session.text = "x".repeat(900 - ',"text":""'.length - JSON.stringify(session).length);
      expect(JSON.stringify(session)).toHaveLength(900);
      expect(await unitsOf(() => store.set(sid, session))).toBe(1);
      const loaded = Object.assign(await load(store, sid), { user: "eve" });
      expect(await unitsOf(() => store.set(sid, loaded))).toBe(1);
      loaded.cookie.expires = clock.in(3600);
      expect(await unitsOf(() => store.touch(sid, loaded))).toBe(1);
      expect(await bytesOf(`sess:${sid}`)).toBeLessThanOrEqual(1024);
    });

    it("of reads is half with consistentRead: false", async () => {
      const store = open({ client: metered });
      const half = open({ client: metered, consistentRead: false });
      const some = sids(10);
      for (const sid of some) await store.set(sid, sessionOf(6000));
      for (const read of [
        (from: DynamoDBStore) => from.get("sid-0"),
        (from: DynamoDBStore) => Promise.all(some.map(sid => from.get(sid))),
      ]) {
        const whole = await unitsOf(() => read(store));
        expect(whole).toBeGreaterThan(0);
        expect(await unitsOf(() => read(half))).toBe(whole / 2);
      }
    });

    it("of a larger session is less with compression, and any store reads what it wrote", async () => {
      const without = open({ client: metered });
      const store = open({ client: metered, compression: "deflate" });
      const session = sessionOf(6000, compressible);
      expect(await unitsOf(() => without.set("plain", session))).toBe(6);
      await without.destroy("plain");
      expect(await unitsOf(() => store.set("sid", session))).toBe(1);
      expect((await itemOf("sid"))?.data).toBeInstanceOf(Uint8Array);
      for (const reader of [store, without]) {
        expect(await find(reader, "sid")).toMatchObject({ user: "ann", text: session.text });
        await saveAll(reader, ["other"]);
        const found = await Promise.all(["sid", "other", "sid"].map(sid => find(reader, sid)));
        expect(found).toMatchObject([{ user: "ann" }, {}, { user: "ann" }]);
        expect(await reader.all()).toHaveLength(2);
      }
      // A touch moves the expiry alone, and a save without the option stores it as it is.
      await store.touch("sid", plain({}, clock.in(5000)));
      expect((await itemOf("sid"))?.data).toBeInstanceOf(Uint8Array);
      const [first, second] = [await load(store, "sid"), await load(without, "sid")];
      first.views = 1;
      await store.set("sid", first);
      second.theme = "dark";
      await without.set("sid", second);
      expect(await stored(store, "sid")).toEqual({
        user: "ann",
        text: session.text,
        views: 1,
        theme: "dark",
      });
      expect((await itemOf("sid"))?.data).toEqual(expect.any(String));
    });

    it.each([
      ["one unit anyway", 600, compressible],
      ["no fewer units", 1500, incompressible],
    ])("is not worth compression where it takes %s", async (_what, bytes, text) => {
      const store = open({ compression: "deflate" });
      const session = sessionOf(bytes, text);
      await store.set("sid", session);
      expect((await itemOf("sid"))?.data).toBe(JSON.stringify(session));
    });

    it("lets a session of more than 400 KB be saved that deflates to less, up to 4 MB", async () => {
      const store = open({ compression: "deflate" });
      const text = compressible(4_000_000);
      await store.set("sid", plain({ text }));
      expect(await stored(store, "sid")).toEqual({ text });
      for (const refused of [compressible(5_000_000), incompressible(600_000)]) {
        await expect(store.set("sid", plain({ text: refused }))).rejects.toMatchObject({
          code: "ERR_SESSION_TOO_LARGE",
        });
      }
      expect(await stored(store, "sid")).toEqual({ text });
    });

    it.each([
      ["do not inflate", Buffer.from("no deflate stream")],
      ["are cut off", deflateRawSync(Buffer.from(JSON.stringify(plain()))).subarray(0, -5)],
      ["inflate to more than a session may have", deflateRawSync(Buffer.alloc(64 * 1024 * 1024, " "))],
    ])(
      "has no part in data that %s: they are absent, reported, and left as they are",
      async (_what, data) => {
        const store = open();
        const corrupt = eventsOf(store, "corrupt");
        const Item = { id: `${prefix}sid`, data, expires: clock.now() + 1e6, ttl: 2e9, c: 1, v: "1.1", s: 0 };
        await DynamoDBDocumentClient.from(raw).send(new PutCommand({ TableName: tableName, Item }));
        expect(await store.get("sid")).toBeNull();
        expect(await store.all()).toEqual([]);
        expect(await corrupt()).toHaveLength(2);
        expect(Buffer.from((await itemOf("sid"))?.data)).toEqual(data);
      },
    );
  });

  describe("a refused save", () => {
    it("takes what is stored from DynamoDB's answer, where it comes with that", async () => {
      const store = open();
      const conflicts = eventsOf(store, "conflict");
      await saveAll(store, ["sid"], { user: "ann" });
      const session = await load(store, "sid");
      const theirs = await load(store, "sid");
      theirs.theme = "dark";
      await store.set("sid", theirs);
      session.views = 1;
      // As AWS does; neither engine here knows it.
      traffic.next("PutItem", async (perform, input) => {
        expect(input.ReturnValuesOnConditionCheckFailure).toBe("ALL_OLD");
        const answer = await perform();
        const Key = { id: { S: `${prefix}sid` } };
        const { Item } = await raw.send(new GetItemCommand({ TableName: tableName, Key }));
        return { ...answer, body: { ...answer.body, Item } };
      });
      expect(await traffic.during(() => store.set("sid", session))).toEqual(["PutItem", "PutItem"]);
      expect(await stored(store, "sid")).toEqual({ user: "ann", theme: "dark", views: 1 });
      expect(await conflicts()).toMatchObject([{ reason: "merged", keys: [] }]);
    });

    it("reads what is stored where it does not", async () => {
      const store = open();
      await saveAll(store, ["sid"], { user: "ann" });
      const session = await load(store, "sid");
      await saveOther(store);
      session.views = 1;
      const requests = await traffic.during(() => store.set("sid", session));
      expect(requests).toEqual(["PutItem", "GetItem", "PutItem"]);
      expect(await stored(store, "sid")).toEqual({ user: "ann", theme: "dark", views: 1 });
    });

    async function saveOther(store: DynamoDBStore): Promise<void> {
      const theirs = await load(store, "sid");
      theirs.theme = "dark";
      await store.set("sid", theirs);
    }
  });

  describe("a lost answer", () => {
    const lost = loseAnswer(Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }));

    it("that the SDK asks for again is no conflict: a save recognises its own first attempt", async () => {
      const store = open({ conflict: "error" });
      const conflicts = eventsOf(store, "conflict");
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      for (const views of [1, 2]) {
        session.views = views;
        traffic.next("PutItem", lost);
        const requests = await traffic.during(() => store.set("sid", session));
        expect(requests).toEqual(["PutItem", "PutItem", "GetItem"]);
        expect(await stored(store, "sid")).toEqual({ views });
      }
      expect(await conflicts()).toEqual([]);
    });

    it("that the SDK asks for again does not bring back what was destroyed in between", async () => {
      const store = open();
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      traffic.next("PutItem", async (perform, input) => {
        await perform();
        await open().destroy("sid");
        return lost(perform, input);
      });
      await store.set("sid", session);
      expect(await store.get("sid")).toBeNull();
    });

    it("that the SDK asks for again leaves new sessions, touch and destroy as they are", async () => {
      const store = open({ ttl: 100 });
      traffic.next("PutItem", lost);
      await store.set("sid", plain({ user: "ann" }));
      clock.advance(50);
      traffic.next("UpdateItem", lost);
      await store.touch("sid", plain());
      clock.advance(99);
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
      traffic.next("DeleteItem", lost);
      await store.destroy("sid");
      expect(await store.get("sid")).toBeNull();
    });
  });

  describe("sizes", () => {
    /** A session whose item has as many bytes as DynamoDB takes, and `more`. */
    async function sessionOf(store: DynamoDBStore, more: number, fill = "x") {
      const filled = (length: number) =>
        plain({ text: fill.repeat(length / Buffer.byteLength(fill)), pad: "" });
      const error: Error = await store.set("sid", filled(600_000)).then(
        () => Promise.reject(new Error("600,000 bytes were taken")),
        refused => refused,
      );
      const around = Number(/takes (\d+) bytes/.exec(error.message)?.[1]) - 600_000;
      const session = filled(390_000);
      session.pad = "x".repeat(MAX_ITEM_BYTES - around - 390_000 + more);
      return session;
    }

    it.each(["x", "世"])("takes a session of '%s' whose item has exactly 400 KB", async fill => {
      const store = open();
      const session = await sessionOf(store, 0, fill);
      expect(await traffic.during(() => store.set("sid", session))).toEqual(["PutItem"]);
      expect(await stored(store, "sid")).toMatchObject({ text: session.text });
    });

    it("refuses a session that is a byte larger before it is sent, and keeps the record", async () => {
      const store = open();
      await saveAll(store, ["sid"], { user: "ann" });
      const before = await itemOf("sid");
      const tooLarge = await sessionOf(store, 1);
      const loaded = Object.assign(await load(store, "sid"), { text: "x".repeat(MAX_ITEM_BYTES) });
      for (const session of [tooLarge, loaded]) {
        const requests = await traffic.during(() =>
          expect(store.set("sid", session)).rejects.toMatchObject({
            code: "ERR_SESSION_TOO_LARGE",
            message: expect.stringMatching(
              /takes 4\d{5} bytes; DynamoDB's limit for an item is 409600 bytes/,
            ),
          }),
        );
        expect(requests).toEqual([]);
      }
      expect(await itemOf("sid")).toEqual(before);
    });

    if (isAws) {
      it("reads and lists large sessions, though an answer has 16 MB of them at most", async () => {
        const store = open();
        const some = sids(45);
        const text = "x".repeat(390_000);
        await saveAll(store, some, { text });
        const requests = await traffic.during(async () => {
          const found = await Promise.all(some.map(sid => stored(store, sid)));
          expect(found).toEqual(Array(45).fill({ text }));
        });
        expect(requests).toEqual(["BatchGetItem", "BatchGetItem"]);
        expect(await store.length()).toBe(45);
        await store.clear();
      });
    }
  });

  describe("listings and clear", () => {
    /** Makes every page of a scan hold so many items at most. */
    function limitPages(Limit: number) {
      const limited: DynamoDBClient = makeClient();
      limited.middlewareStack.add(
        (next, context) => args =>
          next(context.commandName === "ScanCommand" ? { ...args, input: { ...args.input, Limit } } : args),
        { step: "initialize" },
      );
      return { limited, scans: trafficOfDynamoDB(limited) };
    }

    it("scan in parallel segments, page after page, with nothing lost or doubled", async () => {
      const { limited, scans } = limitPages(7);
      const store = open({ client: limited });
      const some = sids(100);
      await saveAll(store, some);
      const ids: string[] = [];
      const requests = await scans.requestsDuring(async () => {
        ids.push(...(await store.ids()));
      });
      expect(ids.sort()).toEqual([...some].sort());
      expect(requests.length).toBeGreaterThanOrEqual(100 / 7);
      expect(new Set(requests.map(({ input }) => input.Segment))).toEqual(new Set([0, 1, 2, 3]));
      expect(await store.length()).toBe(100);
      await store.clear();
      expect(await store.length()).toBe(0);
      limited.destroy();
    });

    it("clear removes no item of another prefix", async () => {
      const others = [`${prefix}b:`, prefix.slice(0, -1), `x${prefix}`].map(other => open({ prefix: other }));
      const store = open();
      for (const one of [store, ...others]) await saveAll(one, ["sid"]);
      await store.clear();
      expect(await store.get("sid")).toBeNull();
      for (const other of others) expect(await other.get("sid")).not.toBeNull();
    });

    it("clear removes 25 items a request, and asks again for those that DynamoDB did not get to", async () => {
      const store = open();
      await saveAll(store, sids(30));
      const unprocessed: Interference = async (_perform, input) => ({
        statusCode: 200,
        body: { UnprocessedItems: input.RequestItems },
      });
      traffic.next("BatchWriteItem", unprocessed);
      const requests = await traffic.requestsDuring(() => store.clear());
      const deletes = requests.filter(({ name }) => name === "BatchWriteItem");
      for (const { input } of deletes) expect(input.RequestItems[tableName].length).toBeLessThanOrEqual(25);
      expect(await store.length()).toBe(0);
    });

    it("go over the whole table if there is no prefix", async () => {
      const store = open({ prefix: "", tableName: newTableName() });
      await store.createTable();
      await saveAll(store, ["a", "b"]);
      expect((await store.ids()).sort()).toEqual(["a", "b"]);
      await store.clear();
      const { Count } = await raw.send(new ScanCommand({ TableName: store.tableName }));
      expect(Count).toBe(0);
    });
  });

  describe("the injected client", () => {
    it.each<[string, (base: DynamoDBClient) => DynamoDBStoreOptions["client"]]>([
      ["a document client", base => DynamoDBDocumentClient.from(base)],
      [
        "a document client with options of its own",
        base =>
          DynamoDBDocumentClient.from(base, {
            marshallOptions: { convertEmptyValues: true, convertTopLevelContainer: false },
            unmarshallOptions: { wrapNumbers: true, convertWithoutMapWrapper: false },
          }),
      ],
    ])("can be %s", async (_what, wrap) => {
      const base = makeClient();
      await useEveryMethod(open({ client: wrap(base) }));
      base.destroy();
    });

    it("can be used by a document client with other options afterwards", async () => {
      const base = makeClient();
      const store = open({ client: base });
      DynamoDBDocumentClient.from(base, { unmarshallOptions: { wrapNumbers: true } });
      await useEveryMethod(store);
      base.destroy();
    });

    it("keeps its own options: the store changes nothing about it", async () => {
      const base = makeClient();
      const app = DynamoDBDocumentClient.from(base, { marshallOptions: { removeUndefinedValues: true } });
      open({ client: app });
      await app.send(
        new PutCommand({ TableName: tableName, Item: { id: `${prefix}app`, user: { name: undefined } } }),
      );
      expect(await itemOf("app")).toEqual({ id: `${prefix}app`, user: {} });
      base.destroy();
    });

    async function useEveryMethod(store: DynamoDBStore): Promise<void> {
      await saveAll(store, ["a", "b"], { empty: "", list: [] });
      const session = await load(store, "a");
      clock.advance(10);
      await store.touch("a", session);
      session.views = 1;
      await store.set("a", session);
      expect(await Promise.all(["a", "b"].map(sid => stored(store, sid)))).toEqual([
        { empty: "", list: [], views: 1 },
        { empty: "", list: [] },
      ]);
      expect(await store.all()).toHaveLength(2);
      await store.destroy("a");
      await store.clear();
      expect(await store.ids()).toEqual([]);
    }

    it("can be one that caches its middleware", async () => {
      const base = makeClient();
      base.config.cacheMiddleware = true;
      await useEveryMethod(open({ client: base }));
      base.destroy();
    });

    it("may be given middleware until the store is first used", async () => {
      const base = makeClient();
      const store = open({ client: base });
      const names = trafficOfDynamoDB(base);
      expect(await names.during(() => store.ping())).toEqual(["GetItem"]);
      base.destroy();
    });

    it("is not closed with the store", async () => {
      const store = open();
      await saveAll(store, ["sid"]);
      await store.close();
      expect(await itemOf("sid")).toBeDefined();
      expect(await open().get("sid")).not.toBeNull();
    });
  });

  describe("ping", () => {
    it("succeeds if the table is there", async () => {
      expect(await open().ping()).toBeUndefined();
    });

    it("and every other method say that the table is missing, and how to create it", async () => {
      const store = open({ tableName: "no-such-table" });
      const missing = {
        code: "ERR_STORE_TABLE_MISSING",
        message: expect.stringMatching(/"no-such-table".*createTable\(\).*"id".*"ttl"/),
        cause: { name: "ResourceNotFoundException" },
      };
      for (const method of methodNames) await expect(invoke(store, method)).rejects.toMatchObject(missing);
      // By a batch, too.
      for (const get of [store.get("a"), store.get("b")]) await expect(get).rejects.toMatchObject(missing);
    });
  });

  describe("createTable", () => {
    it("creates the table that the attributes ask for, on demand, once, however many do it at once", async () => {
      const attributes = { id: "token", ttl: "removeAt" };
      const store = open({ tableName: newTableName(), attributes });
      const TableName = store.tableName;
      await Promise.all([store.createTable(), open({ tableName: TableName, attributes }).createTable()]);
      await saveAll(store, ["sid"]);
      await store.createTable();
      expect(await store.get("sid")).not.toBeNull();
      const { Table } = await raw.send(new DescribeTableCommand({ TableName }));
      expect(Table).toMatchObject({
        TableStatus: "ACTIVE",
        KeySchema: [{ AttributeName: "token", KeyType: "HASH" }],
        AttributeDefinitions: [{ AttributeName: "token", AttributeType: "S" }],
        BillingModeSummary: { BillingMode: "PAY_PER_REQUEST" },
      });
      if (!isAws) return;
      const { TimeToLiveDescription } = await raw.send(new DescribeTimeToLiveCommand({ TableName }));
      expect(TimeToLiveDescription).toEqual({ TimeToLiveStatus: "ENABLED", AttributeName: "removeAt" });
    });

    it("takes no callback: it refuses one instead of forgetting it", async () => {
      await expect(open().createTable((() => {}) as never)).rejects.toThrow(
        "Expected `options` to be { signal }",
      );
    });

    it.each<[string, Pick<Required<CreateTableCommand["input"]>, "AttributeDefinitions" | "KeySchema">]>([
      [
        "pk",
        {
          AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }],
          KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
        },
      ],
      [
        "id, at",
        {
          AttributeDefinitions: [
            { AttributeName: "id", AttributeType: "S" },
            { AttributeName: "at", AttributeType: "S" },
          ],
          KeySchema: [
            { AttributeName: "id", KeyType: "HASH" },
            { AttributeName: "at", KeyType: "RANGE" },
          ],
        },
      ],
      [
        "id",
        {
          AttributeDefinitions: [{ AttributeName: "id", AttributeType: "N" }],
          KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
        },
      ],
    ])("refuses a table that is there with another key: %s", async (key, schema) => {
      const store = open({ tableName: newTableName() });
      const TableName = store.tableName;
      await raw.send(new CreateTableCommand({ TableName, BillingMode: "PAY_PER_REQUEST", ...schema }));
      await expect(store.createTable()).rejects.toMatchObject({
        code: "ERR_STORE_UNAVAILABLE",
        message: expect.stringContaining(`"${TableName}" has the key ${key}`),
      });
      const explained = {
        code: "ERR_STORE_UNAVAILABLE",
        message: expect.stringMatching(`"${TableName}" has another key, .* partition key "id"`),
      };
      await expect(store.get("sid")).rejects.toMatchObject(explained);
      await expect(Promise.all([store.get("one"), store.get("other")])).rejects.toMatchObject(explained);
      await expect(store.set("sid", plain())).rejects.toMatchObject(explained);
      await expect(store.touch("sid", plain())).rejects.toMatchObject(explained);
      await expect(store.destroy("sid")).rejects.toMatchObject(explained);
    });

    if (isAws) {
      it("refuses a table that is there with TTL on another attribute", async () => {
        const tableName = newTableName();
        await open({ tableName }).createTable();
        const store = open({ tableName, attributes: { ttl: "removeAt" } });
        await expect(store.createTable()).rejects.toMatchObject({
          code: "ERR_STORE_UNAVAILABLE",
          message: expect.stringMatching(new RegExp(`"${tableName}" has TTL on "ttl", but .* "removeAt"`)),
        });
      });

      it("enables TTL on a table that is there without", async () => {
        const store = open({ tableName: newTableName() });
        const TableName = store.tableName;
        await raw.send(
          new CreateTableCommand({
            TableName,
            BillingMode: "PAY_PER_REQUEST",
            AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
            KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
          }),
        );
        await store.createTable();
        const { TimeToLiveDescription } = await raw.send(new DescribeTimeToLiveCommand({ TableName }));
        expect(TimeToLiveDescription).toMatchObject({ AttributeName: "ttl" });
      });
    }

    it("fails on a closed store", async () => {
      const store = open();
      await store.close();
      await expect(store.createTable()).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
    });

    it("can be cancelled, with the reason of the signal", async () => {
      const signal = AbortSignal.abort(new Error("cancelled"));
      await expect(open({ tableName: "never" }).createTable({ signal })).rejects.toBe(signal.reason);
    });
  });
});

if (!isAws) {
  describe("client", () => {
    it.each([undefined, null, "us-east-1", {}, { send: () => {} }, { send: () => {}, middlewareStack: {} }])(
      "is refused with a TypeError if it is none of the AWS SDK v3",
      wrong => {
        const create = () => new DynamoDBStore({ client: wrong as never });
        expect(create).toThrow(TypeError);
        expect(create).toThrow("Expected `client` to be a DynamoDBClient or DynamoDBDocumentClient");
      },
    );
  });

  describe("options", () => {
    const client = dynaliteClient();
    afterAll(() => client.destroy());

    it.each<[string, unknown[]]>([
      ["tableName", ["", 42, null, "ab", "no spaces", "a".repeat(256)]],
      ["consistentRead", [0, "yes", null]],
      ["compression", [true, "gzip", 1, null]],
      [
        "attributes",
        [null, "id", { key: "sid" }, { id: "" }, { id: 1 }, { id: "x", data: "x" }, { id: "data" }],
      ],
    ])("refuses a bad `%s` with a TypeError", (name, values) => {
      for (const value of values) {
        const create = () => new DynamoDBStore({ client, [name]: value });
        expect(create).toThrow(TypeError);
        expect(create).toThrow(`Expected \`${name}\` to be `);
      }
    });

    it("have defaults that can be read", () => {
      const store = new DynamoDBStore({ client, tableName: undefined, attributes: undefined });
      expect(store.tableName).toBe("sessions");
      expect(store.attributes).toEqual({
        id: "id",
        data: "data",
        expires: "expires",
        ttl: "ttl",
        created: "c",
        version: "v",
        slack: "s",
      });
    });

    it("can be read as they were given, and not be changed afterwards", () => {
      const attributes: Partial<DynamoDBAttributes> = { id: "token" };
      const store = new DynamoDBStore({ client, tableName: "logins", attributes });
      attributes.id = "changed";
      expect(store.tableName).toBe("logins");
      expect(store.attributes).toMatchObject({ id: "token", data: "data", ttl: "ttl" });
      expect(() => Object.assign(store.attributes, { id: "changed" })).toThrow(TypeError);
    });
  });

  describe("a DynamoDB that does not answer", () => {
    let server: Server;
    let client: DynamoDBClient;
    const sockets = new Set<Socket>();
    beforeEach(async () => {
      server = createServer(socket => {
        sockets.add(socket.on("error", () => {}).resume());
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      client = clientAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    });
    afterEach(() => {
      client.destroy();
      for (const socket of sockets) socket.destroy();
      sockets.clear();
      server.close();
    });

    it.each(methodNames)("lets %s end after timeoutMs", async method => {
      const store = new DynamoDBStore({ client, timeoutMs: 100 });
      const timedOut = { code: "ERR_STORE_TIMEOUT", message: expect.stringContaining("100 ms") };
      // Twice at the same moment, since reads go out together then.
      const calls = [invoke(store, method), invoke(store, method)];
      // The process is busy with something else before they are sent: timers that begin then are ahead of the others.
      for (const until = performance.now() + 50; performance.now() < until; );
      for (const call of calls) await expect(call).rejects.toMatchObject(timedOut);
    });

    it.each(methodNames)("lets %s be cancelled, with the reason of the signal", async method => {
      const store = new DynamoDBStore({ client, timeoutMs: 60_000 });
      const controller = new AbortController();
      const connected = once(server, "connection");
      const calls = [controller, controller].map(({ signal }) => invoke(store, method, { signal }));
      await connected;
      const reason = new Error("the browser went away");
      controller.abort(reason);
      for (const call of calls) await expect(call).rejects.toBe(reason);
    });

    it.each(methodNames)("is not waited for any longer by a cancelled %s", async method => {
      const store = new DynamoDBStore({ client, timeoutMs: 60_000 });
      const controller = new AbortController();
      const connected = once(server, "connection");
      const call = invoke(store, method, { signal: controller.signal });
      await connected;
      const closed = Promise.all([...sockets].map(socket => once(socket, "close")));
      controller.abort();
      await expect(call).rejects.toMatchObject({ name: "AbortError" });
      await closed;
    });
  });

  it("a DynamoDB that cannot be reached is unavailable, which is not the same as a missing table", async () => {
    const client = clientAt("http://127.0.0.1:1");
    const store = new DynamoDBStore({ client });
    const unavailable = {
      code: "ERR_STORE_UNAVAILABLE",
      cause: { message: expect.stringContaining("ECONNREFUSED") },
    };
    await expect(store.ping()).rejects.toMatchObject(unavailable);
    await expect(store.createTable()).rejects.toMatchObject(unavailable);
    client.destroy();
  });
}

function clientAt(endpoint: string): DynamoDBClient {
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  return new DynamoDBClient({ endpoint, region: "us-east-1", credentials, maxAttempts: 1 });
}

/** The keys that a BatchGetItem asks for. */
function keysOf({ input }: Request): string[] {
  const [table] = Object.values(input.RequestItems) as [{ Keys: { id: { S: string } }[] }];
  return table.Keys.map(({ id }) => id.S);
}
