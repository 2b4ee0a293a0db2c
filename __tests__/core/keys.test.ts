import { SessionKeys } from "../../lib/core/keys.js";

const sidsOfAllKinds = [
  "Ab3-_xyz",
  "a:b",
  "../../etc/passwd",
  "__proto__",
  "per%cent",
  "%41",
  "%u0041",
  "nul\0",
  "späße",
  "日本語",
  "😀",
  "\ud800",
  "\udfff",
  "~",
  " ",
  "x".repeat(1024),
];

describe("keyOf", () => {
  it.each(["AbC-_019", "0", "-", "x".repeat(1024)])("stores an ordinary sid as it is: %.20s", sid => {
    expect(new SessionKeys("sess:").keyOf(sid)).toBe(`sess:${sid}`);
  });

  it.each(sidsOfAllKinds)("of %j is read back", sid => {
    const keys = new SessionKeys("sess:");
    const key = keys.keyOf(sid);
    expect(key).toMatch(/^sess:[A-Za-z0-9_%-]+$/);
    expect(keys.isDigest(key)).toBe(false);
    expect(keys.sidOf(key)).toBe(sid);
  });

  it("gives different sids different keys", () => {
    const sids = [
      ...sidsOfAllKinds,
      "A",
      "%",
      "%25",
      "a%3ab",
      "x".repeat(1025),
      "x".repeat(1026),
      "%hx",
      "\ufffd",
    ];
    expect(new Set(sids.map(sid => new SessionKeys("").keyOf(sid))).size).toBe(sids.length);
  });

  it("of a long sid is a digest of bounded length", () => {
    const keys = new SessionKeys("sess:");
    for (const sid of ["x".repeat(1025), "😀".repeat(2000)]) {
      expect(keys.isDigest(keys.keyOf(sid))).toBe(true);
      expect(keys.keyOf(sid).length).toBeLessThan(60);
    }
  });
});

describe("prefixes", () => {
  const prefixes = ["", "a", "ab", "a:", "a:b", "a:b:", "a~", "a~~", "~", "%", "a%", "A:", "ä"];
  const sids = ["b", "b:x", ":x", "~x", "x", "%3ax", "bx", "y".repeat(2000)];

  it("never share a key, whatever the sids", () => {
    const keys = prefixes.flatMap(prefix => sids.map(sid => new SessionKeys(prefix).keyOf(sid)));
    expect(new Set(keys).size).toBe(prefixes.length * sids.length);
  });

  it("own their keys and nobody else's", () => {
    for (const mine of prefixes) {
      for (const theirs of prefixes) {
        for (const sid of sids) {
          expect(new SessionKeys(mine).includes(new SessionKeys(theirs).keyOf(sid))).toBe(mine === theirs);
        }
      }
    }
  });

  it("that end in a delimiter are followed by the sid at once", () => {
    expect(new SessionKeys("scs:session:").keyOf("abc")).toBe("scs:session:abc");
    expect(new SessionKeys("").keyOf("abc")).toBe("abc");
  });
});
