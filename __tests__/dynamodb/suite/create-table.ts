import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
} from "@aws-sdk/client-dynamodb";
import { plain } from "../../../lib/conformance/sessions.js";
import { type Context, saveAll } from "./context.js";

export function testCreateTable(context: Context): void {
  const { engine, raw } = context;

  describe("createTable", () => {
    it("creates the table that the attributes ask for, on demand, once, however many do it at once", async () => {
      const attributes = { id: "token", ttl: "removeAt" };
      const store = context.open({ tableName: context.newTableName(), attributes });
      const TableName = store.tableName;
      await Promise.all([
        store.createTable(),
        context.open({ tableName: TableName, attributes }).createTable(),
      ]);
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
      if (!engine.hasTtl) return;
      const { TimeToLiveDescription } = await raw.send(new DescribeTimeToLiveCommand({ TableName }));
      expect(TimeToLiveDescription).toEqual({ TimeToLiveStatus: "ENABLED", AttributeName: "removeAt" });
    });

    it("takes no callback: it refuses one instead of forgetting it", async () => {
      await expect(context.open().createTable((() => {}) as never)).rejects.toThrow(
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
      const store = context.open({ tableName: context.newTableName() });
      const TableName = store.tableName;
      await raw.send(new CreateTableCommand({ TableName, BillingMode: "PAY_PER_REQUEST", ...schema }));
      await expect(store.createTable()).rejects.toMatchObject({
        code: "ERR_STORE_TABLE_MISMATCH",
        message: expect.stringContaining(`"${TableName}" has the key ${key}`),
      });
      const explained = {
        code: "ERR_STORE_TABLE_MISMATCH",
        message: expect.stringMatching(`"${TableName}" has another key, .* partition key "id"`),
      };
      await expect(store.get("sid")).rejects.toMatchObject(explained);
      await expect(Promise.all([store.get("one"), store.get("other")])).rejects.toMatchObject(explained);
      await expect(store.set("sid", plain())).rejects.toMatchObject(explained);
      await expect(store.touch("sid", plain())).rejects.toMatchObject(explained);
      await expect(store.destroy("sid")).rejects.toMatchObject(explained);
    });

    if (engine.hasTtl) {
      it("refuses a table that is there with TTL on another attribute", async () => {
        const tableName = context.newTableName();
        await context.open({ tableName }).createTable();
        const store = context.open({ tableName, attributes: { ttl: "removeAt" } });
        await expect(store.createTable()).rejects.toMatchObject({
          code: "ERR_STORE_TABLE_MISMATCH",
          message: expect.stringMatching(new RegExp(`"${tableName}" has TTL on "ttl", but .* "removeAt"`)),
        });
      });

      it("enables TTL on a table that is there without", async () => {
        const store = context.open({ tableName: context.newTableName() });
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

    describe("TTL that cannot be enabled", () => {
      const rejected = {
        __type: "com.amazonaws.dynamodb.v20120810#ValidationException",
        message: "Too many changes",
      };

      it.each(["DISABLING", "DISABLED"])("is an error that says so, with the status %s", async status => {
        const { traffic } = context;
        traffic.next("UpdateTimeToLive", async () => ({ statusCode: 400, body: rejected }));
        traffic.next("DescribeTimeToLive", async () => ({
          statusCode: 200,
          body: { TimeToLiveDescription: { TimeToLiveStatus: status } },
        }));
        await expect(context.open().createTable()).rejects.toMatchObject({
          code: "ERR_STORE_UNAVAILABLE",
          message: expect.stringMatching(
            new RegExp(`TTL could not be enabled on "ttl" of the table .*"${context.tableName}".*${status}`),
          ),
          cause: { message: "Too many changes" },
        });
      });

      it("is none if another process is enabling it", async () => {
        const { traffic } = context;
        traffic.next("UpdateTimeToLive", async () => ({ statusCode: 400, body: rejected }));
        traffic.next("DescribeTimeToLive", async () => ({
          statusCode: 200,
          body: { TimeToLiveDescription: { TimeToLiveStatus: "ENABLING", AttributeName: "ttl" } },
        }));
        await context.open().createTable();
      });
    });

    it("fails on a closed store", async () => {
      const store = context.open();
      await store.close();
      await expect(store.createTable()).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
    });

    it("can be cancelled, with the reason of the signal", async () => {
      const signal = AbortSignal.abort(new Error("cancelled"));
      await expect(context.open({ tableName: "never" }).createTable({ signal })).rejects.toBe(signal.reason);
    });
  });
}
