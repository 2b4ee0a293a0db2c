// Users who sign in with Passport, see their sessions and end them:
//
//   npm run build && node examples/passport/app.js
//   curl -c jar -d 'username=ann&password=tea' http://localhost:3000/sign-in
//   curl -b jar http://localhost:3000/devices

const { timingSafeEqual } = require("node:crypto");
const express = require("express");
const session = require("express-session");
const { FileStore } = require("express-session-stores/file");
const { Passport } = require("passport");
const { Strategy } = require("passport-local");

// A real application keeps hashes of passwords in its database.
const passwords = new Map([
  ["ann", "tea"],
  ["bob", "coffee"],
]);

/** The option `user` of the store. Passport keeps the result of `serializeUser` in the session. */
const user = session => session.passport?.user;

/** @param store - any store of the package, with the option {@link user} */
function createApp(store, secret) {
  const passport = new Passport();
  passport.use(
    new Strategy((name, password, done) => done(null, isPasswordOf(name, password) ? { name } : false)),
  );
  passport.serializeUser(({ name }, done) => done(null, name));
  passport.deserializeUser((name, done) => done(null, passwords.has(name) ? { name } : false));

  const app = express();
  app.use(express.urlencoded({ extended: false, limit: "4kb" }));
  app.use(
    session({ store, secret, resave: false, saveUninitialized: false, cookie: { maxAge: 30 * 60 * 1000 } }),
  );
  app.use(passport.session());

  // Passport regenerates the session, and saves it before it responds.
  app.post("/sign-in", passport.authenticate("local"), (req, res) => {
    req.session.browser = req.get("user-agent");
    res.json({ name: req.user.name });
  });

  app.use((req, res, next) => (req.user ? next() : res.status(401).json({ error: "Sign in first" })));

  app.get("/devices", async (req, res) => {
    const devices = [];
    for await (const found of store.findByUser(req.user.name, { current: req.sessionID })) {
      const { handle, createdAt, activeAt, isCurrent } = found;
      devices.push({ handle, browser: found.session.browser, createdAt, activeAt, isCurrent });
    }
    res.json(devices);
  });

  app.post("/devices/end", async (req, res) => {
    try {
      await store.destroyByHandle(req.user.name, String(req.body?.handle));
    } catch (error) {
      // The session has already ended, or belongs to another user. Only the list matters.
      if (error.code !== "ERR_SESSION_NOT_FOUND") throw error;
    }
    res.redirect(303, "/devices");
  });

  app.post("/devices/end-others", async (req, res) => {
    const ended = await store.destroyByUser(req.user.name, { except: req.sessionID });
    res.json({ ended });
  });

  app.post("/sign-out", (req, res, next) => {
    req.session.destroy(error => (error ? next(error) : res.json(null)));
  });
  return app;
}

function isPasswordOf(name, password) {
  const [expected, given] = [Buffer.from(passwords.get(name) ?? ""), Buffer.from(password)];
  return expected.length > 0 && expected.length === given.length && timingSafeEqual(expected, given);
}

module.exports = { createApp, user };

if (require.main === module) {
  const store = new FileStore({ path: ".data/example-passport/sessions.lmdb", user });
  const app = createApp(store, process.env.SESSION_SECRET || "change me");
  const server = app.listen(process.env.PORT || 3000, error => {
    if (error) throw error;
    console.log(`http://localhost:${server.address().port}`);
  });
}
