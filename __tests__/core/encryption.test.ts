import { randomBytes, randomUUID } from "node:crypto";
import { eventsOf } from "../../lib/conformance/observe.js";
import { load, plain, stored } from "../../lib/conformance/sessions.js";
import { storeConformance } from "../../lib/conformance.js";
import type { Found, StoredRecord, StoreOptions } from "../../lib/index.js";
import { backends } from "../helpers/stores/backends.js";
import { ScriptedStore } from "../helpers/stores/scripted-store.js";

const [key, newKey, otherKey] = [randomBytes(32), randomBytes(32), randomBytes(32)];

let records: Map<string, Found>;

beforeEach(() => {
  records = new Map();
});

const open = (encryption: StoreOptions["encryption"]) => new ScriptedStore({ encryption }, records);

const recordOf = (storeKey: string) => records.get(storeKey)?.record as StoredRecord;
const dataOf = (storeKey: string) => recordOf(storeKey).data;
function change(storeKey: string, changed: (data: string) => string): void {
  const record = recordOf(storeKey);
  records.set(storeKey, { record: { ...record, data: changed(record.data) } });
}

describe("an encrypted store", () => {
  const shared = new Map<string, Found>();
  storeConformance({
    describe,
    it,
    createStore: options => new ScriptedStore({ ...options, encryption: { keys: [key] } }, shared),
  });
});

describe.each(backends)("on $name", backend => {
  it("a session is saved, merged, read with an older key, and not found with another", async () => {
    const { createStore, close } = await backend.open();
    const prefix = `${randomUUID()}:`;
    const store = createStore({ prefix, encryption: { keys: [key] } });
    await store.set("sid", plain({ user: "ann" }));
    const [one, other] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(one, { one: 1 }));
    await store.set("sid", Object.assign(other, { other: "κόσμε" }));
    const saved = { user: "ann", one: 1, other: "κόσμε" };
    expect(await stored(store, "sid")).toEqual(saved);
    if (backend.persistent) {
      const rotated = createStore({ prefix, encryption: { keys: [newKey, key] } });
      expect(await stored(rotated, "sid")).toEqual(saved);
      expect(await createStore({ prefix, encryption: { keys: [newKey] } }).get("sid")).toBeNull();
    }
    await store.clear();
    await store.close();
    await close();
  });
});

describe("encryption", () => {
  it("shows nothing of a session, and another text at each write", async () => {
    const store = open({ keys: [key] });
    const texts = new Set<string>();
    for (const _write of [1, 2]) {
      await store.set("sid", plain({ user: "ann" }));
      texts.add(dataOf("sess:sid"));
    }
    expect(texts.size).toBe(2);
    for (const text of texts) expect(text).not.toMatch(/ann|user|cookie/);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
  });

  it("takes keys in base64, and decrypts with any of them, encrypts with the first", async () => {
    await open({ keys: [key] }).set("sid", plain({ user: "ann" }));
    const store = open({ keys: [newKey.toString("base64"), key] });
    const session = await load(store, "sid");
    await store.set("sid", Object.assign(session, { views: 1 }));
    expect(await stored(open({ keys: [newKey] }), "sid")).toEqual({ user: "ann", views: 1 });
    expect(await open({ keys: [key] }).get("sid")).toBeNull();
  });

  it.each([
    ["a key that the store does not have", () => {}, { keys: [otherKey] }],
    ["a changed byte", () => change("sess:sid", data => flipped(data)), { keys: [key] }],
    ["the end missing", () => change("sess:sid", data => data.slice(0, 30)), { keys: [key] }],
    ["no encryption", () => change("sess:sid", () => '{"cookie":{}}'), { keys: [key] }],
  ])("a record with %s is absent, reported, and stays", async (_name, damage, encryption) => {
    await open({ keys: [key] }).set("sid", plain({ user: "ann" }));
    damage();
    const before = dataOf("sess:sid");
    const store = open(encryption);
    const corrupt = eventsOf(store, "corrupt");
    expect(await store.get("sid")).toBeNull();
    expect(await store.all()).toEqual([]);
    expect(await corrupt()).toHaveLength(2);
    expect(dataOf("sess:sid")).toBe(before);
  });

  it("binds a record to its session: it cannot be moved to another", async () => {
    const store = open({ keys: [key] });
    await store.set("admin", plain({ user: "admin" }));
    await store.set("mine", plain({ user: "ann" }));
    change("sess:mine", () => dataOf("sess:admin"));
    expect(await store.get("mine")).toBeNull();
  });

  it("finds sessions from before it was turned on only with acceptUnencrypted, and encrypts them when they are saved", async () => {
    await open(undefined).set("sid", plain({ user: "ann" }));
    expect(await open({ keys: [key] }).get("sid")).toBeNull();
    const store = open({ keys: [key], acceptUnencrypted: true });
    const session = await load(store, "sid");
    await store.set("sid", Object.assign(session, { views: 1 }));
    expect(await stored(open({ keys: [key] }), "sid")).toEqual({ user: "ann", views: 1 });
  });

  it.each<[unknown, string]>([
    ["a passphrase", "it is string"],
    [{}, "`keys` is undefined"],
    [{ keys: "a passphrase" }, "`keys` is string"],
    [{ keys: [] }, "`keys` is empty"],
    [{ keys: [key, undefined] }, "`keys[1]` is undefined"],
    [{ keys: ["a passphrase"] }, "`keys[0]` is not valid base64"],
    [{ keys: ["short"] }, "`keys[0]` has 3 bytes"],
    [{ keys: [randomBytes(16)] }, "`keys[0]` has 16 bytes"],
    [{ keys: [key], acceptUnencrypted: 1 }, "`acceptUnencrypted` is number"],
    [{ keys: [key], passphrase: "a passphrase" }, "it has `passphrase`"],
  ])("refuses %p, says what is wrong and does not show it", (encryption, fault) => {
    const misuse = () => open(encryption as StoreOptions["encryption"]);
    expect(misuse).toThrow(TypeError);
    expect(misuse).toThrow(/^Expected `encryption` to be an object \{ keys: .*, but /);
    expect(misuse).toThrow(`, but ${fault}`);
    expect(misuse).not.toThrow(/a passphrase/);
  });
});

function flipped(data: string): string {
  const at = data.length - 10;
  return data.slice(0, at) + (data[at] === "A" ? "B" : "A") + data.slice(at + 1);
}
