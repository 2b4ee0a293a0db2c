// An Express application with sessions in one contender: a page to sign in, one that reads the session, one that writes
// it. Reports its port, and ends when its parent disconnects.
import { createRequire } from "node:module";
import { childArguments } from "../lib/child.js";
import { MAX_AGE_MS, newSession } from "../lib/sessions.js";

const require = createRequire(import.meta.url);
const express = require("../../node_modules/express");
const session = require("../../node_modules/express-session");

const { kind, name, at } = childArguments();
const { contenders } = await import(`../stores/${kind}.js`);
// MemoryStore warns that it is not meant for production.
console.warn = () => {};
const contender = await contenders[name](at);

const app = express();
app.use(
  session({
    store: contender.store,
    secret: "of the benchmark",
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: MAX_AGE_MS },
  }),
);
app.get("/login", (req, res) => {
  const { cookie: _cookie, ...content } = newSession(req.sessionID, contender.store);
  Object.assign(req.session, content);
  res.send(req.session.check);
});
app.get("/read", (req, res) => {
  res.send(req.session.check);
});
app.get("/write", (req, res) => {
  req.session.number += 1;
  res.send(String(req.session.number));
});
app.get("/stored", (req, res) => {
  res.send(`${req.session.check} ${req.session.number}`);
});

const server = app.listen(0, "127.0.0.1", () => process.send({ port: server.address().port }));
process.once("disconnect", async () => {
  await contender.close();
  process.exit();
});
