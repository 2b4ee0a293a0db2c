import { type DynamoDBClient, ScanCommand } from "@aws-sdk/client-dynamodb";
import { sids } from "../../../lib/conformance/sessions.js";
import { type Interference, trafficOfDynamoDB } from "../../helpers/stores/counting.js";
import { type Context, saveAll } from "./context.js";

export function testListings(context: Context): void {
  const { engine, traffic, raw, tableName } = context;

  /** Limits every page of a scan to this many items. */
  function limitPages(Limit: number) {
    const limited: DynamoDBClient = engine.connect();
    limited.middlewareStack.add(
      (next, { commandName }) =>
        args =>
          next(commandName === "ScanCommand" ? { ...args, input: { ...args.input, Limit } } : args),
      { step: "initialize" },
    );
    return { limited, scans: trafficOfDynamoDB(limited) };
  }

  describe("listings and clear", () => {
    it("scan in parallel segments, page after page, with nothing lost or doubled", async () => {
      const { limited, scans } = limitPages(7);
      const store = context.open({ client: limited });
      const some = sids(100);
      await saveAll(store, some);
      const warnings: Error[] = [];
      const warn = (warning: Error) => warnings.push(warning);
      process.on("warning", warn);
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
      // A listing of many pages must not add a listener to a signal for each page.
      expect(warnings).toEqual([]);
      process.off("warning", warn);
      limited.destroy();
    });

    it("clear destroys no session of another prefix", async () => {
      const { prefix } = context;
      const others = [`${prefix}b:`, prefix.slice(0, -1), `x${prefix}`].map(other =>
        context.open({ prefix: other }),
      );
      const store = context.open();
      for (const one of [store, ...others]) await saveAll(one, ["sid"]);
      await store.clear();
      expect(await store.get("sid")).toBeNull();
      for (const other of others) expect(await other.get("sid")).not.toBeNull();
    });

    it("clear writes 25 tombstones a request, and again those that DynamoDB leaves unprocessed", async () => {
      const store = context.open();
      const some = sids(30);
      await saveAll(store, some);
      const unprocessed: Interference = async (_perform, input) => ({
        statusCode: 200,
        body: { UnprocessedItems: input.RequestItems },
      });
      traffic.next("BatchWriteItem", unprocessed);
      const requests = await traffic.requestsDuring(() => store.clear());
      const writes = requests.filter(({ name }) => name === "BatchWriteItem");
      for (const { input } of writes) expect(input.RequestItems[tableName].length).toBeLessThanOrEqual(25);
      expect(await store.length()).toBe(0);
      for (const sid of some) expect(await context.itemOf(sid)).toMatchObject({ l: 0 });
    });

    it("clear writes nothing for sessions that are destroyed already", async () => {
      const store = context.open();
      await saveAll(store, sids(3));
      await store.clear();
      const again = await traffic.during(() => store.clear());
      expect(new Set(again)).toEqual(new Set(["Scan"]));
    });

    it("cover the whole table if there is no prefix", async () => {
      const store = context.open({ prefix: "", tableName: context.newTableName() });
      await store.createTable();
      await saveAll(store, ["a", "b"]);
      expect((await store.ids()).sort()).toEqual(["a", "b"]);
      await store.clear();
      const { Items = [] } = await raw.send(new ScanCommand({ TableName: store.tableName }));
      expect(Items.map(({ l }) => l)).toEqual([{ N: "0" }, { N: "0" }]);
    });
  });
}
