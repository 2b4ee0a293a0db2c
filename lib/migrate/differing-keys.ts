import { isDeepStrictEqual } from "node:util";
import type { SessionData } from "express-session";

/** Epoch milliseconds of 2001: smaller numbers are counts or seconds. */
const FIRST_TIME = 1e12;

/** The keys of two sessions whose values differ, as JSON has them. Not the cookie, whose expiry moves with each touch. */
export function differingKeys(one: SessionData, other: SessionData): string[] {
  const [mine, theirs] = [one, other].map(fieldsOf) as [Record<string, unknown>, Record<string, unknown>];
  const keys = new Set([...Object.keys(mine), ...Object.keys(theirs)]);
  return [...keys]
    .filter(key => !isDeepStrictEqual(mine[key], theirs[key]) && !isTimeOfAccess(key, mine, theirs))
    .sort();
}

/** Some stores note the time of each access in the session itself. Applications may use the name of dynamodb-store. */
function isTimeOfAccess(key: string, ...sessions: Record<string, unknown>[]): boolean {
  if (key === "__lastAccess") return true;
  const isTime = (value: unknown) => value === undefined || (typeof value === "number" && value > FIRST_TIME);
  return key === "updated" && sessions.every(session => isTime(session[key]));
}

function fieldsOf(session: SessionData): Record<string, unknown> {
  const { cookie: _cookie, ...fields } = session;
  // A serializer of an application may know it.
  return JSON.parse(
    JSON.stringify(fields, (_key, value) => (typeof value === "bigint" ? `${value}n` : value)),
  );
}
