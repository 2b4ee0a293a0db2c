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

/** DESIGN.md, section 2.2, in one place. */
export function expiryOf(session: SessionData, createdAt: number, now: number, policy: ExpiryPolicy): Expiry {
  const wanted = cookieExpiry(session) ?? now + ttlMs(session, policy.ttl);
  const touchAfterMs = policy.touchAfterMs ?? autoTouchAfterMs(wanted - now);
  const limit =
    policy.absoluteTimeoutMs === undefined ? Number.POSITIVE_INFINITY : createdAt + policy.absoluteTimeoutMs;
  const sessionEnd = Math.min(wanted, limit);
  // A session whose end is past gets no slack: it is over, and `set` removes it.
  const expiresAt = sessionEnd <= now ? sessionEnd : Math.min(wanted + touchAfterMs, limit);
  return { sessionEnd, expiresAt, slack: expiresAt - sessionEnd, touchAfterMs };
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
  const expires: unknown = session.cookie?.expires;
  if (expires === undefined || expires === null || typeof expires === "boolean") return undefined;
  const time = new Date(expires as Date | string | number).getTime();
  return Number.isNaN(time) ? undefined : time;
}

/**
 * Puts the current end of the session into its cookie, in the form the serializer gave the saved one: a touch moves
 * the record's expiry, not the one inside the data. A cookie without an expiry stays without one.
 */
export function refreshCookieExpiry(session: SessionData, sessionEnd: number): void {
  const saved = cookieExpiry(session);
  if (saved === undefined || saved === sessionEnd) return;
  const end = new Date(sessionEnd);
  const cookie = session.cookie as { expires: unknown };
  cookie.expires = typeof cookie.expires === "string" ? end.toISOString() : end;
}
