import { createHash, createHmac } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setImmediate as turn } from "node:timers/promises";
import { Clock } from "../../lib/conformance/clock.js";
import { load, plain, stored } from "../../lib/conformance/sessions.js";
import { storeConformance } from "../../lib/conformance.js";
import {
  type Found,
  isTombstone,
  type OperationMessage,
  type StoreOptions,
  UNREADABLE,
} from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";
import { backends, useBackend } from "../helpers/stores/backends.js";
import { ScriptedStore } from "../helpers/stores/scripted-store.js";

const digest = (sid: string) => createHash("sha256").update(sid, "utf16le").digest("base64url");

let records: Map<string, Found>;

beforeEach(() => {
  records = new Map();
});

const open = (options: StoreOptions = { hashIds: true }) => new ScriptedStore(options, records);

/** The keys of all records except tombstones. */
const keys = () =>
  [...records]
    .filter(([, { record }]) => record === UNREADABLE || !isTombstone(record))
    .map(([key]) => key)
    .sort();

/** Tests of the suite that compare listed ids with sids. The tests below compare them with digests. */
const ABOUT_LISTED_SIDS = [
  "listings",
  "corrupt records",
  "prefixes",
  "timeouts and signals",
  "two stores on one backend",
];

describe("a store with hashed ids", () => {
  const shared = new Map<string, Found>();
  for (const hashIds of [true, { secret: "s" }]) {
    describe(JSON.stringify(hashIds), () => {
      storeConformance({
        describe: (name, body) => ABOUT_LISTED_SIDS.includes(name) || describe(name, body),
        it: (name, body) => /^what all /.test(name) || it(name, body),
        createStore: options => new ScriptedStore({ ...options, hashIds }, shared),
      });
    });
  }
});

describe("keys", () => {
  it("have the SHA-256 of the sid, or an HMAC with the secret, and no sid anywhere", async () => {
    await open().set("sid", plain({ user: "ann" }));
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
    records.clear();
    await open({ hashIds: { secret: "secret" } }).set("sid".repeat(500), plain({ user: "ann" }));
    const hmac = createHmac("sha256", "secret").update("sid".repeat(500), "utf16le").digest("base64url");
    expect(keys()).toEqual([`sess:%s${hmac}`]);
    expect(JSON.stringify([...records])).not.toContain("sidsid");
  });

  it("do not change when the bytes of the secret are wiped", async () => {
    const secret = Buffer.from("secret");
    const store = open({ hashIds: { secret } });
    await store.set("sid", plain());
    secret.fill(0);
    expect(await store.get("sid")).not.toBeNull();
    expect(await open({ hashIds: { secret: "secret" } }).get("sid")).not.toBeNull();
  });

  it("are no sids: who reads the backend cannot use what is there as one", async () => {
    const store = open();
    await store.set("sid", plain());
    for (const sid of [digest("sid"), `%s${digest("sid")}`]) expect(await store.get(sid)).toBeNull();
  });

  it("are what listings give, and destroy accepts", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    await store.set("other", plain());
    await store.set("long".repeat(500), plain());
    const ids = ["sid", "other", "long".repeat(500)].map(digest).sort();
    expect((await store.ids()).sort()).toEqual(ids);
    expect((await store.all()).map(({ id }) => id).sort()).toEqual(ids);
    const entries: string[] = [];
    for await (const [id] of store.entries()) entries.push(id);
    expect(entries.sort()).toEqual(ids);
    expect(await store.length()).toBe(3);
    await store.destroy(digest("sid"));
    expect(await store.get("sid")).toBeNull();
    await store.clear();
    expect(keys()).toEqual([]);
  });

  it.each<[unknown, string]>([
    ["hunter2", "it is string"],
    [1, "it is number"],
    [null, "it is null"],
    [[], "it is an array"],
    [Buffer.from("hunter2"), "it is object"],
    [new Map([["secret", "hunter2"]]), "it is object"],
    [{ secret: "" }, "`secret` is empty"],
    [{ secret: new Uint8Array() }, "`secret` is empty"],
    [{ secret: undefined }, "`secret` is undefined"],
    [{ secret: 1 }, "`secret` is number"],
    [{ secret: "hunter2", findPlain: true }, "it has `findPlain`"],
    [{ secret: "hunter2", readUnhashed: true }, "it has `readUnhashed`"],
    [{ key: "hunter2" }, "it has `key`"],
  ])("refuse %p, say what is wrong and do not show it", (hashIds, fault) => {
    const misuse = () => open({ hashIds } as unknown as StoreOptions);
    expect(misuse).toThrow(TypeError);
    expect(misuse).toThrow(/^Expected `hashIds` to be a boolean, or an object .*, but /);
    expect(misuse).toThrow(`, but ${fault}`);
    expect(misuse).not.toThrow(/hunter2/);
  });

  it("of sessions that a listing gave are known: what it gave can be changed and saved, and stays destroyed", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    for await (const [id, session] of store.entries()) {
      await store.set(id, Object.assign(session, { views: 1 }));
      expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
      await store.destroy(id);
      await store.set(id, Object.assign(session, { views: 2 }));
    }
    expect(keys()).toEqual([]);
  });
});

describe("a sid that looks like a digest", () => {
  it("is one: its session is found, and destroyed with the one that a listing gives by it", async () => {
    const store = open();
    const sid = digest("sid");
    await store.set("sid", plain({ user: "ann" }));
    await store.set(sid, plain({ user: "ben" }));
    expect(await stored(store, sid)).toEqual({ user: "ben" });
    await store.destroy(sid);
    expect(keys()).toEqual([]);
  });
});

describe("sessions from before it was turned on", () => {
  // Sessions are moved as to another store.
  it("are not found, and not listed by the digest of another", async () => {
    await open({}).set("sid", plain({ user: "ann" }));
    const store = open();
    expect(await store.get("sid")).toBeNull();
    await store.touch("sid", plain());
    await store.destroy("sid");
    expect(await stored(open({}), "sid")).toEqual({ user: "ann" });
  });

  it("cost nothing: each operation is one call of the backend", async () => {
    const store = open();
    await store.set("sid", plain());
    await store.set("sid", await load(store, "sid"));
    await store.destroy("sid");
    expect(store.calls).toEqual(["write", "read", "write", "remove"]);
  });
});

describe.each(backends)("on $name", backend => {
  const createStore = useBackend(backend);

  it("a session is saved, merged, listed and destroyed by its digest", async () => {
    const store = createStore({ hashIds: { secret: "secret" } });
    await store.set("sid", plain({ user: "ann" }));
    const [one, other] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(one, { one: 1 }));
    await store.set("sid", Object.assign(other, { other: 1 }));
    expect(await stored(store, "sid")).toEqual({ user: "ann", one: 1, other: 1 });
    const [id = ""] = await store.ids();
    expect(id).toBe(createHmac("sha256", "secret").update("sid", "utf16le").digest("base64url"));
    await store.destroy(id);
    await store.set("sid", Object.assign(one, { one: 2 }));
    expect(await store.get("sid")).toBeNull();
    expect(await store.length()).toBe(0);
  });
});

describe("events and diagnostics", () => {
  it.each([
    ["the SHA-256", true],
    ["the HMAC", { secret: "secret" }],
  ])("have %s that listings give, whatever found it out", async (_what, hashIds) => {
    const clock = new Clock();
    let unreadable = false;
    const parse = (text: string) => {
      if (unreadable) throw new Error("Not readable");
      return JSON.parse(text);
    };
    const store = new MemoryStore({
      hashIds,
      now: clock.now,
      cleanupInterval: 0,
      serializer: { stringify: JSON.stringify, parse },
    });
    const seen: [string, string][] = [];
    for (const event of ["conflict", "corrupt", "expired"]) {
      store.on(event, ({ reason, sidHash }) => seen.push([reason ?? event, sidHash]));
    }
    const report = (message: unknown) =>
      seen.push(["operation", (message as OperationMessage).sidHash ?? "-"]);
    await store.set("sid", plain({}, clock.in(10)));
    const [id] = await store.ids();
    subscribe("express-session-stores:operation", report);
    unreadable = true;
    await store.get("sid");
    await store.all();
    unreadable = false;
    const session = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", session);
    await store.set("sid", plain({}, clock.in(10)));
    clock.advance(100);
    await store.get("sid");
    await store.cleanup();
    await turn();
    unsubscribe("express-session-stores:operation", report);
    await store.close();
    expect(seen.map(([what]) => what).filter(what => what !== "operation")).toEqual([
      "corrupt",
      "corrupt",
      "gone",
      "found",
      "removed",
    ]);
    expect(new Set(seen.map(([, sidHash]) => sidHash))).toEqual(new Set([id, "-"]));
  });
});
