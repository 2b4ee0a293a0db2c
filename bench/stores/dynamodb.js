import { createRequire } from "node:module";
import { startDynalite } from "../../scripts/engines.mjs";
import { versionsOf } from "../lib/baseline.js";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const session = require("../../node_modules/express-session");

export const limits = ["raw DocumentClient"];
export const versions = [
  "@aws-sdk/lib-dynamodb",
  "connect-dynamodb",
  "dynamodb-store",
  "aws-sdk",
  "dynalite",
];

const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const region = "us-east-1";

export async function start() {
  const engine = await startDynalite();
  const at = { dynamodb: engine.endpoint };
  const { DynamoDBStore } = require("../../dist/dynamodb.js");
  const client = newClient(at);
  for (const tableName of ["ours", "connect-dynamodb", "dynamodb-store", "raw"])
    await new DynamoDBStore({ client, tableName }).createTable();
  client.destroy();
  return { at, stop: () => engine.stop() };
}

/** As many sockets as operations in flight, for each contender. */
function newClient({ dynamodb }) {
  const { DynamoDBClient } = require("../../node_modules/@aws-sdk/client-dynamodb");
  return new DynamoDBClient({
    endpoint: dynamodb,
    region,
    credentials,
    requestHandler: { httpAgent: { maxSockets: 64, keepAlive: true } },
  });
}

export const contenders = {
  ...versionsOf(dist => async (at, options) => {
    const { DynamoDBStore } = require(dist("dynamodb.js"));
    const client = newClient(at);
    const store = new DynamoDBStore({ client, tableName: "ours", ...options });
    return fromStore(store, () => client.destroy());
  }),
  "connect-dynamodb": async at => {
    const Store = require("connect-dynamodb")(session);
    const client = newClient(at);
    const store = new Store({ client, table: "connect-dynamodb", initialized: true });
    // A touch changes an attribute that `get` does not return.
    return { ...fromStore(store, () => client.destroy()), touchIsRead: false };
  },
  "dynamodb-store": async (at, { touchAfter } = {}) => {
    process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
    const Store = require("dynamodb-store").default ?? require("dynamodb-store");
    const agent = new (require("node:http").Agent)({ maxSockets: 64, keepAlive: true });
    const store = await new Promise((resolve, reject) => {
      const opened = new Store(
        {
          table: { name: "dynamodb-store", hashKey: "id" },
          dynamoConfig: { endpoint: at.dynamodb, region, credentials, httpOptions: { agent } },
          ...(touchAfter === 0 && { touchInterval: 0 }),
        },
        // Resolves after the store has checked that its table exists.
        error => (error ? reject(error) : setImmediate(() => resolve(opened))),
      );
    });
    return { ...fromStore(store, () => agent.destroy()), touchIsRead: false };
  },
  "raw DocumentClient": async at => {
    const lib = require("../../node_modules/@aws-sdk/lib-dynamodb");
    const base = newClient(at);
    const client = lib.DynamoDBDocumentClient.from(base);
    const TableName = "raw";
    const contender = fromClient({
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
    return { ...contender, touchIsRead: false };
  },
};
