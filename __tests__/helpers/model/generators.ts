import fc from "fast-check";
import { unusualSids } from "../../../lib/conformance/sessions.js";
import type { Rules } from "./contract.js";

/* The parts of commands. Earlier values in a list are chosen more often, so that commands interact. */

/**
 * The stores by name. The first two are on one backend and have one prefix, which is the beginning of the third's
 * prefix.
 */
export const storeNames = ["a", "a2", "ab"] as const;
export type StoreName = (typeof storeNames)[number];

/** How a request changes its cookie. Durations are in milliseconds from now. */
export type CookieChange =
  | { does: "nothing" }
  /** What express-session does when a response begins. */
  | { does: "touch"; ms?: undefined }
  /** `cookie.maxAge = ms`; `null` for a cookie that ends with the browser. */
  | { does: "maxAge"; ms: number | null }
  /** An expiry alone, as administrators' scripts set it. */
  | { does: "expires"; ms: number }
  | { does: "field"; field: "sameSite" | "domain" | "secure"; value: unknown };

export interface Change {
  fields: Record<string, unknown>;
  remove: string[];
  cookie: CookieChange;
}

/** The values that are the same for all commands of a run. */
export interface Setting {
  rules: Rules;
  /** The sids behind the names s0, s1 and s2 in commands. */
  sids: string[];
  /** How far the clock of the second store is ahead, in milliseconds. */
  ahead: number;
}

export const storeName = fc.constantFrom<StoreName[]>("a", "a", "a2", "a2", "ab");
export const slot = fc.constantFrom(0, 0, 1, 1, 2);
export const sidIndex = fc.constantFrom(0, 0, 0, 1, 2);

const key = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("x", "y", "z") },
  { weight: 1, arbitrary: fc.constantFrom("", "0", "__proto__", "constructor", "toJSON", "\ud800") },
);
const value = fc.oneof(
  { weight: 4, arbitrary: fc.nat(3) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2, stringUnit: "binary" }) },
  {
    weight: 1,
    arbitrary: fc
      .constant('{"__proto__":{"x":1},"constructor":{"prototype":{"x":1}}}')
      .map(text => JSON.parse(text)),
  },
);
export const fields = fc.dictionary(key, value, { maxKeys: 3, noNullPrototype: true });

/** Few values are frequent, so that expiries coincide. */
const duration = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(600_000, 10_000, 1000, 60_000, 0) },
  { weight: 1, arbitrary: fc.integer({ min: -1, max: 1_000_000 }) },
);
const maxAge = fc.record({
  does: fc.constant("maxAge" as const),
  ms: fc.oneof({ weight: 4, arbitrary: duration }, { weight: 1, arbitrary: fc.constant(null) }),
});
const expires = fc.record({ does: fc.constant("expires" as const), ms: duration });
const field = fc
  .constantFrom(
    ["sameSite", "lax"],
    ["sameSite", "strict"],
    ["sameSite", undefined],
    ["domain", "a.example"],
    ["domain", "b.example"],
    ["secure", true],
  )
  .map(([field, value]) => ({ does: "field", field, value }) as CookieChange);

export const newCookie: fc.Arbitrary<CookieChange> = fc.oneof(
  { weight: 3, arbitrary: maxAge },
  { weight: 1, arbitrary: expires },
);
const cookieChange: fc.Arbitrary<CookieChange> = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ does: "touch" as const }) },
  { weight: 2, arbitrary: fc.constant({ does: "nothing" as const }) },
  { weight: 2, arbitrary: maxAge },
  { weight: 1, arbitrary: expires },
  { weight: 1, arbitrary: field },
);
export const change: fc.Arbitrary<Change> = fc.record({
  fields,
  remove: fc.array(key, { maxLength: 1 }),
  cookie: cookieChange,
});

const sid = fc.oneof(
  { weight: 3, arbitrary: fc.stringMatching(/^[A-Za-z0-9_-]{1,32}$/) },
  { weight: 1, arbitrary: fc.constantFrom(...unusualSids) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", minLength: 1 }) },
  { weight: 1, arbitrary: fc.array(fc.integer({ min: 0xd7f0, max: 0xe010 }), { minLength: 1 }).map(toText) },
);

/** The lifetime is a field of the session, so that a change of the session can change it. */
const ttlOfSession = (session: object) => {
  const { x } = session as { x?: unknown };
  return x === 3 ? 0 : x === 1 ? 10 : 600;
};

export const settings: fc.Arbitrary<Setting> = fc.record({
  rules: fc
    .record({
      conflict: fc.constantFrom("merge", "merge", "merge", "overwrite", "error"),
      ttl: fc.constantFrom(600, 10, 0.25, ttlOfSession),
      touchAfter: fc.constantFrom(undefined, 0, 60, 0.5),
      absoluteTimeout: fc.constantFrom(undefined, undefined, 100, 1000),
      disableTouch: fc.constantFrom(false, false, false, false, true),
    })
    .map(rules => ({ ...rules, touchAfter: rules.disableTouch ? undefined : rules.touchAfter })),
  sids: fc.uniqueArray(sid, { minLength: 3, maxLength: 3 }),
  ahead: fc.constantFrom(0, 0, 5, -50, 3000, -30_000, 30_000),
});

function toText(units: number[]): string {
  return String.fromCharCode(...units);
}
