import { isDeepStrictEqual } from "node:util";
import { StoreError } from "../../errors.js";
import { isShorterByStep } from "../cookie.js";

export type Fields = Record<string, unknown>;

export interface Merged {
  readonly session: Fields;
  /** The keys that both sides changed, where this side's value was taken. Fields of the cookie as `cookie.<field>`. */
  readonly keys: string[];
}

/** The two fields of a cookie that follow from its lifetime. They are taken from the side whose lifetime is taken. */
const EXPIRY_FIELDS = ["expires", "_expires"];

/**
 * Merges two sessions by top-level key, and their cookies by field: what `mine` changed or deleted since `base` is
 * applied to `theirs`. If the base is unknown, all that `mine` has counts as changed.
 *
 * @param setsExpiry - whether the request changed the expiry of a cookie that has no `maxAge`
 * @throws StoreError `ERR_SESSION_SERIALIZE` if values are nested too deeply to be compared
 */
export function mergeSessions(
  base: Fields | undefined,
  mine: Fields,
  theirs: Fields,
  setsExpiry = false,
): Merged {
  try {
    const { merged, keys } = mergeFields(base ?? {}, mine, theirs, ["cookie"]);
    const cookie = mergeCookies(base?.cookie, mine, theirs, setsExpiry, keys);
    if (cookie !== undefined) merged.set("cookie", cookie);
    return { session: Object.fromEntries(merged), keys };
  } catch (cause) {
    throw new StoreError(
      "ERR_SESSION_SERIALIZE",
      "Another request changed the session, and the changes could not be merged: they are nested too deeply to be compared.",
      { cause },
    );
  }
}

/** The merged cookie; `undefined` to leave theirs. Adds the fields that both sides changed to `keys`. */
function mergeCookies(
  base: unknown,
  mine: Fields,
  theirs: Fields,
  setsExpiry: boolean,
  keys: string[],
): unknown {
  if (!isFields(mine.cookie)) return undefined;
  if (!isFields(theirs.cookie)) return mine.cookie;
  const known = isFields(base) ? base : {};
  const { originalMaxAge } = known;
  const isStep = isShorterByStep(originalMaxAge, mine.cookie.originalMaxAge);
  const own = isStep ? { ...mine.cookie, originalMaxAge } : mine.cookie;
  const { merged, keys: conflicts } = mergeFields(known, own, theirs.cookie, EXPIRY_FIELDS);
  const setsMaxAge = !isSameField(known, own, "originalMaxAge");
  const lifetimeIsMine = setsMaxAge || (setsExpiry && typeof merged.get("originalMaxAge") !== "number");
  const source = lifetimeIsMine ? own : theirs.cookie;
  for (const field of EXPIRY_FIELDS) {
    if (Object.hasOwn(source, field)) merged.set(field, source[field]);
    else merged.delete(field);
  }
  if (conflicts.length > 0) keys.push("cookie", ...conflicts.map(field => `cookie.${field}`));
  return Object.fromEntries(merged);
}

function mergeFields(base: Fields, mine: Fields, theirs: Fields, except: readonly string[]) {
  // A Map and fromEntries: an assignment to the key `__proto__` would set the prototype.
  const merged = new Map(Object.entries(theirs));
  const keys: string[] = [];
  for (const key of new Set([...Object.keys(base), ...Object.keys(mine)])) {
    if (except.includes(key) || isSameField(base, mine, key)) continue;
    if (!isSameField(base, theirs, key) && !isSameField(mine, theirs, key)) keys.push(key);
    if (Object.hasOwn(mine, key)) merged.set(key, mine[key]);
    else merged.delete(key);
  }
  return { merged, keys };
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

function isSameField(a: Fields, b: Fields, key: string): boolean {
  const inA = Object.hasOwn(a, key);
  return inA === Object.hasOwn(b, key) && (!inA || isDeepStrictEqual(a[key], b[key]));
}
