// Protection against cross-site request forgery without tokens: a browser says where a request comes from, and a page
// of another site cannot make it lie. The `sameSite` cookie alone would not do: sibling subdomains are the same site,
// and signing somebody in needs no cookie. Go's net/http.CrossOriginProtection works like this.

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** Middleware that refuses requests which change something and which a page of another origin made. */
function sameOrigin(req, _res, next) {
  if (SAFE_METHODS.has(req.method) || isSameOrigin(req)) return next();
  const error = new Error("The form was sent from a page of another site, so nothing was done.");
  next(Object.assign(error, { status: 403, expose: true }));
}

function isSameOrigin(req) {
  const site = req.get("sec-fetch-site");
  // "none" is the user's own doing, such as a bookmark.
  if (site !== undefined) return site === "same-origin" || site === "none";
  const origin = req.get("origin");
  // Browsers send one of the two with every such request; curl sends neither, and nobody can forge curl's.
  if (origin === undefined) return true;
  // The host as the browser used it. A proxy in front must pass it on.
  return URL.canParse(origin) && new URL(origin).host === req.get("host");
}

module.exports = { sameOrigin };
