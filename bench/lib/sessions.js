// The measured sessions: real Session and Cookie objects of about 1 KB of JSON, with some non-Latin text. Every session
// contains its own id and a number, so that sessions can be checked when they are read.
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { Session, Cookie, Store } = require("../../node_modules/express-session");

/** Creates the sessions that a raw client saves. */
export const plainStore = new Store();

export const MAX_AGE_MS = 30 * 60 * 1000;

const HISTORY = Array.from({ length: 6 }, (_, index) => ({
  path: `/products/${1000 + index}`,
  at: 1767225600 + index * 61,
}));

/** Makes a sid like those of express-session: 24 random bytes. */
export function newSid() {
  return randomBytes(24).toString("base64url");
}

export function newSession(sid, store, number = 0) {
  const session = new Session({ sessionID: sid, sessionStore: store });
  session.cookie = new Cookie({ maxAge: MAX_AGE_MS, httpOnly: true, sameSite: "lax", path: "/" });
  return Object.assign(session, {
    check: `${sid}/${number}`,
    number,
    user: {
      id: 4711,
      name: "Αλεξάνδρα Παπαδοπούλου",
      mail: "alexandra@example.com",
      roles: ["customer", "reviewer"],
    },
    greeting: "こんにちは、お帰りなさい",
    cart: {
      items: [
        { sku: "TEA-1", quantity: 2, price: 4.5 },
        { sku: "CUP-7", quantity: 1, price: 12 },
      ],
      currency: "EUR",
    },
    flash: [],
    csrf: "9f8b4c1d5e6a7f80b1c2d3e4f5061728",
    history: HISTORY,
  });
}

/** Makes the Session of a request from the result of a store's `get`, as the middleware does. */
export function inflate(sid, store, data) {
  const req = { sessionID: sid, sessionStore: store };
  const session = store.createSession(req, data);
  session.touch();
  return session;
}

/** Throws unless a store returned the session that was last written to it. */
export function assertSession(data, sid, number) {
  if (
    data?.check !== `${sid}/${number}` ||
    data.number !== number ||
    data.history?.length !== HISTORY.length
  ) {
    throw new Error(`read back ${JSON.stringify(data)?.slice(0, 200)}, expected ${sid}/${number}`);
  }
}
