import type { SessionData } from "express-session";
import { MAX_TIME } from "./expiry.js";
import { invalidArgument } from "./options.js";

/** Seconds, or a function of the session that returns seconds. */
export type Ttl = number | ((session: SessionData) => number);

/** What the cookie of a session says about its lifetime. Times in epoch milliseconds, durations in milliseconds. */
export interface CookieTimes {
  /** `cookie.originalMaxAge`: how long the cookie lives after each use. */
  readonly maxAge: number | undefined;
  /** `cookie.expires`. */
  readonly expires: number | undefined;
}

/** A Cookie of express-session keeps `expires` as `_expires`: serializers that ignore `toJSON` save it so. */
interface CookieFields {
  originalMaxAge?: unknown;
  expires?: unknown;
  _expires?: unknown;
}

/** The end of a session that is used today and lives that long is still a date. */
export const MAX_LIFETIME = MAX_TIME / 2;

const NO_TIMES: CookieTimes = { maxAge: undefined, expires: undefined };

/** The cookie of a session, if there is one that can be read. */
export function cookieOf(session: { readonly cookie?: unknown }): object | undefined {
  try {
    const { cookie } = session;
    return typeof cookie === "object" && cookie !== null ? cookie : undefined;
  } catch {
    // A getter that throws. The serializer reads the cookie too and reports it.
    return undefined;
  }
}

/**
 * Reads the times of a session's cookie.
 *
 * @throws TypeError if `cookie.originalMaxAge` is a number but not finite
 */
export function cookieTimesOf(session: SessionData): CookieTimes {
  let maxAge: unknown;
  let expires: unknown;
  try {
    const cookie: CookieFields | undefined = cookieOf(session);
    if (cookie === undefined) return NO_TIMES;
    maxAge = cookie.originalMaxAge;
    expires = expiryIn(cookie);
  } catch {
    // A getter or a `valueOf` that throws. The serializer reads the cookie too and reports it.
    return NO_TIMES;
  }
  if (typeof maxAge === "number" && !Number.isFinite(maxAge)) {
    throw invalidArgument("cookie.originalMaxAge", "a finite number of milliseconds", maxAge);
  }
  return {
    maxAge: typeof maxAge === "number" ? maxAge : undefined,
    expires: expires as number | undefined,
  };
}

/** The expiry in a session's cookie, whatever else is in it. */
export function cookieExpiryOf(session: SessionData): number | undefined {
  try {
    const cookie: CookieFields | undefined = cookieOf(session);
    return cookie && expiryIn(cookie);
  } catch {
    // A getter or a `valueOf` that throws.
    return undefined;
  }
}

function expiryIn(cookie: CookieFields): number | undefined {
  return timeOf(cookie.expires ?? cookie._expires);
}

function timeOf(expires: unknown): number | undefined {
  if (expires === undefined || expires === null || typeof expires === "boolean") return undefined;
  const time = typeof expires === "string" ? Date.parse(expires) : dateOf(expires).getTime();
  return Number.isNaN(time) ? undefined : time;
}

function dateOf(value: unknown): Date {
  return value instanceof Date ? value : new Date(value as number);
}

/**
 * The lifetime that the session asks for, in whole milliseconds: its cookie's, else the time until the expiry that
 * somebody wrote into a cookie without one, else the option `ttl`. Zero or less asks for the end of the session.
 *
 * @throws TypeError if `ttl` returns something else than a finite number
 */
export function lifetimeOf(session: SessionData, times: CookieTimes, now: number, ttl: Ttl): number {
  const { maxAge, expires } = times;
  if (maxAge !== undefined) return wholeLifetime(maxAge);
  if (expires !== undefined) return wholeLifetime(expires - now);
  const seconds = typeof ttl === "function" ? ttl(session) : ttl;
  if (!Number.isFinite(seconds)) throw invalidArgument("ttl(session)", "a finite number of seconds", seconds);
  return wholeLifetime(seconds * 1000);
}

/**
 * express-session's `Cookie` takes `originalMaxAge` from two readings of the clock whenever its `maxAge` is set, as each
 * touch does. If the clock moves between them, the lifetime is shorter by that, and nobody has asked for it.
 */
const CLOCK_STEP_MS = 2;

/** Whether a lifetime is shorter than the known one by no more than such a step. */
export function isShorterByStep(known: unknown, requested: unknown): boolean {
  if (typeof known !== "number" || typeof requested !== "number") return false;
  return requested < known && requested >= known - CLOCK_STEP_MS;
}

function wholeLifetime(ms: number): number {
  return Math.min(Math.ceil(ms), MAX_LIFETIME);
}

/**
 * Sets the current expiry in the cookie, in the form that the serializer gave to the saved one: touches change the
 * record and not the data. A cookie without an expiry stays without one. Returns the expiry that the cookie now has.
 */
export function setCookieExpiry(session: SessionData, expiry: number): number | undefined {
  const saved = cookieTimesOf(session).expires;
  if (saved === undefined || saved === expiry) return saved;
  const cookie = session.cookie as CookieFields;
  const date = new Date(expiry);
  const { originalMaxAge } = cookie;
  cookie.expires = typeof (cookie.expires ?? cookie._expires) === "string" ? date.toISOString() : date;
  // A serializer may return a Cookie of express-session, which changes its `originalMaxAge` with its expiry.
  if (cookie.originalMaxAge !== originalMaxAge) cookie.originalMaxAge = originalMaxAge;
  return expiry;
}
