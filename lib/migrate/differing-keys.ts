import { isDeepStrictEqual } from "node:util";
import type { SessionData } from "express-session";

/** The keys of two sessions whose values differ, as JSON has them. Not the cookie, whose expiry moves with each touch. */
export function differingKeys(one: SessionData, other: SessionData): string[] {
  const [mine, theirs] = [one, other].map(fieldsOf) as [Record<string, unknown>, Record<string, unknown>];
  const keys = new Set([...Object.keys(mine), ...Object.keys(theirs)]);
  return [...keys].filter(key => !isDeepStrictEqual(mine[key], theirs[key])).sort();
}

function fieldsOf(session: SessionData): Record<string, unknown> {
  // session-file-store notes the time of each access in the session itself.
  const {
    cookie: _cookie,
    __lastAccess: _time,
    ...fields
  } = session as SessionData & { __lastAccess?: number };
  return JSON.parse(JSON.stringify(fields));
}
