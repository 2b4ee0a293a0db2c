// Protection against cross-site request forgery without tokens. A browser says where a request comes from, and a page
// of another site cannot change that. The `sameSite` cookie alone is not enough, because sibling subdomains are the
// same site, and a sign-in needs no cookie. Go's net/http.CrossOriginProtection works like this.

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** Middleware that rejects requests from pages of another origin if they would change something. */
function sameOrigin(req, _res, next) {
  if (SAFE_METHODS.has(req.method) || isSameOrigin(req)) return next();
  const error = new Error("The form was sent from a page of another site, so nothing was done.");
  next(Object.assign(error, { status: 403, expose: true }));
}

function isSameOrigin(req) {
  const site = req.get("sec-fetch-site");
  // "none": the user started the request, for example from a bookmark.
  if (site !== undefined) return site === "same-origin" || site === "none";
  const origin = req.get("origin");
  // Browsers send at least one of the two headers with such a request. curl sends neither, but nobody can forge its
  // requests.
  if (origin === undefined) return true;
  // The host as the browser used it. A proxy in front must pass it on.
  return URL.canParse(origin) && new URL(origin).host === req.get("host");
}

module.exports = { sameOrigin };
