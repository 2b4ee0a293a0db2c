// An application in a process of its own, so that what it holds can be measured: start it with --expose-gc. The argument
// says which store, as JSON. It tells its port when it listens, and answers each message with what that asks for.

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
    // Without its circuit breaker: else most calls would never be sent during an outage.
    const faultHandling = { host: () => ({ execute: call => call({}) }) };
    return new EtcdStore({ client: new Etcd3({ hosts: endpoint, faultHandling }), timeoutMs });
  },
};
const store = stores[kind]();

let slowestMs = 0;
const eventLoop = monitorEventLoopDelay({ resolution: 10 });
eventLoop.enable();

const app = express();
// As the application sees it: who sends many at once waits for the connection first.
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
  // Or express-session would turn to the failing store once more.
  req.session = null;
  res.status(503).json(error.code);
});

const tasks = {
  /**
   * What the process holds when it has come to rest; how long a request took since the last time at most, and for how
   * long the process was held up at most.
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

  /** Reads so many sessions at once, of which one in ten is there. */
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
