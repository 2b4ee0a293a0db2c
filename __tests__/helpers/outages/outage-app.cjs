// An application in its own process, so that its memory can be measured. Start it with --expose-gc. The argument is
// JSON with its store. The application reports its port when it listens, and responds to each message with the result
// of the task.

const { once } = require("node:events");
const { monitorEventLoopDelay } = require("node:perf_hooks");
const { setTimeout: sleep } = require("node:timers/promises");
const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
const { Etcd3 } = require("etcd3");
const express = require("express");
const session = require("express-session");
const { DynamoDBStore } = require("express-session-stores/dynamodb");
const { EtcdStore } = require("express-session-stores/etcd");
const { FileStore } = require("express-session-stores/file");
const { MemoryStore } = require("express-session-stores/memory");

const { kind, endpoint, tableName, path, timeoutMs } = JSON.parse(process.argv[2]);
const stores = {
  memory: () => new MemoryStore({ timeoutMs }),
  file: () => new FileStore({ path, timeoutMs }),
  dynamodb: () => {
    const credentials = { accessKeyId: "local", secretAccessKey: "local" };
    const client = new DynamoDBClient({ endpoint, region: "us-east-1", credentials });
    return new DynamoDBStore({ client, tableName, timeoutMs });
  },
  etcd: () => {
    // No circuit breaker, because otherwise most calls would never be sent during an outage.
    const faultHandling = { host: () => ({ execute: call => call({}) }) };
    return new EtcdStore({ client: new Etcd3({ hosts: endpoint, faultHandling }), timeoutMs });
  },
};
const store = stores[kind]();

let slowestMs = 0;
const eventLoop = monitorEventLoopDelay({ resolution: 10 });
eventLoop.enable();

const app = express();
// The duration as the application sees it. A client with many requests first waits for the connection.
app.use((_req, res, next) => {
  const start = performance.now();
  res.on("finish", () => {
    slowestMs = Math.max(slowestMs, performance.now() - start);
  });
  next();
});
app.use(session({ store, secret: "keyboard cat", resave: false, saveUninitialized: false }));
app.get("/", (req, res) => res.json(req.session.user ?? null));
app.post("/sign-in", (req, res, next) => {
  req.session.regenerate(error => {
    if (error) return next(error);
    req.session.user = req.query.user;
    req.session.save(error => (error ? next(error) : res.json(null)));
  });
});
app.use((error, req, res, _next) => {
  // Otherwise express-session calls the failing store again.
  req.session = null;
  res.status(503).json(error.code);
});

const tasks = {
  /**
   * Measures the process after it has come to rest: its memory, the slowest request since the last measurement, and the
   * longest time that the event loop was held.
   */
  async measure() {
    const times = { slowestMs, heldUpMs: eventLoop.max / 1e6 };
    slowestMs = 0;
    eventLoop.reset();
    for (let round = 0; round < 3; round++) {
      await sleep(100);
      global.gc();
    }
    const { heapUsed, external } = process.memoryUsage();
    return { bytes: heapUsed + external, resources: process.getActiveResourcesInfo(), ...times };
  },

  /** Reads `count` sessions in parallel, of which one in ten exists. */
  async burst({ count }) {
    const sids = Array.from({ length: count }, (_, index) => `sid-${index}`);
    const there = new Set(sids.filter((_, index) => index % 10 === 0));
    const setting = [...there];
    while (setting.length > 0) {
      const some = setting.splice(0, 200);
      await Promise.all(some.map(sid => store.set(sid, { cookie: { originalMaxAge: null }, sid })));
    }
    global.gc();
    const before = process.memoryUsage().rss;
    const start = performance.now();
    const errors = new Map();
    const found = await Promise.all(
      sids.map(sid =>
        store.get(sid).catch(error => errors.set(error.code, (errors.get(error.code) ?? 0) + 1)),
      ),
    );
    const ms = performance.now() - start;
    const grownBytes = process.memoryUsage().rss - before;
    const isRight = (session, index) =>
      (session?.sid ?? null) === (there.has(sids[index]) ? sids[index] : null);
    const wrong = found.filter((session, index) => !isRight(session, index));
    return { wrong: wrong.length, errors: Object.fromEntries(errors), ms, grownBytes };
  },
};

process.on("message", async ({ task, ...options }) => {
  process.send({ result: await tasks[task](options) });
});

const server = app.listen(0, "127.0.0.1");
void once(server, "listening").then(() => process.send({ port: server.address().port }));
