import type { TestSession } from "../../../lib/conformance/sessions.js";
import type { Change, CookieChange } from "./generators.js";
import type { SessionJson } from "./merging.js";

/** Makes a plain session with a cookie like express-session's. `text`: its expiry is text instead of a date. */
export function newSession(
  fields: Record<string, unknown>,
  cookieChange: CookieChange,
  now: number,
  text: boolean,
): TestSession {
  const cookie = { originalMaxAge: null, httpOnly: true, path: "/", expires: null };
  const session = setFields({ cookie } as unknown as TestSession, fields);
  changeCookie(session, cookieChange, now);
  const { expires } = session.cookie;
  if (text && expires instanceof Date) Object.assign(session.cookie, { expires: expires.toJSON() });
  return session;
}

export function applyChange({ fields, remove, cookie }: Change, session: TestSession, now: number): void {
  setFields(session, fields);
  for (const key of remove) delete session[key];
  changeCookie(session, cookie, now);
}

/** Sets both times, because express-session's Cookie computes one from the other by the real clock. */
function changeCookie({ cookie }: TestSession, change: CookieChange, now: number): void {
  if (change.does === "nothing") return;
  if (change.does === "field") {
    Object.assign(cookie, { [change.field]: change.value });
    return;
  }
  const maxAge = { touch: cookie.originalMaxAge, maxAge: change.ms ?? null, expires: null }[change.does];
  const delay = change.does === "expires" ? change.ms : maxAge;
  cookie.expires = delay === null ? null : new Date(now + delay);
  cookie.originalMaxAge = maxAge;
}

/** Defines the fields instead of assigning them, because `__proto__` is one of the keys. */
function setFields(session: TestSession, fields: Record<string, unknown>): TestSession {
  for (const [key, value] of Object.entries(fields)) {
    Object.defineProperty(session, key, { value, writable: true, enumerable: true, configurable: true });
  }
  return session;
}

/** What remains of a request's `Session` after cloning. */
export function copyOf(session: TestSession): TestSession {
  return structuredClone(session);
}

export function json(session: object): SessionJson {
  return JSON.parse(JSON.stringify(session));
}

export function show(fields: Record<string, unknown>, cookie: CookieChange): string {
  return `${JSON.stringify(fields)}, cookie: ${showCookie(cookie)}`;
}

export function showChange({ fields, remove, cookie }: Change): string {
  return `${show(fields, cookie)}${remove.length > 0 ? `, delete ${JSON.stringify(remove)}` : ""}`;
}

function showCookie(change: CookieChange): string {
  const { does, ...rest } = change;
  return [does, ...Object.values(rest)].join(" ");
}
