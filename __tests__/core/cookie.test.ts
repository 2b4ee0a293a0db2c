import { Cookie, type SessionData } from "express-session";
import { cookieTimesOf, lifetimeOf, setCookieExpiry, type Ttl } from "../../lib/core/cookie.js";

const NOW = Date.UTC(2026, 0, 1);
const DAY = 86_400;

const session = (cookie: unknown) => ({ cookie }) as SessionData;
const withExpires = (expires: unknown) => session({ originalMaxAge: null, expires });
const refuse = () => {
  throw new Error("no");
};

describe("cookieTimesOf", () => {
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
  ])("reads the expiry %p as %p", (expires, expected) => {
    expect(cookieTimesOf(withExpires(expires)).expires).toBe(expected);
  });

  it("reads the inner field of a Cookie that lost its accessors", () => {
    expect(cookieTimesOf(session({ originalMaxAge: null, _expires: new Date(NOW) })).expires).toBe(NOW);
  });

  it.each([
    [60_000, 60_000],
    [-1, -1],
    [0.5, 0.5],
    [null, undefined],
    [undefined, undefined],
    ["60000", undefined],
    [true, undefined],
    [10n, undefined],
  ])("reads the maxAge %p as %p", (originalMaxAge, expected) => {
    expect(cookieTimesOf(session({ originalMaxAge })).maxAge).toBe(expected);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "rejects the maxAge %p with a TypeError that names it",
    originalMaxAge => {
      const read = () => cookieTimesOf(session({ originalMaxAge }));
      expect(read).toThrow(TypeError);
      expect(read).toThrow("`cookie.originalMaxAge`");
    },
  );

  it.each([
    ["missing", {}],
    ["null", session(null)],
    ["a text", session("cookie")],
    ["a getter that throws", Object.defineProperty({}, "cookie", { get: refuse })],
    ["an object whose maxAge throws", session(Object.defineProperty({}, "originalMaxAge", { get: refuse }))],
    ["an object whose expiry throws", session(Object.defineProperty({}, "expires", { get: refuse }))],
    ["an object whose expiry has a valueOf that throws", withExpires({ valueOf: refuse })],
  ])("finds no times in a cookie that is %s", (_name, data) => {
    expect(cookieTimesOf(data as SessionData)).toEqual({ maxAge: undefined, expires: undefined });
  });
});

describe("lifetimeOf", () => {
  const lifetime = (cookie: unknown, ttl: Ttl = DAY) =>
    lifetimeOf(session(cookie), cookieTimesOf(session(cookie)), NOW, ttl);

  it("is the cookie's maxAge, whatever its expiry and the option ttl say", () => {
    expect(lifetime({ originalMaxAge: 5000, expires: new Date(NOW + 1) })).toBe(5000);
    expect(lifetime({ originalMaxAge: 5000 }, refuse)).toBe(5000);
  });

  it("is the time until the expiry of a cookie without a maxAge", () => {
    expect(lifetime({ originalMaxAge: null, expires: new Date(NOW + 7000) })).toBe(7000);
    expect(lifetime({ originalMaxAge: null, expires: new Date(NOW - 7000) })).toBe(-7000);
  });

  it.each([
    [60, 60_000],
    [0.5, 500],
    [0.0001, 1],
    [() => 10, 10_000],
    [() => 0, 0],
    [() => -5, -5000],
  ])("is the ttl %p for a cookie without either", (ttl, expected) => {
    expect(lifetime({ originalMaxAge: null }, ttl)).toBe(expected);
  });

  it("is what the function ttl returns for the session", () => {
    const ttl = jest.fn(() => 60);
    const data = session({});
    lifetimeOf(data, cookieTimesOf(data), NOW, ttl);
    expect(ttl).toHaveBeenCalledWith(data);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, "60", undefined, null, 60n])(
    "rejects a ttl function that returns %p",
    value => {
      const misuse = () => lifetime({}, () => value as number);
      expect(misuse).toThrow(TypeError);
      expect(misuse).toThrow("`ttl(session)`");
    },
  );

  it("is whole milliseconds, and never so long that a date could not hold the expiry", () => {
    expect(lifetime({ originalMaxAge: 1.2 })).toBe(2);
    expect(lifetime({ originalMaxAge: Number.MAX_VALUE })).toBe(8.64e15 / 2);
    expect(new Date(NOW + lifetime({ originalMaxAge: Number.MAX_VALUE })).getTime()).not.toBeNaN();
  });
});

describe("setCookieExpiry", () => {
  it("keeps the form that the serializer gave the date", () => {
    const text = withExpires(new Date(NOW).toISOString());
    expect(setCookieExpiry(text, NOW + 1)).toBe(NOW + 1);
    expect(text.cookie.expires).toBe(new Date(NOW + 1).toISOString());
    const date = withExpires(new Date(NOW));
    setCookieExpiry(date, NOW + 1);
    expect(date.cookie.expires).toEqual(new Date(NOW + 1));
  });

  it("sets the accessor of a Cookie", () => {
    const data = session(Object.assign(new Cookie(), { maxAge: 1000 }));
    setCookieExpiry(data, NOW);
    expect(data.cookie.expires).toEqual(new Date(NOW));
    expect(data.cookie.originalMaxAge).toBe(1000);
  });

  it.each([null, false, undefined, "never"])("leaves a cookie whose expiry is %p as it is", expires => {
    const data = withExpires(expires);
    expect(setCookieExpiry(data, NOW)).toBeUndefined();
    expect(data.cookie.expires).toBe(expires);
  });
});
