// Counts what clients send: proxies in front of an engine, and a counter of a client's calls.
import { Agent, createServer as createHttpServer, request as httpRequest } from "node:http";
import { connect, createServer } from "node:net";
import { buffer } from "node:stream/consumers";

function listen(server) {
  return new Promise(resolve => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

/**
 * A proxy for a DynamoDB engine. It counts the requests and the bytes of their bodies, and asks the engine for the
 * consumed capacity.
 */
export async function dynamodbProxy(endpoint) {
  const { hostname, port } = new URL(endpoint);
  const agent = new Agent({ keepAlive: true });
  const counted = { requests: 0, writes: 0, readUnits: 0, writeUnits: 0, bytes: 0 };
  const server = createHttpServer(async (req, res) => {
    const body = await buffer(req);
    const name = req.headers["x-amz-target"].split(".")[1];
    const isWrite = /Put|Update|Delete|Write/.test(name);
    counted.requests += 1;
    counted.bytes += body.length;
    if (isWrite) counted.writes += 1;
    const asked = JSON.stringify({ ...JSON.parse(body), ReturnConsumedCapacity: "TOTAL" });
    const forwarded = httpRequest({
      agent,
      hostname,
      port,
      method: req.method,
      path: req.url,
      headers: { ...req.headers, "content-length": Buffer.byteLength(asked) },
    });
    forwarded.end(asked);
    forwarded.once("response", async answer => {
      const text = await buffer(answer);
      const { ConsumedCapacity = [] } = JSON.parse(text);
      for (const { CapacityUnits } of [ConsumedCapacity].flat()) {
        counted[isWrite ? "writeUnits" : "readUnits"] += CapacityUnits;
      }
      res.writeHead(answer.statusCode, answer.headers);
      res.end(text);
    });
  });
  const url = `http://127.0.0.1:${await listen(server)}`;
  const close = () => {
    server.closeAllConnections();
    server.close();
    agent.destroy();
  };
  return { url, counted, close };
}

/** A proxy for any engine. It counts the bytes that are sent to the engine. */
export async function tcpProxy(endpoint) {
  const { hostname, port, protocol } = new URL(endpoint);
  const counted = { requests: 0, bytes: 0 };
  const sockets = new Set();
  const server = createServer(client => {
    const engine = connect(Number(port), hostname);
    client.on("data", chunk => {
      counted.bytes += chunk.length;
    });
    client.pipe(engine).pipe(client);
    for (const socket of [client, engine]) {
      sockets.add(socket);
      socket.setNoDelay(true).on("error", () => {});
    }
  });
  const url = `${protocol}//127.0.0.1:${await listen(server)}`;
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url, counted, close };
}

/** Counts the calls of some methods of a client as requests. */
export function countCalls(object, names, counted) {
  for (const name of names) {
    const method = object[name].bind(object);
    object[name] = (...args) => {
      counted.requests += 1;
      return method(...args);
    };
  }
}
