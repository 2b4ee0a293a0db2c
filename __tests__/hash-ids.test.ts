import { createHash, createHmac, randomUUID } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setImmediate as turn } from "node:timers/promises";
import { Clock } from "../lib/conformance/clock.js";
import { load, plain, stored } from "../lib/conformance/sessions.js";
import { storeConformance } from "../lib/conformance.js";
import { decodeRecord, type OperationMessage, type StoreOptions, type WriteResult } from "../lib/index.js";
import { MemoryStore } from "../lib/memory.js";
import { backends } from "./helpers/backends.js";
import { MapStore } from "./helpers/broken-stores.js";

const digest = (sid: string) => createHash("sha256").update(sid, "utf16le").digest("base64url");

let map: Map<string, string>;

beforeEach(() => {
  map = new Map();
});

const open = (options: StoreOptions = { hashIds: true }) => new MapStore(options, map);
const keys = () => [...map.keys()].sort();

/** They compare what listings give with sids; the tests below do so with digests. */
const ABOUT_LISTED_SIDS = [
  "all, ids, length, entries and clear",
  "corrupt records",
  "prefixes",
  "signals and time limits",
  "two stores on one backend",
];

describe("a store with hashed ids", () => {
  const shared = new Map<string, string>();
  for (const hashIds of [true, { secret: "s", findPlain: false }]) {
    describe(JSON.stringify(hashIds), () => {
      storeConformance({
        describe: (name, body) => ABOUT_LISTED_SIDS.includes(name) || describe(name, body),
        it,
        createStore: options => new MapStore({ ...options, hashIds }, shared),
      });
    });
  }
});

describe("keys", () => {
  it("have the SHA-256 of the sid, or an HMAC with the secret, and no sid anywhere", async () => {
    await open().set("sid", plain({ user: "ann" }));
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
    map.clear();
    await open({ hashIds: { secret: "secret" } }).set("sid".repeat(500), plain({ user: "ann" }));
    const hmac = createHmac("sha256", "secret").update("sid".repeat(500), "utf16le").digest("base64url");
    expect(keys()).toEqual([`sess:%s${hmac}`]);
    expect(JSON.stringify([...map])).not.toContain("sidsid");
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

  it("are what listings give, and destroy takes that", async () => {
    await open({}).set("plain", plain());
    await open({}).set("long".repeat(500), plain());
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    const ids = ["sid", "plain", "long".repeat(500)].map(digest).sort();
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
    [{ secret: "hunter2", findPlain: 1 }, "`findPlain` is number"],
    [{ key: "hunter2" }, "it has `key`"],
  ])("refuse %p, say what is wrong and do not show it", (hashIds, fault) => {
    const misuse = () => open({ hashIds } as unknown as StoreOptions);
    expect(misuse).toThrow(TypeError);
    expect(misuse).toThrow(/^Expected `hashIds` to be a boolean, or an object .*, but /);
    expect(misuse).toThrow(`, but ${fault}`);
    expect(misuse).not.toThrow(/hunter2/);
  });

  it("are removed one by one: a client need not have the right to remove many at once", async () => {
    const store = open();
    const sid = digest("sid");
    await open({}).set(sid, plain());
    await store.set("sid", plain());
    Object.assign(store, { _removeAll: () => Promise.reject(new Error("Not allowed")) });
    await store.destroy(sid);
    expect(keys()).toEqual([]);
  });
});

describe.each(backends.filter(({ persistent }) => persistent))("on $name", backend => {
  it("a session from before is moved by the next save, whatever other processes save", async () => {
    const { createStore, close } = await backend.open();
    const prefix = `${randomUUID()}:`;
    const store = createStore({ prefix, hashIds: true });
    await createStore({ prefix }).set("sid", plain({ user: "ann" }));
    const [one, other] = [
      await load(store, "sid"),
      await load(createStore({ prefix, hashIds: true }), "sid"),
    ];
    await Promise.all([
      store.set("sid", Object.assign(one, { one: 1 })),
      (other.req as unknown as { sessionStore: typeof store }).sessionStore.set(
        "sid",
        Object.assign(other, { other: 1 }),
      ),
    ]);
    expect(await stored(store, "sid")).toEqual({ user: "ann", one: 1, other: 1 });
    expect(await createStore({ prefix }).get("sid")).toBeNull();
    await store.destroy("sid");
    await store.set("sid", Object.assign(one, { one: 2 }));
    expect(await store.length()).toBe(0);
    await store.close();
    await close();
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
    const tell = (message: unknown) => seen.push(["operation", (message as OperationMessage).sidHash ?? "-"]);
    await store.set("sid", plain({}, clock.in(10)));
    const [id] = await store.ids();
    subscribe("express-session-stores:operation", tell);
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
    unsubscribe("express-session-stores:operation", tell);
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

describe("a session from before", () => {
  beforeEach(() => open({}).set("sid", plain({ user: "ann" })));

  it("is found, touched and destroyed", async () => {
    const store = open();
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    await store.destroy("sid");
    expect(keys()).toEqual([]);
  });

  it("is touched by who has not loaded it", async () => {
    const clock = new Clock();
    const store = open({ hashIds: true, now: clock.now, touchAfter: 0 });
    await store.touch("sid", plain({}, clock.in(100_000)));
    const record = decodeRecord(map.get("sess:sid") ?? "");
    expect(record.expiresAt).toBe(clock.in(100_000).getTime());
  });

  it("is moved by the next save, and stays signed in", async () => {
    const store = open();
    const session = await load(store, "sid");
    session.views = 1;
    await store.set("sid", session);
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    session.views = 2;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 2 });
  });

  it("is not found any more with findPlain: false", async () => {
    expect(await open({ hashIds: { findPlain: false } }).get("sid")).toBeNull();
  });

  it("does not come back after another was put in its place", async () => {
    const store = open();
    await store.set("sid", plain({ user: "bob" }));
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
  });

  it("stays destroyed for a request that had loaded it", async () => {
    const store = open();
    const session = await load(store, "sid");
    await open().destroy("sid");
    session.views = 1;
    await store.set("sid", session);
    expect(keys()).toEqual([]);
  });

  it("keeps what two processes change while one of them moves it", async () => {
    const [one, other] = [open(), open()];
    const [first, second] = [await load(one, "sid"), await load(other, "sid")];
    await one.set("sid", Object.assign(first, { first: 1 }));
    await other.set("sid", Object.assign(second, { second: 1 }));
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
    expect(await stored(one, "sid")).toEqual({ user: "ann", first: 1, second: 1 });
    await one.set("sid", Object.assign(first, { first: 2 }));
    await other.set("sid", Object.assign(second, { second: 2 }));
    expect(await stored(one, "sid")).toEqual({ user: "ann", first: 2, second: 2 });
  });

  it("is gone for good when it is saved with a past expiry, though another has moved it", async () => {
    const clock = new Clock();
    const [store, other] = [open(), open()];
    const session = await load(store, "sid");
    await other.set("sid", await load(other, "sid"));
    session.cookie.expires = clock.in(-1);
    await store.set("sid", session);
    expect(keys()).toEqual([]);
  });

  it("is prolonged by who loaded it before another moved it", async () => {
    const clock = new Clock();
    const options = { hashIds: true, touchAfter: 0 };
    const [store, other] = [open(options), open(options)];
    const session = await load(store, "sid");
    await other.set("sid", await load(other, "sid"));
    session.cookie.expires = clock.in(100_000);
    const outcomes: string[] = [];
    const tell = (message: unknown) => outcomes.push((message as OperationMessage).outcome);
    subscribe("express-session-stores:operation", tell);
    await store.touch("sid", session);
    unsubscribe("express-session-stores:operation", tell);
    expect(outcomes).toEqual(["extended"]);
    const record = decodeRecord(map.get(`sess:%s${digest("sid")}`) ?? "");
    expect(record.expiresAt).toBe(clock.in(100_000).getTime());
  });

  it.each([2, 3])("is moved as a whole when it is touched before write %p of the move", async nth => {
    const clock = new Clock();
    const options = { hashIds: true, touchAfter: 0 };
    const store = open(options);
    const session = await load(store, "sid");
    before(store, nth, () => open(options).touch("sid", plain({}, clock.in(100_000))));
    await store.set("sid", Object.assign(session, { views: 1 }));
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
    const record = decodeRecord(map.get(keys()[0] as string) ?? "");
    expect(record.expiresAt).toBe(clock.in(100_000).getTime());
    session.views = 2;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 2 });
  });

  /** Does something else before the nth write of a store. */
  function before(store: MapStore, nth: number, intervene: () => Promise<unknown>): void {
    const write = store._write.bind(store);
    let writes = 0;
    Object.assign(store, {
      _write: async (...args: Parameters<MapStore["_write"]>): Promise<WriteResult> => {
        writes += 1;
        if (writes === nth) await intervene();
        return write(...args);
      },
    });
  }

  it.each([1, 2, 3])("is not brought back by a move when it is destroyed before write %p", async nth => {
    const store = open();
    const session = await load(store, "sid");
    before(store, nth, () => open().destroy("sid"));
    await store.set("sid", Object.assign(session, { views: 1 }));
    expect(keys()).toEqual([]);
    expect(await store.get("sid")).toBeNull();
  });

  it.each([1, 2, 3])("loses no change of another that is saved before write %p of a move", async nth => {
    const [store, other] = [open(), open()];
    const [session, theirs] = [await load(store, "sid"), await load(other, "sid")];
    before(store, nth, () => other.set("sid", Object.assign(theirs, { theirs: 1 })));
    await store.set("sid", Object.assign(session, { mine: 1 }));
    expect(await stored(open(), "sid")).toEqual({ user: "ann", mine: 1, theirs: 1 });
    expect(keys()).toEqual([`sess:%s${digest("sid")}`]);
  });
});
