import { isDeepStrictEqual } from "node:util";

/* The three-way merge that the contract describes, without any code of lib. */

/** A session in JSON. */
export type SessionJson = Fields & { cookie: Fields };

type Fields = Record<string, unknown>;

interface Merged<T> {
  data: T;
  /** The keys that both sides changed to different values. */
  disputed: string[];
}

/** The fields of a cookie that follow from its lifetime. */
const DERIVED = ["expires", "_expires"];

/**
 * Applies a request's changes since `base` to `theirs`: the fields of the session and those of its cookie.
 *
 * @param base - `undefined` if it is unknown: then every field counts as changed by the request
 * @param setsExpiry - whether the request changed the expiry of a cookie that has no `maxAge`
 */
export function mergeSessions(
  base: SessionJson | undefined,
  mine: SessionJson,
  theirs: SessionJson,
  setsExpiry: boolean,
): { data: SessionJson; keys: string[] } {
  const session = mergeFields(base ?? {}, mine, theirs, ["cookie"]);
  const cookie = mergeFields(base?.cookie ?? {}, mine.cookie, theirs.cookie, DERIVED);
  const setsMaxAge = changedKeys(base?.cookie ?? {}, mine.cookie).includes("originalMaxAge");
  const isMine = setsMaxAge || (setsExpiry && typeof cookie.data.originalMaxAge !== "number");
  const source = isMine ? mine.cookie : theirs.cookie;
  const derived = Object.entries(source).filter(([field]) => DERIVED.includes(field));
  const others = Object.entries(cookie.data).filter(([field]) => !DERIVED.includes(field));
  const data = { ...session.data, cookie: Object.fromEntries([...others, ...derived]) };
  const cookieKeys = cookie.disputed.map(field => `cookie.${field}`);
  return { data, keys: [...session.disputed, ...(cookieKeys.length > 0 ? ["cookie"] : []), ...cookieKeys] };
}

function mergeFields(base: Fields, mine: Fields, theirs: Fields, except: string[]): Merged<Fields> {
  const changed = changedKeys(base, mine).filter(key => !except.includes(key));
  const data = new Map(Object.entries(theirs));
  for (const key of changed) {
    if (Object.hasOwn(mine, key)) data.set(key, mine[key]);
    else data.delete(key);
  }
  const changedByOthers = changedKeys(base, theirs);
  const different = changedKeys(mine, theirs);
  const disputed = changed.filter(key => changedByOthers.includes(key) && different.includes(key));
  return { data: Object.fromEntries(data), disputed };
}

function changedKeys(before: Fields, after: Fields): string[] {
  const field = (fields: Fields, key: string) => (Object.hasOwn(fields, key) ? [fields[key]] : []);
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    key => !isDeepStrictEqual(field(before, key), field(after, key)),
  );
}
