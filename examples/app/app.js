// The application: express-session with any store.

const { randomBytes } = require("node:crypto");
const { join } = require("node:path");
const express = require("express");
const session = require("express-session");
const { handleError, notFound } = require("./errors.js");
const { routes } = require("./routes.js");
const { sameOrigin } = require("./same-origin.js");
const { trials } = require("./trial.js");

const IDLE_TIMEOUT_MS = 30 * 60 * 1000;

const cookieName = "example.sid";
// `auto`: the cookie is sent over HTTPS only if the visitor came that way. Behind a proxy that ends TLS, set Express's
// `trust proxy`.
const cookie = { httpOnly: true, sameSite: "lax", secure: "auto", maxAge: IDLE_TIMEOUT_MS };

const securityHeaders = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
};

/**
 * @param store - any session store
 * @param options - `secret` signs the cookies, by default a random one. `absoluteTimeout` is that of the store, in
 * seconds; the pages show it.
 */
function createApp(store, { secret = randomBytes(32).toString("hex"), absoluteTimeout } = {}) {
  const app = express();
  app.disable("x-powered-by");
  app.locals.storeName = store.constructor.name;
  app.locals.timeouts = { idleMs: IDLE_TIMEOUT_MS, absoluteMs: absoluteTimeout && absoluteTimeout * 1000 };

  app.use((_req, res, next) => {
    res.set(securityHeaders);
    next();
  });
  // Before the session, because stylesheets and forged requests must not load one.
  app.use(express.static(join(__dirname, "public")));
  app.use(sameOrigin);
  app.use(express.urlencoded({ extended: false, limit: "4kb" }));
  app.use(trials(store, secret));
  app.use(
    session({
      name: cookieName,
      secret,
      store,
      cookie,
      // Every response restarts the idle time, also in the browser.
      rolling: true,
      resave: false,
      // A visitor who only looks at the sign-in page gets no session and no cookie.
      saveUninitialized: false,
    }),
  );
  app.use((_req, res, next) => {
    // Otherwise the Back button shows the pages of a user who has signed out.
    res.set("Cache-Control", "no-store");
    next();
  });
  app.use(routes(store, res => res.clearCookie(cookieName)));
  app.use(notFound);
  app.use(handleError);
  return app;
}

module.exports = { createApp };
