import { isDeepStrictEqual } from "node:util";

export type Fields = Record<string, unknown>;

export interface Merged {
  session: Fields;
  /** The keys that both sides changed, where this side's value was taken. */
  keys: string[];
}

/**
 * Three-way merge by top-level key: what `mine` changed or deleted since `base` is applied to `theirs`, the rest
 * stays as `theirs` has it. `cookie` is not merged here: which of the two is kept depends on the expiry.
 */
export function mergeSessions(base: Fields, mine: Fields, theirs: Fields): Merged {
  // A Map and fromEntries, because assigning to a key `__proto__` would set the prototype.
  const merged = new Map(Object.entries(theirs));
  const keys: string[] = [];
  for (const key of new Set([...Object.keys(base), ...Object.keys(mine)])) {
    if (key === "cookie" || sameField(base, mine, key)) continue;
    if (!sameField(base, theirs, key) && !sameField(mine, theirs, key)) keys.push(key);
    if (Object.hasOwn(mine, key)) merged.set(key, mine[key]);
    else merged.delete(key);
  }
  return { session: Object.fromEntries(merged), keys };
}

function sameField(a: Fields, b: Fields, key: string): boolean {
  const inA = Object.hasOwn(a, key);
  return inA === Object.hasOwn(b, key) && (!inA || isDeepStrictEqual(a[key], b[key]));
}
