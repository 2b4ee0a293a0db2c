// A worker of cluster.test.ts: an application over the built FileStore, whose path is the argument. It listens on the
// port that all workers share, and on its own. At a gate, a route reports its request to the primary, and waits until
// the primary opens the gate.

const { once } = require("node:events");
const express = require("express");
const session = require("express-session");
const { FileStore } = require("express-session-stores/file");

const store = new FileStore({ path: process.argv[2] });
const gates = new Map();

/** Holds a request at a gate. */
function pass(name) {
  process.send({ reached: name });
  return new Promise(open => gates.set(name, [...(gates.get(name) ?? []), open]));
}

process.on("message", ({ open }) => {
  for (const go of gates.get(open) ?? []) go();
  gates.delete(open);
});

const app = express();
app.use(session({ store, secret: "keyboard cat", resave: false, saveUninitialized: false }));

app.get("/", (req, res) => {
  const { cookie, ...fields } = req.session;
  res.json(fields);
});

app.post("/sign-in", (req, res) => {
  req.session.user = req.query.user;
  res.json(null);
});

app.post("/sign-out", (req, res, next) => {
  req.session.destroy(error => (error ? next(error) : res.json(null)));
});

// The response contains the process that served it.
app.post("/set", async (req, res) => {
  const { gate, ...changes } = req.query;
  if (gate !== undefined) await pass(gate);
  Object.assign(req.session, changes);
  res.json(process.pid);
});

app.post("/cleanup", async (_req, res) => res.json(await store.cleanup()));

async function listen() {
  const shared = app.listen(0);
  const own = app.listen({ port: 0, exclusive: true });
  await Promise.all([once(shared, "listening"), once(own, "listening")]);
  process.send({ shared: shared.address().port, own: own.address().port });
}

void listen();
