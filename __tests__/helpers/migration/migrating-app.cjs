// An application in its own process whose sessions move from one store to another. Its argument is JSON with the stores
// and the stage. It reports its port when it listens. On the message "copyBack" it copies back and responds, and on
// "drain" it ends after the response to its last request.

const { setTimeout: sleep } = require("node:timers/promises");
const { createClient } = require("@redis/client");
const { RedisStore } = require("connect-redis");
const express = require("express");
const session = require("express-session");
const { createStore } = require("express-session-stores");
const { MigratingStore } = require("express-session-stores/migrate");

const SECONDS = 3600;
const { from, to, stage } = JSON.parse(process.argv[2]);

const oldStores = {
  "connect-redis": ({ url, prefix }) => {
    const client = createClient({ url });
    client.connect();
    return new RedisStore({ client, prefix, ttl: SECONDS });
  },
  "session-file-store": ({ path }) => {
    const FileStore = require("session-file-store")(session);
    return new FileStore({ path, ttl: SECONDS, reapInterval: -1, retries: 0, logFn() {} });
  },
  own: ({ url }) => createStore(url),
};

const store = new MigratingStore({ from: oldStores[from.kind](from), to: createStore(to), stage });

const app = express();
app.use(
  session({
    store,
    secret: "keyboard cat",
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: SECONDS * 1000 },
  }),
);
app.get("/", (req, res) => {
  const { cookie, __lastAccess, ...fields } = req.session;
  res.json(fields);
});
app.post("/sign-in", (req, res, next) => {
  req.session.regenerate(error => {
    if (error) return next(error);
    req.session.user = req.query.user;
    res.json(null);
  });
});
app.post("/sign-out", (req, res, next) =>
  req.session.destroy(error => (error ? next(error) : res.json(null))),
);
app.post("/set", async (req, res) => {
  await sleep(Number(req.query.ms));
  // If a sign-out overtook the request, then its session is empty. Without a change, the session is not saved.
  if (req.session.user !== undefined) req.session[req.query.key] = true;
  res.json(null);
});
app.use((error, req, res, _next) => {
  req.session = null;
  res.status(500).json(String(error.cause?.message ?? error));
});

const server = app.listen(0, "127.0.0.1", () => process.send({ port: server.address().port }));
process.on("message", async message => {
  if (message === "drain") return server.close(() => process.exit());
  for await (const _count of store.copyBack()) {
    // The range covers every session.
  }
  process.send("copied back");
});
