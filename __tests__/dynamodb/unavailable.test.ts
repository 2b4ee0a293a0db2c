import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { invoke, methodNames } from "../../lib/conformance/observe.js";
import { DynamoDBStore } from "../../lib/dynamodb/store.js";
import { clientAt } from "./suite/context.js";

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
    // Two calls, because simultaneous reads are sent together.
    const calls = [invoke(store, method), invoke(store, method)];
    // Blocks the process before the calls are sent. Timers that start then come before the other timers.
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
