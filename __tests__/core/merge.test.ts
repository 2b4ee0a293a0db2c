import { mergeSessions } from "../../lib/core/save/merge.js";

const merge = (base: object, mine: object, theirs: object) =>
  mergeSessions({ ...base }, { ...mine }, { ...theirs });

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
  ["compares values deeply", { a: { b: [1] } }, { a: { b: [1] } }, { a: { b: [2] } }, { a: { b: [2] } }, []],
  ["tells undefined from absent", {}, { a: undefined }, {}, { a: undefined }, []],
])("%s", (_name, base, mine, theirs, session, keys) => {
  expect(merge(base, mine, theirs)).toStrictEqual({ session, keys });
});

it("leaves the cookie as theirs: which is kept depends on the expiry", () => {
  const { session, keys } = merge({ cookie: 1 }, { cookie: 2 }, { cookie: 3 });
  expect(session).toEqual({ cookie: 3 });
  expect(keys).toEqual([]);
});

it("takes `__proto__` and `constructor` for keys like any other", () => {
  const mine = JSON.parse(
    '{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}',
  );
  const { session } = mergeSessions({}, mine, { a: 1 });
  expect(Object.getPrototypeOf(session)).toBe(Object.prototype);
  expect(Object.keys(session).sort()).toEqual(["__proto__", "a", "constructor"]);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});
