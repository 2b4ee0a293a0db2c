import type { SessionData } from "express-session";
import { misuse } from "./options.js";

/** The options that decide how long a session lives. Durations in milliseconds. */
export interface ExpiryPolicy {
  /** Seconds, or a function of the session that returns seconds; for sessions whose cookie has no expiry. */
  ttl: number | ((session: SessionData) => number);
  /** `undefined`: the smaller of 60 s and 5 % of the session's lifetime. */
  touchAfterMs: number | undefined;
  absoluteTimeoutMs: number | undefined;
}

export interface Expiry {
  /** When the session ends for its owner: the cookie's expiry, or the ttl's. */
  sessionEnd: number;
  /** What is written to the backend: up to `touchAfter` later, so that a skipped touch never ends a session early. */
  expiresAt: number;
  /** `expiresAt - sessionEnd`. */
  slack: number;
  /** A touch that would move the stored expiry by less than this is not worth a write. */
  touchAfterMs: number;
}

/** A session's record stays for this long after its expiry, for requests that were running when it lapsed. */
export const GRACE_MS = 60_000;

const MAX_AUTO_TOUCH_AFTER_MS = 60_000;
const AUTO_TOUCH_AFTER_SHARE = 0.05;

/** The last time that a Date can have. */
const MAX_TIME = 8.64e15;

/** When the session itself wants to end: at its cookie's expiry ({@link cookieExpiry}), else after the ttl. */
export function wantedEnd(
  session: SessionData,
  cookieEnd: number | undefined,
  now: number,
  ttl: ExpiryPolicy["ttl"],
): number {
  return Math.min(cookieEnd ?? now + ttlMs(session, ttl), MAX_TIME);
}

/** When the record of a session that began at `createdAt` ends, and why: the rules of expiry, in one place. */
export function expiryOf(wanted: number, createdAt: number, now: number, policy: ExpiryPolicy): Expiry {
  const touchAfterMs = policy.touchAfterMs ?? autoTouchAfterMs(wanted - now);
  const limit = absoluteEnd(createdAt, policy);
  const sessionEnd = Math.min(wanted, limit);
  // A session whose end is past gets no slack: it is over, and `set` removes it.
  const expiresAt = sessionEnd <= now ? sessionEnd : Math.min(wanted + touchAfterMs, limit);
  return { sessionEnd, expiresAt, slack: expiresAt - sessionEnd, touchAfterMs };
}

/** The end that nothing can move. */
export function absoluteEnd(createdAt: number, { absoluteTimeoutMs }: ExpiryPolicy): number {
  return absoluteTimeoutMs === undefined ? MAX_TIME : Math.min(createdAt + absoluteTimeoutMs, MAX_TIME);
}

function autoTouchAfterMs(lifetimeMs: number): number {
  return Math.floor(Math.max(0, Math.min(MAX_AUTO_TOUCH_AFTER_MS, lifetimeMs * AUTO_TOUCH_AFTER_SHARE)));
}

function ttlMs(session: SessionData, ttl: ExpiryPolicy["ttl"]): number {
  const seconds = typeof ttl === "function" ? ttl(session) : ttl;
  if (!Number.isFinite(seconds)) throw misuse("ttl(session)", "a finite number of seconds", seconds);
  return Math.ceil(seconds * 1000);
}

/** `cookie.expires` in epoch milliseconds; `undefined` if the session has none or it is no date. */
export function cookieExpiry(session: SessionData): number | undefined {
  try {
    const cookie = session.cookie as CookieFields | undefined;
    const expires = cookie?.expires ?? cookie?._expires;
    if (expires === undefined || expires === null || typeof expires === "boolean") return undefined;
    const time =
      typeof expires === "string" ? Date.parse(expires) : new Date(expires as Date | number).getTime();
    return Number.isNaN(time) ? undefined : time;
  } catch {
    // A symbol, or a getter or `valueOf` that throws.
    return undefined;
  }
}

/** A Cookie of express-session keeps `expires` as `_expires`: serializers that do not ask `toJSON` save it so. */
interface CookieFields {
  expires?: unknown;
  _expires?: unknown;
}

/**
 * Puts the current end of the session into its cookie, in the form the serializer gave the saved one: a touch moves
 * the record's expiry, not the one inside the data. A cookie without an expiry stays without one.
 */
export function refreshCookieExpiry(session: SessionData, sessionEnd: number): void {
  const saved = cookieExpiry(session);
  if (saved === undefined || saved === sessionEnd) return;
  const cookie = session.cookie as CookieFields;
  const end = new Date(sessionEnd);
  cookie.expires = typeof (cookie.expires ?? cookie._expires) === "string" ? end.toISOString() : end;
}
