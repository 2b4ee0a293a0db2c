import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { type StoredRecord, UNREADABLE } from "../../lib/core/record.js";
import { DynamoDBItems, type Item, MAX_INFLATED_BYTES, sizeOf } from "../../lib/dynamodb/items.js";

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
  id: { S: "sess:sid" },
  data: { S: '{"user":"ann"}' },
  expires: { N: "1700000000001" },
  ttl: { N: "1700000061" },
  c: { N: "1600000000000" },
  v: { S: "one.two" },
  s: { N: "60000" },
};

describe("items", () => {
  it("are made of records, and records of items", () => {
    expect(items.itemOf("sess:sid", record)).toEqual(item);
    expect(items.recordOf(item)).toEqual(record);
    expect(items.keyOf(item)).toBe("sess:sid");
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
    expect(named.recordOf(made)).toEqual(record);
    expect(named.keyOf(made)).toBe("sess:sid");
    expect(named.recordOf(item)).toBe(UNREADABLE);
  });

  it.each(["data", "expires", "c", "v", "s"])("without a usable `%s` are unreadable", name => {
    const unusable: AttributeValue[] = [{ BOOL: true }, { NULL: true }, { L: [] }, { M: {} }, { SS: ["1"] }];
    const other: AttributeValue = name === "data" || name === "v" ? { N: "1" } : { S: "1" };
    for (const value of [...unusable, other]) {
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

describe("smaller", () => {
  const of = (data: string) => items.itemOf("sess:sid", { ...record, data });

  it("deflates the data where that saves a write unit, and they are read as they were", async () => {
    const data = JSON.stringify({ text: "世界 ".repeat(1000) });
    const deflated = await items.smaller(of(data));
    expect(deflated.data?.B?.length).toBeLessThan(200);
    expect({ ...deflated, data: { S: data } }).toEqual(of(data));
    expect(await items.recordOf(deflated)).toEqual({ ...record, data });
  });

  it.each([
    ["one unit is enough", "x".repeat(900)],
    ["there is nothing to gain", randomBytes(1200).toString("base64").slice(0, 1500)],
    ["it could not be read again", "x".repeat(MAX_INFLATED_BYTES + 1)],
  ])("leaves an item as it is where %s", async (_where, data) => {
    const plain = of(data);
    expect(await items.smaller(plain)).toBe(plain);
  });

  it("is undone for the largest data that it takes, and for no more", async () => {
    const data = "x".repeat(MAX_INFLATED_BYTES);
    expect(await items.recordOf(await items.smaller(of(data)))).toEqual({ ...record, data });
    const larger = { ...item, data: { B: deflateRawSync(`${data}x`) } };
    expect(await items.recordOf(larger)).toBe(UNREADABLE);
    expect(await items.recordOf({ ...item, data: { B: Buffer.from("{}") } })).toBe(UNREADABLE);
  });
});

it("gives the mark of a moved session a TTL that DynamoDB minds: it leaves what ended five years ago", () => {
  const createdAt = Date.parse("2026-11-21T00:00:00Z");
  const { ttl } = items.itemOf("sess:sid", { ...record, createdAt, expiresAt: 0 });
  expect(ttl).toEqual({ N: String(createdAt / 1000 + 60) });
});

describe("ttlOf", () => {
  it.each([
    [1_700_000_000_000, "1700000060"],
    [1_700_000_000_001, "1700000061"],
    [1_700_000_000_999, "1700000061"],
  ])(
    "of an expiry at %d is %s: whole seconds, rounded up, after a grace period of a minute",
    (expiresAt, ttl) => {
      expect(items.ttlOf(expiresAt)).toBe(ttl);
    },
  );
});

describe("sizeOf", () => {
  it.each<[string, Item, number]>([
    ["names and strings in bytes, not in characters", { é: { S: "世界" } }, 2 + 6],
    ["binary data as they are", { b: { B: Buffer.alloc(7) } }, 1 + 7],
    ["a byte for two digits of a number and one more", { n: { N: "1234" } }, 1 + 2 + 1],
    ["an odd digit as one more", { n: { N: "12345" } }, 1 + 3 + 1],
    ["all attributes", { id: { S: "ab" }, n: { N: "12" } }, 2 + 2 + 1 + 1 + 1],
    ["nothing for nothing", {}, 0],
  ])("counts %s", (_what, some, size) => {
    expect(sizeOf(some)).toBe(size);
  });
});
