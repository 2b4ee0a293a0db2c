import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, NumberValue, PutCommand, type TranslateConfig } from "@aws-sdk/lib-dynamodb";
import { invoke, methodNames } from "../../../lib/conformance/observe.js";
import { load, sids, stored } from "../../../lib/conformance/sessions.js";
import type { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { type Interference, trafficOfDynamoDB } from "../../helpers/stores/counting.js";
import { type Context, saveAll } from "./context.js";

/** An application's own class for numbers. */
class Decimal {
  readonly #digits: string;

  constructor(digits: string) {
    this.#digits = digits;
  }

  toString(): string {
    return this.#digits;
  }
}

export function testClients(context: Context): void {
  const { engine, tableName } = context;
  let base: DynamoDBClient;
  beforeEach(() => {
    base = engine.connect();
  });
  afterEach(() => base.destroy());

  async function useEveryMethod(store: DynamoDBStore): Promise<void> {
    await saveAll(store, ["a", "b"], { empty: "", list: [] });
    const session = await load(store, "a");
    context.clock.advance(10);
    await store.touch("a", session);
    session.views = 1;
    await store.set("a", session);
    expect(await Promise.all(["a", "b"].map(sid => stored(store, sid)))).toEqual([
      { empty: "", list: [], views: 1 },
      { empty: "", list: [] },
    ]);
    expect(await store.all()).toHaveLength(2);
    await store.destroy("a");
    expect(await Promise.all(["a", "b", "none"].map(sid => stored(store, sid)))).toEqual([
      null,
      { empty: "", list: [] },
      null,
    ]);
    session.views = 2;
    await store.set("a", session);
    expect(await store.ids()).toEqual(["b"]);
    await store.clear();
    expect(await store.ids()).toEqual([]);
  }

  const configs: [string, TranslateConfig | undefined][] = [
    ["no options", undefined],
    ["wrapNumbers: true", { unmarshallOptions: { wrapNumbers: true } }],
    ["wrapNumbers: BigInt", { unmarshallOptions: { wrapNumbers: BigInt } }],
    ["wrapNumbers: String", { unmarshallOptions: { wrapNumbers: String } }],
    ["wrapNumbers: NumberValue.from", { unmarshallOptions: { wrapNumbers: NumberValue.from } }],
    [
      "wrapNumbers for a class",
      { unmarshallOptions: { wrapNumbers: digits => new Decimal(digits) as never } },
    ],
    ["convertEmptyValues", { marshallOptions: { convertEmptyValues: true } }],
    ["removeUndefinedValues: false", { marshallOptions: { removeUndefinedValues: false } }],
    ["convertClassInstanceToMap", { marshallOptions: { convertClassInstanceToMap: true } }],
    ["convertTopLevelContainer: false", { marshallOptions: { convertTopLevelContainer: false } }],
  ];

  describe("the injected client", () => {
    it.each(configs)("can be a document client with %s", async (_options, config) => {
      const client = DynamoDBDocumentClient.from(base, config);
      await useEveryMethod(context.open({ client }));
      await useEveryMethod(context.open({ client, compression: "deflate" }));
    });

    it("can wrap numbers, also in what it sends again", async () => {
      const traffic = trafficOfDynamoDB(base);
      const client = DynamoDBDocumentClient.from(base, { unmarshallOptions: { wrapNumbers: String } });
      const store = context.open({ client });
      await saveAll(store, sids(3));
      const unprocessed: Interference = async (_perform, input) => ({
        statusCode: 200,
        body: { UnprocessedItems: input.RequestItems },
      });
      traffic.next("BatchWriteItem", unprocessed);
      await store.clear();
      for (const sid of sids(3)) expect(await context.itemOf(sid)).toMatchObject({ l: 0 });
    });

    it("can be used by a document client with other options, before and afterwards", async () => {
      const app = DynamoDBDocumentClient.from(base, { marshallOptions: { removeUndefinedValues: true } });
      const store = context.open({ client: base });
      await useEveryMethod(store);
      const Item = { id: `${context.prefix}app`, user: { name: undefined } };
      await app.send(new PutCommand({ TableName: tableName, Item }));
      expect(await context.itemOf("app")).toEqual({ id: `${context.prefix}app`, user: {} });
      DynamoDBDocumentClient.from(base, { unmarshallOptions: { wrapNumbers: true } });
      context.prefix = `${context.prefix}again:`;
      await useEveryMethod(context.open({ client: base }));
    });

    it("keeps its options: the store changes nothing about it", async () => {
      const { systemClockOffset: _, ...config } = base.config;
      const middleware = base.middlewareStack.identify();
      await useEveryMethod(context.open({ client: base }));
      expect(Object.keys(config).filter(key => config[key as never] !== base.config[key as never])).toEqual(
        [],
      );
      expect(base.middlewareStack.identify()).toEqual(middleware);
    });

    it("may be given middleware after the store has been used", async () => {
      const store = context.open({ client: base });
      await store.ping();
      const traffic = trafficOfDynamoDB(base);
      expect(await traffic.during(() => store.ping())).toEqual(["GetItem"]);
    });

    it("is not closed with the store", async () => {
      const store = context.open({ client: base });
      await saveAll(store, ["sid"]);
      await store.close();
      expect(await context.itemOf("sid")).toBeDefined();
      expect(await context.open({ client: base }).get("sid")).not.toBeNull();
    });
  });

  describe("ping", () => {
    it("succeeds if the table exists", async () => {
      expect(await context.open().ping()).toBeUndefined();
    });

    it("and every other method say that the table is missing, and how to create it", async () => {
      const store = context.open({ tableName: "no-such-table" });
      const missing = {
        code: "ERR_STORE_TABLE_MISSING",
        message: expect.stringMatching(/"no-such-table".*createTable\(\).*"id".*"ttl"/),
        cause: { name: "ResourceNotFoundException" },
      };
      for (const method of methodNames) await expect(invoke(store, method)).rejects.toMatchObject(missing);
      for (const get of [store.get("a"), store.get("b")]) await expect(get).rejects.toMatchObject(missing);
    });
  });
}
