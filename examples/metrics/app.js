// Metrics of the session store for Prometheus. In your own project: `npm install prom-client`. Here:
//
//   npm run build && node examples/metrics/app.js
//
// Then open http://localhost:3000 a few times, and http://localhost:3000/metrics.

const { subscribe } = require("node:diagnostics_channel");
const express = require("express");
const session = require("express-session");
const { MemoryStore } = require("express-session-stores/memory");
const { Counter, Histogram, register } = require("prom-client");

const durations = new Histogram({
  name: "session_store_operation_duration_seconds",
  help: "How long the operations of the session stores took.",
  labelNames: ["store", "operation", "outcome"],
  buckets: [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
});
const errors = new Counter({
  name: "session_store_errors_total",
  help: "How many operations of the session stores failed.",
  labelNames: ["store", "operation", "code"],
});

// The metrics cover all stores of the process. `sidHash` is no label, because each value of a label is a separate time
// series.
subscribe("express-session-stores:operation", ({ store, operation, durationMs, outcome, errorCode }) => {
  durations.observe({ store, operation, outcome }, durationMs / 1000);
  if (outcome === "error") errors.inc({ store, operation, code: errorCode });
});

const app = express();

// Before the sessions, because Prometheus needs none. In your own application, do not make this page public.
app.get("/metrics", async (_req, res) => {
  res.type(register.contentType).send(await register.metrics());
});

app.use(
  session({
    store: new MemoryStore({ max: 100_000 }),
    secret: process.env.SESSION_SECRET || "change me",
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 30 * 60 * 1000 },
  }),
);

app.get("/", (req, res) => {
  req.session.views = (req.session.views ?? 0) + 1;
  res.send(`Views: ${req.session.views}. What that took is at /metrics.\n`);
});

const server = app.listen(process.env.PORT || 3000, error => {
  if (error) throw error;
  console.log(`http://localhost:${server.address().port}`);
});
