import { createRequire } from "node:module";
import { startDynalite } from "../../scripts/engines.mjs";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const session = require("../../node_modules/express-session");
const { DynamoDBClient } = require("../../node_modules/@aws-sdk/client-dynamodb");
const lib = require("../../node_modules/@aws-sdk/lib-dynamodb");
const { DynamoDBStore } = require("../../dist/dynamodb.js");

export const counts = { 1: 300, 16: 800, 64: 1600 };

const engine = await startDynalite();
const settings = {
  endpoint: engine.endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: "local", secretAccessKey: "local" },
};
export const stop = () => engine.stop();

const tables = new DynamoDBClient(settings);
for (const tableName of ["ours", "raw", "peer"])
  await new DynamoDBStore({ client: tables, tableName }).createTable();

/** As many sockets as operations are in flight, for each contender. */
function newClient() {
  return new DynamoDBClient({
    ...settings,
    requestHandler: { httpAgent: { maxSockets: 64, keepAlive: true } },
  });
}

export const contenders = {
  ours: async () => {
    const client = newClient();
    const store = new DynamoDBStore({ client, tableName: "ours", touchAfter: 0 });
    return fromStore(store, () => client.destroy());
  },
  "connect-dynamodb": async () => {
    const client = newClient();
    const Store = require("connect-dynamodb")(session);
    const store = new Store({ client, table: "peer", initialized: true });
    // A touch moves an attribute, which `get` does not tell.
    return { ...fromStore(store, () => client.destroy()), touchIsRead: false };
  },
  "raw DocumentClient": async () => {
    const base = newClient();
    const client = lib.DynamoDBDocumentClient.from(base);
    const TableName = "raw";
    return fromClient({
      set: (id, value) =>
        client.send(new lib.PutCommand({ TableName, Item: { id, data: JSON.stringify(value) } })),
      get: async id => {
        const { Item } = await client.send(
          new lib.GetCommand({ TableName, Key: { id }, ConsistentRead: true }),
        );
        return Item ? JSON.parse(Item.data) : null;
      },
      touch: id =>
        client.send(
          new lib.UpdateCommand({
            TableName,
            Key: { id },
            UpdateExpression: "SET #e = :e",
            ExpressionAttributeNames: { "#e": "expires" },
            ExpressionAttributeValues: { ":e": Date.now() },
          }),
        ),
      destroy: id => client.send(new lib.DeleteCommand({ TableName, Key: { id } })),
      close: () => base.destroy(),
    });
  },
};
