import type { SessionData } from "express-session";
import {
  cookieExpiry,
  type ExpiryPolicy,
  expiryOf,
  refreshCookieExpiry,
  wantedEnd,
} from "../../lib/core/expiry.js";

const NOW = Date.UTC(2026, 0, 1);
const policy: ExpiryPolicy = { ttl: 86_400, touchAfterMs: 0, absoluteTimeoutMs: undefined };

const withExpires = (expires: unknown) => ({ cookie: { originalMaxAge: null, expires } }) as SessionData;
function expiry(session: SessionData, changes: Partial<ExpiryPolicy> = {}, createdAt = NOW) {
  const changed = { ...policy, ...changes };
  return expiryOf(wantedEnd(session, cookieExpiry(session), NOW, changed.ttl), createdAt, NOW, changed);
}

describe("cookieExpiry", () => {
  it.each([
    [new Date(NOW), NOW],
    [new Date(NOW).toISOString(), NOW],
    [NOW, NOW],
    [null, undefined],
    [undefined, undefined],
    [false, undefined],
    [true, undefined],
    [new Date(Number.NaN), undefined],
    ["soon", undefined],
    [{}, undefined],
  ])("of %p is %p", (expires, expected) => {
    expect(cookieExpiry(withExpires(expires))).toBe(expected);
  });

  it("is none without a cookie", () => {
    expect(cookieExpiry({} as SessionData)).toBeUndefined();
  });
});

describe("expiryOf", () => {
  it("is the cookie's expiry, to the millisecond", () => {
    expect(expiry(withExpires(new Date(NOW + 5))).expiresAt).toBe(NOW + 5);
  });

  it.each([
    [60, 60_000],
    [0.5, 500],
    [0.0001, 1],
    [() => 10, 10_000],
    [() => 0, 0],
    [() => -5, -5000],
  ])("is now and the ttl %p without one", (ttl, milliseconds) => {
    expect(expiry(withExpires(null), { ttl }).expiresAt).toBe(NOW + milliseconds);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, "60", undefined])(
    "refuses a ttl function that gives %p",
    value => {
      expect(() => expiry(withExpires(null), { ttl: () => value as number })).toThrow(/`ttl\(session\)`/);
    },
  );

  it("is touchAfter later than the session's end, and says so", () => {
    expect(expiry(withExpires(NOW + 1000), { touchAfterMs: 300 })).toEqual({
      sessionEnd: NOW + 1000,
      expiresAt: NOW + 1300,
      slack: 300,
      touchAfterMs: 300,
    });
  });

  it.each([
    [86_400_000, 60_000],
    [20 * 60_000, 60_000],
    [10 * 60_000, 30_000],
    [1000, 50],
    [5, 0],
  ])("of a session that lives %d ms is %d ms later by default", (lifetime, slack) => {
    expect(expiry(withExpires(NOW + lifetime), { touchAfterMs: undefined }).slack).toBe(slack);
  });

  it("gives a session that is over no slack", () => {
    expect(expiry(withExpires(NOW - 1), { touchAfterMs: 60_000 })).toMatchObject({
      expiresAt: NOW - 1,
      slack: 0,
    });
    expect(expiry(withExpires(NOW), { touchAfterMs: 60_000 })).toMatchObject({ expiresAt: NOW, slack: 0 });
  });

  it("is never later than the absolute timeout, slack included", () => {
    const absolute = { absoluteTimeoutMs: 1000, touchAfterMs: 300 };
    expect(expiry(withExpires(NOW + 5000), absolute)).toMatchObject({ expiresAt: NOW + 1000, slack: 0 });
    expect(expiry(withExpires(NOW + 900), absolute)).toMatchObject({ expiresAt: NOW + 1000, slack: 100 });
    expect(expiry(withExpires(NOW + 5000), absolute, NOW - 400).expiresAt).toBe(NOW + 600);
  });
});

describe("refreshCookieExpiry", () => {
  it("keeps the form that the serializer gave the date", () => {
    const text = withExpires(new Date(NOW).toISOString());
    refreshCookieExpiry(text, NOW + 1);
    expect(text.cookie.expires).toBe(new Date(NOW + 1).toISOString());
    const date = withExpires(new Date(NOW));
    refreshCookieExpiry(date, NOW + 1);
    expect(date.cookie.expires).toEqual(new Date(NOW + 1));
  });

  it.each([null, false, undefined, "never"])("leaves a cookie whose expiry is %p as it is", expires => {
    const session = withExpires(expires);
    refreshCookieExpiry(session, NOW);
    expect(session.cookie.expires).toBe(expires);
  });
});
