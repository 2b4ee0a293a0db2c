import { randomUUID } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { DeleteTableCommand, type DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { sids } from "../../lib/conformance/sessions.js";
import { DynamoDBStore } from "../../lib/dynamodb/store.js";
import { dynaliteClient } from "../helpers/engines/engines.js";
import { DynamoDBProxy } from "../helpers/faults/dynamodb-proxy.js";
import { clientAt, saveAll } from "./suite/context.js";

/** Longer than a test may take. */
const TIMEOUT_MS = 60_000;
const HUNG = 8;

describe("requests that hang", () => {
  const tableName = `dynamodb-test-${randomUUID()}`;
  const direct = dynaliteClient();
  let proxy: DynamoDBProxy;
  let client: DynamoDBClient;
  let store: DynamoDBStore;
  const some = sids(200);
  beforeAll(async () => {
    proxy = new DynamoDBProxy({ lostResponse: "hang" });
    client = clientAt(await proxy.start(process.env.DYNALITE_ENDPOINT ?? ""));
    store = new DynamoDBStore({ client, tableName, timeoutMs: TIMEOUT_MS, touchAfter: 0 });
    await new DynamoDBStore({ client: direct, tableName }).createTable();
    await saveAll(new DynamoDBStore({ client: direct, tableName, timeoutMs: TIMEOUT_MS }), some);
  });
  afterAll(async () => {
    await store.close();
    client.destroy();
    await proxy.close();
    await direct.send(new DeleteTableCommand({ TableName: tableName }));
    direct.destroy();
  });

  it("suffer alone: 8 of 200 reads hang, and the others end without them", async () => {
    const hung = some.slice(0, HUNG);
    proxy.intercept(({ name, body }) =>
      name === "GetItem" && hung.some(sid => body.includes(`sess:${sid}"`)) ? "hold" : "forward",
    );
    const cancel = new AbortController();
    const ended: string[] = [];
    const suffering: Promise<unknown>[] = [];
    for (const sid of hung) {
      const read = store.get(sid, { signal: cancel.signal });
      read.catch(() => {}).finally(() => ended.push(sid));
      suffering.push(read);
      // In separate turns of the event loop, so that each call is a separate request.
      await turn();
    }
    const found = await Promise.all(some.slice(HUNG).map(sid => store.get(sid)));
    expect(found).not.toContain(null);
    expect(proxy.held).toHaveLength(HUNG);
    expect(ended).toEqual([]);
    cancel.abort(new Error("gave up"));
    for (const read of suffering) await expect(read).rejects.toBe(cancel.signal.reason);
  });
});
