// The routes, which use the session. Nothing here depends on the store.

const express = require("express");
const { addOne, countOf, itemsOf, products, setQuantity } = require("./cart.js");
const { contextOf, field, save, settled, visitorError } = require("./requests.js");
const { userRoutes } = require("./user-routes.js");
const { trial } = require("./trial-view.js");
const { DEFAULT_ROLE, isOurs, userOf } = require("./users.js");
const views = require("./views.js");

const MAX_NAME_LENGTH = 40;
/** The most characters of a User-Agent that are kept, because a longer one would only fill the session. */
const MAX_USER_AGENT_LENGTH = 400;

/** The routes of the pages and forms. `clearCookie` removes the session's cookie from the browser. */
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
    // Always a new id. An attacker may have planted the old id in the browser, and must not get a signed-in session by
    // it.
    await settled(callback => req.session.regenerate(callback));
    const userAgent = req.get("user-agent")?.slice(0, MAX_USER_AGENT_LENGTH);
    Object.assign(req.session, { name, role: DEFAULT_ROLE, userAgent, signedInAt: Date.now(), views: 0 });
    await save(req);
    res.redirect(303, "/");
  });

  router.use((req, res, next) => {
    if (isSignedIn(req)) return next();
    res.redirect(303, "/sign-in");
  });

  router.get("/", async (req, res) => {
    const { session } = req;
    const { cartChange } = session;
    delete session.cartChange;
    session.views += 1;
    await save(req);
    const { timeouts } = req.app.locals;
    const { role = DEFAULT_ROLE } = session;
    const shelf = [...products.values()];
    const items = itemsOf(session);
    res.send(views.shop(contextOf(req), { session, role, timeouts, shelf, items, change: cartChange }));
  });

  router.post("/cart/add", async (req, res) => {
    const product = productId(req);
    addOne(req.session, product);
    await redirectAfterChange(req, res, { product, place: "shelf" });
  });

  router.post("/cart/update", async (req, res) => {
    const quantity = field(req, "quantity");
    if (!/^\d{1,3}$/.test(quantity)) throw visitorError(400, "A quantity is a whole number from 0.");
    const product = productId(req);
    setQuantity(req.session, product, Number(quantity));
    await redirectAfterChange(req, res, { product, place: Number(quantity) > 0 ? "line" : "cart" });
  });

  router.post("/cart/remove", async (req, res) => {
    const product = productId(req);
    setQuantity(req.session, product, 0);
    await redirectAfterChange(req, res, { product, place: "cart" });
  });

  // Ids are credentials, so they are not shown. A real application shows this list only to its administrators. It uses
  // `store.entries()`, because `all()` holds every session in memory.
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

  router.get("/try", (req, res) => {
    res.send(trial(contextOf(req)));
  });

  router.post("/sign-out", async (req, res) => {
    await settled(callback => req.session.destroy(callback));
    clearCookie(res);
    res.redirect(303, "/sign-in");
  });

  router.use(userRoutes(store));

  return router;
}

/** The id of the control that the visitor used. The browser scrolls to it and moves the focus there. */
const fragments = {
  shelf: product => `add-${product}`,
  line: product => `update-${product}`,
  // The line of the product is no longer on the page.
  cart: () => "cart",
};

/** Redirects to the place of the page where the visitor was. The page shows `change` there, once. */
async function redirectAfterChange(req, res, change) {
  req.session.cartChange = change;
  await save(req);
  res.redirect(303, `/#${fragments[change.place](change.product)}`);
}

function isSignedIn(req) {
  return userOf(req.session) !== undefined;
}

function productId(req) {
  const id = field(req, "product");
  if (!products.has(id)) throw visitorError(400, "There is no such product.");
  return id;
}

module.exports = { routes };
