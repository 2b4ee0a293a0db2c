import { DynamoDBItems } from "../../lib/internal/dynamodb-items.js";
import { type StoredRecord, UNREADABLE } from "../../lib/internal/record.js";

const items = new DynamoDBItems({
  id: "id",
  data: "data",
  expires: "expires",
  ttl: "ttl",
  created: "c",
  version: "v",
  slack: "s",
});
const record: StoredRecord = {
  data: '{"user":"ann"}',
  version: "one.two",
  expiresAt: 1_700_000_000_001,
  slack: 60_000,
  createdAt: 1_600_000_000_000,
};
const item = {
  id: "sess:sid",
  data: '{"user":"ann"}',
  expires: 1_700_000_000_001,
  ttl: 1_700_000_061,
  c: 1_600_000_000_000,
  v: "one.two",
  s: 60_000,
};

describe("items", () => {
  it("are made of records, and records of items", () => {
    expect(items.itemOf("sess:sid", record)).toEqual(item);
    expect(items.recordOf(item)).toEqual(record);
    expect(items.scannedOf(item)).toEqual({ key: "sess:sid", record });
  });

  it("that are not there make no record", () => {
    expect(items.recordOf(undefined)).toBeUndefined();
  });

  it("have the attribute names that they are given", () => {
    const named = new DynamoDBItems({
      id: "token",
      data: "session",
      expires: "until",
      ttl: "gone",
      created: "since",
      version: "version",
      slack: "more",
    });
    const made = named.itemOf("sess:sid", record);
    expect(made).toEqual({
      token: item.id,
      session: item.data,
      until: item.expires,
      gone: item.ttl,
      since: item.c,
      version: item.v,
      more: item.s,
    });
    expect(named.scannedOf(made)).toEqual({ key: "sess:sid", record });
    expect(named.recordOf(item)).toBe(UNREADABLE);
  });

  it("are read as well as the wire has them, which is how one comes with a failed condition", () => {
    const marshalled = {
      id: { S: item.id },
      data: { S: item.data },
      expires: { N: String(item.expires) },
      ttl: { N: String(item.ttl) },
      c: { N: String(item.c) },
      v: { S: item.v },
      s: { N: "0" },
    };
    expect(items.recordOf(marshalled)).toEqual({ ...record, slack: 0 });
  });

  it.each(["data", "expires", "c", "v", "s"])("without a usable `%s` are unreadable", name => {
    for (const value of [undefined, null, "", {}, [], { BOOL: true }, { NULL: true }, Number.NaN]) {
      if (name === "data" && value === "") continue;
      expect(items.recordOf({ ...item, [name]: value })).toBe(UNREADABLE);
    }
    const { [name as keyof typeof item]: _left, ...rest } = item;
    expect(items.recordOf(rest)).toBe(UNREADABLE);
  });

  it("need no TTL to be read: DynamoDB alone uses that", () => {
    const { ttl: _ttl, ...rest } = item;
    expect(items.recordOf(rest)).toEqual(record);
  });
});

describe("ttlOf", () => {
  it.each([
    [1_700_000_000_000, 1_700_000_060],
    [1_700_000_000_001, 1_700_000_061],
    [1_700_000_000_999, 1_700_000_061],
  ])(
    "of an expiry at %d is %d: whole seconds, rounded up, after a grace period of a minute",
    (expiresAt, ttl) => {
      expect(items.ttlOf(expiresAt)).toBe(ttl);
    },
  );
});

describe("sizeOf", () => {
  it.each<[string, object, number]>([
    ["names and strings in bytes, not in characters", { é: "世界" }, 2 + 6],
    ["a byte for two digits of a number and one more", { n: 1234 }, 1 + 2 + 1],
    ["an odd digit as one more", { n: 12345 }, 1 + 3 + 1],
    ["all attributes", { id: "ab", n: 12 }, 2 + 2 + 1 + 1 + 1],
    ["nothing for nothing", {}, 0],
  ])("counts %s", (_what, some, size) => {
    expect(items.sizeOf(some)).toBe(size);
  });
});
