// The requests of the page "Try to lose something". Each store gets the same requests, in separate sessions.

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const express = require("express");
const session = require("express-session");
const { notFound } = require("./errors.js");
const { field, save, settled, visitorError } = require("./requests.js");

const CHANGES = 20;
/** How long a request works between loading and saving its session, like a real request that calls a database. */
const WORK_MS = 100;
/** The same for the request that the sign-out overtakes. */
const SLOW_WORK_MS = 1000;
/** A limit for abandoned trials. A trial ends its sessions by itself, unless the visitor leaves the page. */
const LIFETIME_MS = 60 * 1000;

const keyOf = number => `change:${number}`;

/**
 * Routes for a trial of the application's store under `/try/store`, and of express-session's MemoryStore under
 * `/try/memory`. They come before the application's session, because express-session skips a request that already has
 * one.
 */
function trials(store, secret) {
  const router = express.Router();
  const memoryStore = new session.MemoryStore();
  router.use("/try/store", trialOf(store, { secret, path: "/try/store", cookieName: "try-store.sid" }));
  // MemoryStore deletes an expired session only when it is read or listed.
  router.post("/try/memory/begin", (_req, _res, next) => memoryStore.all(() => next()));
  router.use(
    "/try/memory",
    trialOf(memoryStore, { secret, path: "/try/memory", cookieName: "try-memory.sid" }),
  );
  return router;
}

function trialOf(store, { secret, path, cookieName }) {
  const router = express.Router();
  const cookie = { httpOnly: true, sameSite: "lax", secure: "auto", path, maxAge: LIFETIME_MS };
  router.use(
    session({
      name: cookieName,
      secret,
      store,
      cookie,
      rolling: true,
      resave: false,
      saveUninitialized: false,
    }),
  );
  router.use((_req, res, next) => {
    res.set("Cache-Control", "no-store");
    next();
  });

  router.post("/begin", async (req, res) => {
    await settled(callback => req.session.regenerate(callback));
    req.session.trial = randomUUID();
    await save(req);
    res.json({ trial: req.session.trial });
  });

  // Tabs share their cookies. The name of the trial shows whether another tab has begun one.
  router.get("/state", (req, res) => {
    const numbers = Array.from({ length: CHANGES }, (_, number) => number);
    const kept = numbers.filter(number => req.session[keyOf(number)] === true);
    res.json({ kept, trial: req.session.trial });
  });

  router.use((req, _res, next) => {
    next(hasBegun(req) ? undefined : visitorError(409, "This trial has not begun, or has ended."));
  });

  router.post("/change", async (req, res) => {
    const number = field(req, "number");
    if (!/^\d{1,2}$/.test(number) || Number(number) >= CHANGES) {
      throw visitorError(400, `The changes have the numbers 0 to ${CHANGES - 1}.`);
    }
    await sleep(WORK_MS);
    req.session[keyOf(Number(number))] = true;
    await save(req);
    res.json({});
  });

  // The times show whether the sign-out really fell between loading and saving.
  router.post("/slow", async (req, res) => {
    const loadedAt = Date.now();
    await sleep(SLOW_WORK_MS);
    req.session.isSlow = true;
    const savedAt = Date.now();
    await save(req);
    res.json({ loadedAt, savedAt });
  });

  router.post("/end", async (req, res) => {
    const beganAt = Date.now();
    await settled(callback => req.session.destroy(callback));
    res.clearCookie(cookieName, { path });
    res.json({ beganAt, endedAt: Date.now() });
  });

  router.use(notFound);
  return router;
}

function hasBegun({ session }) {
  return session?.trial !== undefined;
}

module.exports = { CHANGES, SLOW_WORK_MS, WORK_MS, trials };
