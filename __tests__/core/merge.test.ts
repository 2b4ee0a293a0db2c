import { mergeSessions } from "../../lib/core/save/merge.js";

const merge = (base: object, mine: object, theirs: object, setsExpiry = false) =>
  mergeSessions({ ...base }, { ...mine }, { ...theirs }, setsExpiry);

describe("mergeSessions", () => {
  it.each([
    ["keeps what both added", {}, { a: 1 }, { b: 2 }, { a: 1, b: 2 }, []],
    ["keeps their change of a key that is not mine", { a: 1 }, { a: 1 }, { a: 2 }, { a: 2 }, []],
    [
      "applies my change of a key that is not theirs",
      { a: 1, b: 1 },
      { a: 2, b: 1 },
      { a: 1, b: 3 },
      { a: 2, b: 3 },
      [],
    ],
    ["deletes what I deleted", { a: 1, b: 1 }, { b: 1 }, { a: 1, b: 2 }, { b: 2 }, []],
    ["keeps deleted what they deleted", { a: 1 }, { a: 1, b: 1 }, {}, { b: 1 }, []],
    ["takes my value of a key that both changed", { a: 1 }, { a: 2 }, { a: 3 }, { a: 2 }, ["a"]],
    ["takes my deletion of a key that they changed", { a: 1 }, {}, { a: 3 }, {}, ["a"]],
    ["takes my change of a key that they deleted", { a: 1 }, { a: 2 }, {}, { a: 2 }, ["a"]],
    ["counts the same change by both as no conflict", { a: 1 }, { a: 2 }, { a: 2 }, { a: 2 }, []],
    ["counts the same deletion by both as no conflict", { a: 1 }, {}, {}, {}, []],
    [
      "compares values deeply",
      { a: { b: [1] } },
      { a: { b: [1] } },
      { a: { b: [2] } },
      { a: { b: [2] } },
      [],
    ],
    ["tells undefined from absent", {}, { a: undefined }, {}, { a: undefined }, []],
  ])("%s", (_name, base, mine, theirs, session, keys) => {
    expect(merge(base, mine, theirs)).toStrictEqual({ session, keys });
  });

  describe("with cookies", () => {
    const cookie = (fields: object) => ({ cookie: fields });

    it.each([
      [1, 5],
      [2, 5],
      [3, 97],
    ])(
      "takes a maxAge that express-session has made %i ms shorter for the known one or for mine",
      (lostMs, originalMaxAge) => {
        const [known, shorter] = [cookie({ originalMaxAge: 100 }), cookie({ originalMaxAge: 5 })];
        const { session } = merge(known, cookie({ originalMaxAge: 100 - lostMs }), shorter);
        expect(session).toEqual(cookie({ originalMaxAge }));
      },
    );

    it.each([
      [
        "keeps the fields that each side changed",
        { path: "/", secure: false },
        { path: "/a", secure: false },
        { path: "/", secure: true },
        { path: "/a", secure: true },
        [],
      ],
      [
        "takes my value of a field that both changed",
        { path: "/" },
        { path: "/a" },
        { path: "/b" },
        { path: "/a" },
        ["cookie", "cookie.path"],
      ],
      ["deletes a field that I deleted", { domain: "a.b" }, {}, { domain: "a.b" }, {}, []],
      [
        "keeps a field that is unknown to this package",
        { custom: 1 },
        { custom: 1 },
        { custom: 2 },
        { custom: 2 },
        [],
      ],
      [
        "counts the same change by both as no conflict",
        { path: "/" },
        { path: "/a" },
        { path: "/a" },
        { path: "/a" },
        [],
      ],
      [
        "takes the expiry of the side whose lifetime it takes: theirs",
        { originalMaxAge: 1, expires: 1 },
        { originalMaxAge: 1, expires: 2 },
        { originalMaxAge: 5, expires: 9 },
        { originalMaxAge: 5, expires: 9 },
        [],
      ],
      [
        "takes the expiry of the side whose lifetime it takes: mine",
        { originalMaxAge: 1, expires: 1 },
        { originalMaxAge: 5, expires: 2 },
        { originalMaxAge: 1, expires: 9 },
        { originalMaxAge: 5, expires: 2 },
        [],
      ],
      [
        "names no conflict for expiries, which every request changes",
        { originalMaxAge: 1, expires: 1, _expires: 1 },
        { originalMaxAge: 1, expires: 2, _expires: 2 },
        { originalMaxAge: 1, expires: 3 },
        { originalMaxAge: 1, expires: 3 },
        [],
      ],
      [
        "names a lifetime that both changed",
        { originalMaxAge: 1 },
        { originalMaxAge: 2 },
        { originalMaxAge: 3 },
        { originalMaxAge: 2 },
        ["cookie", "cookie.originalMaxAge"],
      ],
    ])("%s", (_name, base, mine, theirs, expected, keys) => {
      expect(merge(cookie(base), cookie(mine), cookie(theirs))).toStrictEqual({
        session: cookie(expected),
        keys,
      });
    });

    it("takes my expiry of a cookie without a maxAge if I have set it, else theirs", () => {
      const expires = (mine: number, theirs: number, setsExpiry: boolean) =>
        merge(cookie({ expires: 1 }), cookie({ expires: mine }), cookie({ expires: theirs }), setsExpiry)
          .session;
      expect(expires(2, 3, true)).toEqual(cookie({ expires: 2 }));
      expect(expires(2, 3, false)).toEqual(cookie({ expires: 3 }));
    });

    it("takes their expiry with their maxAge, also if I have set another", () => {
      const theirs = { originalMaxAge: 5, expires: 9 };
      expect(merge(cookie({ expires: 1 }), cookie({ expires: 2 }), cookie(theirs), true).session).toEqual(
        cookie(theirs),
      );
    });

    it("takes the cookie of the side that has one", () => {
      expect(merge({}, {}, cookie({ path: "/" })).session).toEqual(cookie({ path: "/" }));
      expect(merge({}, cookie({ path: "/" }), {}).session).toEqual(cookie({ path: "/" }));
      expect(merge(cookie({}), { cookie: null }, cookie({ path: "/" })).session).toEqual(
        cookie({ path: "/" }),
      );
    });
  });

  it("applies all that mine has if the base is unknown, and deletes nothing", () => {
    expect(mergeSessions(undefined, { a: 1, b: 1 }, { b: 2, c: 2 }, false)).toStrictEqual({
      session: { a: 1, b: 1, c: 2 },
      keys: ["b"],
    });
  });

  it("fails with ERR_SESSION_SERIALIZE for values that are nested too deeply to be compared", () => {
    let deep: object = {};
    let other: object = {};
    for (let level = 0; level < 200_000; level++) {
      deep = { deep };
      other = { deep: other };
    }
    expect(() => merge({ deep }, { deep: other }, { deep })).toThrow(
      expect.objectContaining({ code: "ERR_SESSION_SERIALIZE" }),
    );
  });

  it("takes `__proto__` and `constructor` for keys like any other", () => {
    const mine = JSON.parse(
      '{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}',
    );
    const { session } = mergeSessions({}, mine, { a: 1 }, false);
    expect(Object.getPrototypeOf(session)).toBe(Object.prototype);
    expect(Object.keys(session).sort()).toEqual(["__proto__", "a", "constructor"]);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});
