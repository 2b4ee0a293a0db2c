// What the application does with its sessions. Nothing here depends on which store keeps them.

const express = require("express");
const { addOne, countOf, itemsOf, products, setQuantity } = require("./cart.js");
const views = require("./views.js");

const MAX_NAME_LENGTH = 40;

/** The pages and forms. `clearCookie` removes the session's cookie from the browser. */
function routes(store, clearCookie) {
  const router = express.Router();

  router.get("/sign-in", (req, res) => {
    if (isSignedIn(req)) return res.redirect(303, "/");
    res.send(views.signIn(contextOf(req)));
  });

  router.post("/sign-in", async (req, res) => {
    const name = field(req, "name");
    if (name === "" || name.length > MAX_NAME_LENGTH) {
      const problem = `A name has 1 to ${MAX_NAME_LENGTH} characters.`;
      return res.status(422).send(views.signIn(contextOf(req), { problem, name }));
    }
    // A new id, whatever was there: one that somebody planted in the browser must not become a signed-in one.
    await settled(callback => req.session.regenerate(callback));
    Object.assign(req.session, { name, signedInAt: Date.now(), views: 0 });
    await save(req);
    res.redirect(303, "/");
  });

  router.use((req, res, next) => {
    if (isSignedIn(req)) return next();
    res.redirect(303, "/sign-in");
  });

  router.get("/", async (req, res) => {
    req.session.views += 1;
    await save(req);
    const { session } = req;
    const { timeouts } = req.app.locals;
    const shelf = [...products.values()];
    res.send(views.shop(contextOf(req), { session, timeouts, shelf, items: itemsOf(session) }));
  });

  router.post("/cart/add", async (req, res) => {
    addOne(req.session, productId(req));
    await save(req);
    res.redirect(303, "/");
  });

  router.post("/cart/update", async (req, res) => {
    const quantity = field(req, "quantity");
    if (!/^\d{1,3}$/.test(quantity)) throw badRequest("A quantity is a whole number from 0.");
    setQuantity(req.session, productId(req), Number(quantity));
    await save(req);
    res.redirect(303, "/");
  });

  router.post("/cart/remove", async (req, res) => {
    setQuantity(req.session, productId(req), 0);
    await save(req);
    res.redirect(303, "/");
  });

  // A real application would show this to its administrators, and go through `store.entries()`: `all()` holds every
  // session in memory. The ids are the keys to the sessions, so they stay here.
  router.get("/sessions", async (req, res) => {
    const sessions = (await store.all()).filter(isOurs).map(session => ({
      own: session.id === req.sessionID,
      name: session.name,
      signedInAt: session.signedInAt,
      expiresAt: Date.parse(session.cookie.expires),
      views: session.views,
      cartCount: countOf(session),
    }));
    sessions.sort((a, b) => b.own - a.own || b.signedInAt - a.signedInAt);
    res.send(views.sessions(contextOf(req), { sessions }));
  });

  router.post("/sign-out", async (req, res) => {
    await settled(callback => req.session.destroy(callback));
    clearCookie(res);
    res.redirect(303, "/sign-in");
  });

  // A request of theirs that is under way cannot bring such a session back when it saves: the store sees to that.
  router.post("/sign-out-elsewhere", async (req, res) => {
    const others = (await store.all()).filter(
      session => isOurs(session) && session.name === req.session.name && session.id !== req.sessionID,
    );
    await Promise.all(others.map(({ id }) => store.destroy(id)));
    res.redirect(303, "/sessions");
  });

  return router;
}

function isSignedIn(req) {
  return req.session.name !== undefined;
}

/** Whether this application made a session. Another that has the same prefix in the backend may have made it. */
function isOurs({ name, signedInAt, views, cookie }) {
  const times = [signedInAt, Date.parse(cookie?.expires)];
  return typeof name === "string" && Number.isInteger(views) && times.every(isTime);
}

/** Whether a value is epoch milliseconds that a Date can have. */
function isTime(value) {
  return typeof value === "number" && !Number.isNaN(new Date(value).getTime());
}

/**
 * Saves the session before the answer. express-session would save it by itself, but only when most of the answer is
 * out: a browser could follow a redirect and find the session as it was, and a failure could not be told any more.
 */
function save(req) {
  // Saved with its new expiry, so that the touch at the end of the request has nothing left to write.
  req.session.touch();
  return settled(callback => req.session.save(callback));
}

/** express-session's methods take callbacks. */
function settled(call) {
  return new Promise((resolve, reject) => {
    call(error => (error ? reject(error) : resolve()));
  });
}

/** What every page shows. */
function contextOf(req) {
  return { userName: req.session.name, storeName: req.app.locals.storeName };
}

/** A field of the form: a string, whatever was sent. */
function field(req, name) {
  const value = req.body?.[name];
  return typeof value === "string" ? value.trim() : "";
}

function productId(req) {
  const id = field(req, "product");
  if (!products.has(id)) throw badRequest("There is no such product.");
  return id;
}

function badRequest(message) {
  return Object.assign(new Error(message), { status: 400, expose: true });
}

module.exports = { routes };
