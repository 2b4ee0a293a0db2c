// What the routes need of requests and sessions.

const { countOf } = require("./cart.js");
const { isAdministrator, userOf } = require("./users.js");

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

/** Leads to a page that shows `notice`, once. The session carries the notice, because a link could forge it. */
async function redirectWithNotice(req, res, path, notice) {
  req.session.notice = notice;
  await save(req);
  // The notice gets the focus, so that Tab continues from there.
  res.redirect(303, `${path}#notice`);
}

/** The notice for this page, which no other page shows again. */
async function takeNotice(req) {
  const { notice } = req.session;
  if (notice === undefined) return undefined;
  delete req.session.notice;
  await save(req);
  return notice;
}

/** What every page shows. */
function contextOf({ session, path, app }) {
  // After a failure of the store a request has no session.
  const userName = session ? userOf(session) : undefined;
  return {
    userName,
    isAdministrator: isAdministrator(userName),
    cartCount: userName === undefined ? 0 : countOf(session),
    path,
    storeName: app.locals.storeName,
  };
}

/** A field of the form: a string, whatever was sent. */
function field(req, name) {
  const value = req.body?.[name];
  return typeof value === "string" ? value.trim() : "";
}

/** An error whose message is for the visitor. */
function visitorError(status, message) {
  return Object.assign(new Error(message), { status, expose: true });
}

module.exports = { contextOf, field, redirectWithNotice, save, settled, takeNotice, visitorError };
