import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import { NumberValue } from "@aws-sdk/lib-dynamodb";
import { type StoredRecord, UNREADABLE } from "../../lib/core/record.js";
import {
  DynamoDBItems,
  type Item,
  MAX_INFLATED_BYTES,
  sizeOf,
  ttlOf,
  unmarshalled,
} from "../../lib/dynamodb/items.js";
import { attributesOf } from "../../lib/dynamodb/options.js";

const items = new DynamoDBItems({ attributes: attributesOf(), wrapsNumbers: false });
const deleteAt = 1_700_000_060_001;
const record: StoredRecord = {
  data: '{"user":"ann"}',
  version: "one.two",
  lifetime: 1_800_000,
  activeAt: 1_700_000_000_001,
  createdAt: 1_600_000_000_000,
  user: undefined,
};
const tombstone: StoredRecord = { ...record, data: "", version: "~removal", lifetime: 0 };
const item = {
  id: "sess:sid",
  data: '{"user":"ann"}',
  ttl: 1_700_000_061,
  l: 1_800_000,
  a: 1_700_000_000_001,
  c: 1_600_000_000_000,
  v: "one.two",
};

describe("items", () => {
  it("are made of records, and records of items", () => {
    expect(items.itemOf("sess:sid", record, deleteAt)).toEqual(item);
    expect(items.foundOf(item)).toEqual({ record });
    expect(items.keyOf(item)).toBe("sess:sid");
  });

  it("have the user only if the record has one", () => {
    const made = items.itemOf("sess:sid", { ...record, user: "ann" }, deleteAt);
    expect(made).toEqual({ ...item, u: "ann" });
    expect(items.foundOf(made)).toEqual({ record: { ...record, user: "ann" } });
    expect(items.itemOf("sess:sid", { ...record, user: "" }, deleteAt)).toEqual(item);
  });

  it("of tombstones have no data, so that no client turns an empty string into something else", () => {
    const made = items.itemOf("sess:sid", tombstone, deleteAt);
    expect(made).toEqual({ id: "sess:sid", ttl: item.ttl, l: 0, a: item.a, c: item.c, v: "~removal" });
    expect(items.foundOf(made)).toEqual({ record: tombstone });
  });

  it("that are not stored are not found", () => {
    expect(items.foundOf(undefined)).toBeUndefined();
  });

  it("have the attribute names that are given", () => {
    const attributes = {
      id: "token",
      data: "session",
      ttl: "gone",
      lifetime: "lasts",
      activeAt: "seen",
      created: "since",
      version: "version",
      user: "owner",
    };
    const named = new DynamoDBItems({ attributes, wrapsNumbers: false });
    const made = named.itemOf("sess:sid", { ...record, user: "ann" }, deleteAt);
    expect(made).toEqual({
      token: item.id,
      session: item.data,
      gone: item.ttl,
      lasts: item.l,
      seen: item.a,
      since: item.c,
      version: item.v,
      owner: "ann",
    });
    expect(named.foundOf(made)).toEqual({ record: { ...record, user: "ann" } });
    expect(named.keyOf(made)).toBe("sess:sid");
    expect(named.foundOf(item)).toEqual({ record: UNREADABLE });
  });

  it.each(["data", "l", "a", "c", "v"])("without a usable `%s` are unreadable", name => {
    const other = name === "data" || name === "v" ? 1 : "1";
    for (const value of [true, null, [], {}, new Set(["1"]), 2n ** 70n, 1.5, other]) {
      if (name === "data" || name === "v" || value !== 2n ** 70n) {
        expect(items.foundOf({ ...item, [name]: value })).toEqual({ record: UNREADABLE });
      }
    }
    const { [name as keyof typeof item]: _left, ...rest } = item;
    expect(items.foundOf(rest)).toEqual({ record: UNREADABLE });
  });

  it("with a user of another type are unreadable", () => {
    expect(items.foundOf({ ...item, u: 42 })).toEqual({ record: UNREADABLE });
  });

  it("of version 0.1 are unreadable", () => {
    const { l: _lifetime, a: _activeAt, ...shared } = item;
    const old = { ...shared, expires: 1_700_000_000_001, s: 60_000 };
    expect(items.foundOf(old)).toEqual({ record: UNREADABLE });
  });

  it("need no TTL to be read: only DynamoDB uses it", () => {
    const { ttl: _ttl, ...rest } = item;
    expect(items.foundOf(rest)).toEqual({ record });
  });

  it("with numbers that the client has wrapped are read by a client that does", () => {
    const wrapped = (wrap: (digits: string) => unknown) => ({
      ...item,
      l: wrap(String(item.l)),
      a: wrap(String(item.a)),
      c: wrap(String(item.c)),
    });
    const wrapping = new DynamoDBItems({ attributes: attributesOf(), wrapsNumbers: true });
    for (const wrap of [String, Number, BigInt, NumberValue.from]) {
      expect(wrapping.foundOf(wrapped(wrap))).toEqual({ record });
    }
    for (const wrong of ["", null, {}, true, "soon"]) {
      expect(wrapping.foundOf({ ...item, l: wrong })).toEqual({ record: UNREADABLE });
    }
    expect(items.foundOf(wrapped(String))).toEqual({ record: UNREADABLE });
  });
});

describe("compressed", () => {
  const of = (data: string) => items.itemOf("sess:sid", { ...record, data }, deleteAt);

  it("deflates the data if that saves a write unit, and they are read as they were", async () => {
    const data = JSON.stringify({ text: "世界 ".repeat(1000) });
    const deflated = await items.compressed(of(data));
    expect((deflated.data as Uint8Array).length).toBeLessThan(200);
    expect({ ...deflated, data }).toEqual(of(data));
    expect(await items.foundOf(deflated)).toEqual({ record: { ...record, data } });
  });

  it.each([
    ["one unit is enough", "x".repeat(900)],
    ["there is nothing to gain", randomBytes(1200).toString("base64").slice(0, 1500)],
    ["it could not be read again", "x".repeat(MAX_INFLATED_BYTES + 1)],
    ["it is a tombstone", ""],
  ])("leaves an item as it is if %s", async (_why, data) => {
    const plain = of(data);
    expect(await items.compressed(plain)).toBe(plain);
  });

  it("is undone for the largest data that it takes, and for no more", async () => {
    const data = "x".repeat(MAX_INFLATED_BYTES);
    expect(await items.foundOf(await items.compressed(of(data)))).toEqual({ record: { ...record, data } });
    const larger = { ...item, data: deflateRawSync(`${data}x`) };
    expect(await items.foundOf(larger)).toEqual({ record: UNREADABLE });
    expect(await items.foundOf({ ...item, data: Buffer.from("{}") })).toEqual({ record: UNREADABLE });
  });
});

it("an item that comes with an error is read as the others", async () => {
  const wire = {
    id: { S: "sess:sid" },
    data: { S: item.data },
    ttl: { N: "1700000061" },
    l: { N: "1800000" },
    a: { N: "1700000000001" },
    c: { N: "1600000000000" },
    v: { S: "one.two" },
  };
  expect(unmarshalled(wire)).toEqual(item);
  const deflated = { ...wire, data: { B: deflateRawSync(record.data) } };
  expect(await items.foundOf(unmarshalled(deflated))).toEqual({ record });
  expect(items.foundOf(unmarshalled({ ...wire, v: { NULL: true } }))).toEqual({ record: UNREADABLE });
  expect(items.foundOf(unmarshalled({ ...wire, u: { L: [] } }))).toEqual({ record: UNREADABLE });
});

it.each([
  [1_700_000_000_000, 1_700_000_000],
  [1_700_000_000_001, 1_700_000_001],
  [1_700_000_000_999, 1_700_000_001],
])("ttlOf(%d) is %d: whole seconds, rounded up", (time, ttl) => {
  expect(ttlOf(time)).toBe(ttl);
});

describe("sizeOf", () => {
  it.each<[string, Item, number]>([
    ["names and strings in bytes, not in characters", { é: "世界" }, 2 + 6],
    ["binary data as they are", { b: Buffer.alloc(7) }, 1 + 7],
    ["a byte for two digits of a number and one more", { n: 1234 }, 1 + 2 + 1],
    ["an odd digit as one more", { n: 12345 }, 1 + 3 + 1],
    ["all attributes", { id: "ab", n: 12 }, 2 + 2 + 1 + 1 + 1],
    ["nothing for nothing", {}, 0],
  ])("counts %s", (_what, some, size) => {
    expect(sizeOf(some)).toBe(size);
  });
});
