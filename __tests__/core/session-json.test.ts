import { Cookie } from "express-session";
import fc from "fast-check";
import { isoTime, stringifySession } from "../../lib/core/session-json.js";

const MAX_TIME = 8.64e15;

describe("isoTime", () => {
  it("gives what a Date's toJSON gives", () => {
    const times = fc.oneof(
      fc.integer({ min: -MAX_TIME, max: MAX_TIME }),
      // Several times within one second.
      fc.integer({ min: 0, max: 3000 }),
      fc.constantFrom(-1, 0, 999, 1000, -MAX_TIME, MAX_TIME, Number.NaN),
    );
    fc.assert(fc.property(times, time => expect(isoTime(time)).toBe(new Date(time).toJSON())));
  });
});

describe("stringifySession gives what JSON.stringify gives", () => {
  it("of sessions with any fields and any expiry", () => {
    const dates = fc.oneof(fc.date({ noInvalidDate: false }), fc.constantFrom(null, false, "2030-01-01"));
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), dates, (fields, expires) => {
        const session = { ...fields, cookie: new Cookie() };
        session.cookie.expires = expires as Date;
        expect(stringifySession(session)).toBe(JSON.stringify(session));
      }),
    );
  });

  const cookie = { expires: new Date(0) };
  const withToJSON = (given: unknown) => ({ toJSON: () => given });
  const sessions: Record<string, object> = {
    "without a cookie": { views: 1 },
    "with a cookie of plain data": { cookie, views: 1 },
    "with a cookie that is null": { cookie: null },
    "with an integer as a key, and a cookie in the middle": { b: 1, cookie: withToJSON(cookie), 1: 2, a: 3 },
    "with a cookie whose toJSON gives nothing": { cookie: withToJSON(undefined) },
    "with a cookie whose toJSON gives null": { cookie: withToJSON(null) },
    "with a cookie whose toJSON gives its key": { cookie: { toJSON: (key: string) => key } },
    "with a cookie that is inherited": Object.create({ cookie: withToJSON(cookie) }),
    "with a cookie that is not enumerable": Object.defineProperty({}, "cookie", {
      value: withToJSON(cookie),
    }),
    "with a toJSON of its own": { cookie: withToJSON(cookie), ...withToJSON({ views: 1 }) },
  };
  it.each(Object.entries(sessions))("of a session %s", (_name, session) => {
    expect(stringifySession(session)).toBe(JSON.stringify(session));
  });

  it("and leaves the session and what its cookie gives as they are", () => {
    const session = { cookie: withToJSON(cookie) };
    stringifySession(session);
    expect(session.cookie.toJSON()).toBe(cookie);
    expect(cookie).toEqual({ expires: new Date(0) });
  });
});
