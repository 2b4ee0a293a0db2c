// The pages for failed requests. Each says what happened, and no request hangs.

const { STATUS_CODES } = require("node:http");
const { contextOf } = require("./requests.js");
const views = require("./views.js");

const RETRY_AFTER_SECONDS = "5";

const storeProblems = {
  ERR_STORE_UNAVAILABLE:
    "The session store cannot be reached right now, so this could not be done. Nobody is signed out by that; try again shortly.",
  ERR_STORE_TIMEOUT:
    "The session store did not answer in time. If you changed something, look whether it was done before you repeat it.",
  ERR_STORE_CLOSED: "The server is shutting down. Try again shortly.",
  ERR_STORE_TABLE_MISSING: "The table of the session store does not exist.",
};

function notFound(_req, _res, next) {
  next(Object.assign(new Error("There is no such page."), { status: 404, expose: true }));
}

/** Express's error handler, which Express recognizes by its four parameters. */
function handleError(error, req, res, next) {
  // Compares codes, not classes, because the stores promise the codes.
  const storeProblem = storeProblems[error.code];
  const status = storeProblem ? 503 : (error.status ?? 500);
  if (status >= 500) console.error(error);

  // The touch at the end of a request failed, so the visitor already has a good response.
  if (res.writableEnded) return;
  if (res.headersSent) return next(error);

  if (storeProblem) {
    // Otherwise express-session calls the failing store again, and the visitor waits for that call as well.
    req.session = null;
    res.set("Retry-After", RETRY_AFTER_SECONDS);
  }
  const problem = storeProblem ?? (error.expose ? error.message : "Something went wrong on the server.");
  const page = { status, title: STATUS_CODES[status], problem, code: storeProblem && error.code };
  res
    .status(status)
    .set("Cache-Control", "no-store")
    .send(views.error(contextOf(req), page));
}

module.exports = { handleError, notFound };
