// Helpers of the routes for requests and sessions.

const { countOf } = require("./cart.js");
const { isAdministrator, userOf } = require("./users.js");

/**
 * Saves the session before the response. express-session saves it by itself, but only after most of the response was
 * sent. Then a browser could follow a redirect and find the old session, and a failure could not be reported.
 */
function save(req) {
  // Saves the session with its new expiry, so that the touch at the end of the request has nothing to write.
  req.session.touch();
  return settled(callback => req.session.save(callback));
}

/** Makes a promise of a method of express-session, which takes a callback. */
function settled(call) {
  return new Promise((resolve, reject) => {
    call(error => (error ? reject(error) : resolve()));
  });
}

/** Redirects to a page that shows `notice` once. The session carries the notice, because a link could be forged. */
async function redirectWithNotice(req, res, path, notice) {
  req.session.notice = notice;
  await save(req);
  // The notice gets the focus, so that Tab continues from there.
  res.redirect(303, `${path}#notice`);
}

/** Returns the notice for this page, and removes it, so that no other page shows it again. */
async function takeNotice(req) {
  const { notice } = req.session;
  if (notice === undefined) return undefined;
  delete req.session.notice;
  await save(req);
  return notice;
}

/** The values that every page shows. */
function contextOf({ session, path, app }) {
  // If the store failed, the request has no session.
  const userName = session ? userOf(session) : undefined;
  return {
    userName,
    isAdministrator: isAdministrator(userName),
    cartCount: userName === undefined ? 0 : countOf(session),
    path,
    storeName: app.locals.storeName,
  };
}

/** Returns a field of the form, always as a string, whatever the browser sent. */
function field(req, name) {
  const value = req.body?.[name];
  return typeof value === "string" ? value.trim() : "";
}

/** An error whose message is for the visitor. */
function visitorError(status, message) {
  return Object.assign(new Error(message), { status, expose: true });
}

module.exports = { contextOf, field, redirectWithNotice, save, settled, takeNotice, visitorError };
