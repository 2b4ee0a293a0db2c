import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { storeConformance } from "../../../lib/conformance.js";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import type { AbstractStore } from "../../../lib/index.js";
import { type Context, MAX_ITEM_BYTES } from "./context.js";

export function testConformance(context: Context): void {
  const { client, tableName } = context;
  const links = new WeakMap<AbstractStore, DynamoDBClient["config"]["requestHandler"]>();
  storeConformance({
    describe,
    it,
    createStore: options => {
      // A separate request handler for each store, so that a test can break it without affecting the others.
      const requestHandler = Object.create(client.config.requestHandler);
      const middlewareStack = client.middlewareStack.clone();
      // The SDK may send a request again after the test.
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
    capabilities: { users: context.engine.hasTransactions, maxSessionBytes: MAX_ITEM_BYTES },
    // DynamoDB Local rejects empty strings.
    putRaw: (_store, key, text) => context.putItem({ id: key, data: text || null }),
    breakBackend: store => {
      const down = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
      Object.assign(links.get(store) as object, { handle: () => Promise.reject(down) });
    },
  });
}
