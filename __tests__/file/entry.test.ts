import type { StoredRecord } from "../../lib/core/record.js";
import { UNREADABLE } from "../../lib/core/record.js";
import { decodeEntry, encodeEntry, recordKeyOf, sweepIndexKey } from "../../lib/file/entry.js";

const record: StoredRecord = {
  data: '{"cookie":{},"text":"a b\\nc"}\n1 2',
  version: "writer.3,writer.2",
  lifetime: 60_000,
  activeAt: 1_700_000_000_500,
  createdAt: 1_700_000_000_000,
};

describe("an entry", () => {
  it.each([
    ["of a session", record],
    ["of a session with a user", { ...record, user: "a user\n1 2" }],
    ["of a tombstone", { ...record, data: "", lifetime: 0 }],
  ])("%s is decoded to what was encoded", (_which, each) => {
    const entry = { record: each, deleteAt: 1_700_000_180_000, sweepAt: 1_700_000_120_000 };
    expect(decodeEntry(encodeEntry(entry))).toEqual(entry);
  });

  it.each([
    ["of version 0.1", '1700000000000 4711 writer.3 1700000060000 3000 1700000000000\n{"cookie":{}}'],
    ["without times", encodeEntry({ record, deleteAt: 1, sweepAt: 1 }).slice(4)],
    ["with a time that is no number", `x ${encodeEntry({ record, deleteAt: 1, sweepAt: 1 }).slice(2)}`],
    ["that is empty", ""],
    ["of spaces", "     "],
    ["that is JSON", '{"cookie":{}}'],
  ])("%s is unreadable", (_which, text) => {
    expect(decodeEntry(text)).toBe(UNREADABLE);
  });
});

describe("a key of the sweep index", () => {
  it("has the key of its record", () => {
    expect(recordKeyOf(sweepIndexKey(1_700_000_000_000, "sess:1 2"))).toBe("sess:1 2");
  });

  it("is in the order of the times", () => {
    const times = [-1, 0, 5, 10, 1_700_000_000_000, 8.64e15];
    const keys = times.map(time => sweepIndexKey(time, "key"));
    expect([...keys].sort()).toEqual(keys);
  });
});
