import type { SessionData } from "express-session";
import { type CookieTimes, lifetimeOf, MAX_LIFETIME } from "../cookie.js";
import type { StoreSettings } from "../store-options.js";
import type { TrackedSession } from "./tracked-sessions.js";

/**
 * The lifetime that a request asks for. A cookie that was saved with an expiry and no `maxAge` keeps the lifetime that
 * is stored until the request changes its expiry.
 *
 * @throws TypeError if `ttl` returns something else than a finite number
 */
export function requestedLifetime(
  session: SessionData,
  times: CookieTimes,
  tracked: TrackedSession | undefined,
  now: number,
  { ttl }: StoreSettings,
): number {
  const { maxAge, expires } = times;
  const isUnchanged = maxAge === undefined && expires !== undefined && expires === tracked?.shownExpires;
  return (isUnchanged ? tracked?.lifetime : undefined) ?? lifetimeOf(session, times, now, ttl);
}

/**
 * When the request used the session. express-session touches the cookie when a response begins, and saves when it ends:
 * the expiry that it has set says when the touch was. A cookie that was not touched says nothing.
 */
export function lastUse(times: CookieTimes, tracked: TrackedSession | undefined, now: number): number {
  const { maxAge, expires } = times;
  if (maxAge === undefined || expires === undefined || expires === tracked?.shownExpires) return now;
  return Math.min(now, Math.floor(expires - Math.min(maxAge, MAX_LIFETIME)));
}

/** Whether somebody set the cookie's expiry into the past, rather than that a response took longer than the session. */
export function isExpiryInPast({ expires }: CookieTimes, tracked: TrackedSession, now: number): boolean {
  if (expires === undefined || expires > now) return false;
  switch (tracked.origin) {
    case "new":
    case "copy":
    case "mirrored":
      return false;
    case "loaded":
      return expires < tracked.seenAt && expires !== tracked.shownExpires;
    default:
      return expires !== tracked.shownExpires;
  }
}
