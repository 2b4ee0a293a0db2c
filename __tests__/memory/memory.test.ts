import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { Clock } from "../../lib/conformance/clock.js";
import { newOperation, primitivesOf } from "../../lib/conformance/primitives.js";
import {
  lasting,
  load,
  plain,
  setMaxAge,
  sids,
  stored,
  storedExpiry,
  visit,
} from "../../lib/conformance/sessions.js";
import { storeConformance } from "../../lib/conformance.js";
import { MemoryStore, type MemoryStoreOptions } from "../../lib/memory.js";

const maxBytes = 2_000_000;

describe("MemoryStore", () => {
  storeConformance({
    describe,
    it,
    createStore: options => new MemoryStore(options),
    capabilities: { users: true, shared: false },
  });
});

describe("MemoryStore with bounds", () => {
  storeConformance({
    describe,
    it,
    createStore: options => new MemoryStore({ ...options, max: 10_000, maxBytes }),
    capabilities: { users: true, shared: false, maxSessionBytes: maxBytes },
  });
});

async function fill(store: MemoryStore, count: number, fields = {}, expires?: Date): Promise<void> {
  for (const sid of sids(count)) await store.set(sid, plain(fields, expires));
}

async function have(store: MemoryStore, wanted: string[]): Promise<void> {
  expect((await store.ids()).sort()).toEqual(wanted);
}

describe("options", () => {
  it.each<[string, unknown[]]>([
    ["max", [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "10", null]],
    ["maxBytes", [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "10", null]],
    ["cleanupInterval", [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, "10", null]],
  ])("are rejected with a TypeError if they have a bad `%s`", (name, values) => {
    for (const value of values) {
      const create = () => new MemoryStore({ [name]: value } as MemoryStoreOptions);
      expect(create).toThrow(TypeError);
      expect(create).toThrow(`Expected \`${name}\` to be `);
    }
  });

  it("may all be left out", async () => {
    const store = new MemoryStore();
    expect(store.prefix).toBe("sess:");
    await store.set("sid", plain());
    await have(store, ["sid"]);
    await store.close();
  });

  it("have a touchAfter of 0 by default, since a touch costs nothing here", async () => {
    const clock = new Clock();
    const store = new MemoryStore({ now: clock.now });
    await store.set("sid", lasting(600, clock));
    clock.advance(0.001);
    await visit(store, "sid", clock);
    expect(await storedExpiry(store, "sid")).toBe(clock.in(600).toISOString());
  });
});

describe("max", () => {
  it("bounds the number of sessions", async () => {
    const store = new MemoryStore({ max: 100 });
    await fill(store, 1000);
    expect(await store.length()).toBe(100);
    await have(store, sids(1000).slice(-100).sort());
  });

  it("removes the least recently used session first: get, set and touch are uses, listing is not", async () => {
    const store = new MemoryStore({ max: 4 });
    for (const sid of ["a", "b", "c", "d"]) await store.set(sid, plain());
    await store.get("a");
    await store.set("b", plain());
    await store.touch("c", plain());
    await store.all();
    await store.set("e", plain());
    await have(store, ["a", "b", "c", "e"]);
    await store.set("f", plain());
    await have(store, ["b", "c", "e", "f"]);
  });

  it("does not let a request bring back the session it loaded, when that was removed for others", async () => {
    const store = new MemoryStore({ max: 2 });
    await store.set("a", plain());
    const session = await load(store, "a");
    await fill(store, 2);
    session.views = 1;
    await store.set("a", session);
    await have(store, sids(2));
  });
});

describe("maxBytes", () => {
  it("bounds the bytes of keys, sessions and their bookkeeping", async () => {
    const store = new MemoryStore({ maxBytes: 100_000 });
    await fill(store, 1000, { text: "x".repeat(1000) });
    const count = await store.length();
    expect(count).toBeLessThanOrEqual(100_000 / 1200);
    expect(count).toBeGreaterThan(70);
    await have(store, sids(1000).slice(-count).sort());
  });

  it("makes room for a session that grows, at the cost of the least recently used ones", async () => {
    const store = new MemoryStore({ maxBytes: 10_000 });
    await fill(store, 4, { text: "x".repeat(1500) });
    const session = await load(store, "sid-0");
    session.text = "x".repeat(6500);
    await store.set("sid-0", session);
    await have(store, ["sid-0", "sid-3"]);
  });

  it("rejects a session that is larger than all of it, keeps the one stored, and removes no other", async () => {
    const store = new MemoryStore({ maxBytes: 10_000 });
    await fill(store, 4, { text: "x".repeat(1000) });
    const session = await load(store, "sid-0");
    session.text = "x".repeat(10_000);
    for (const attempt of [session, plain({ text: session.text })]) {
      await expect(store.set("sid-0", attempt)).rejects.toMatchObject({
        code: "ERR_SESSION_TOO_LARGE",
        message: expect.stringMatching(/is 10\d{3} bytes.*`maxBytes`.* 10000 bytes/),
      });
    }
    await have(store, sids(4));
    expect(await stored(store, "sid-0")).toEqual({ text: "x".repeat(1000) });
  });

  it("holds together with max", async () => {
    const store = new MemoryStore({ max: 10, maxBytes: 1_000_000 });
    await fill(store, 100);
    expect(await store.length()).toBe(10);
  });
});

describe.each<[string, MemoryStoreOptions]>([
  ["without bounds", {}],
  ["with max", { max: 1_000_000 }],
  ["with maxBytes", { maxBytes: 1_000_000_000 }],
])("cleanup %s", (_name, bounds) => {
  it("removes sessions a minute after they expired: until then a running request can save them", async () => {
    const clock = new Clock();
    const store = new MemoryStore({ now: clock.now, ...bounds });
    await store.set("saved", plain({}, clock.in(10)));
    await store.set("lost", plain({}, clock.in(10)));
    await store.set("alive", plain({}, clock.in(1000)));
    const [saved, lost] = [await load(store, "saved"), await load(store, "lost")];
    clock.advance(10 + 59.999);
    expect(await store.cleanup()).toBe(0);
    expect(await store.get("saved")).toBeNull();
    setMaxAge(saved, 1000, clock);
    await store.set("saved", saved);
    clock.advance(0.001);
    expect(await store.cleanup()).toBe(1);
    setMaxAge(lost, 1000, clock);
    await store.set("lost", lost);
    await have(store, ["alive", "saved"]);
    expect(await store.cleanup()).toBe(0);
  });

  it("keeps a session that is touched while it runs", async () => {
    const clock = new Clock();
    const store = new MemoryStore({ now: clock.now, ...bounds });
    for (const sid of sids(2)) await store.set(sid, lasting(100, clock));
    clock.advance(90);
    await visit(store, "sid-1", clock);
    clock.advance(70 - 0.001);
    expect(await store.cleanup()).toBe(0);
    clock.advance(0.001);
    expect(await store.cleanup()).toBe(1);
    await have(store, ["sid-1"]);
  });

  it("removes tombstones an hour after the sessions were destroyed", async () => {
    const clock = new Clock();
    const store = new MemoryStore({ now: clock.now, ...bounds });
    await store.set("sid", plain());
    await store.destroy("sid");
    const { _read } = primitivesOf(store);
    const read = () => _read.call(store, "sess:sid", newOperation());
    clock.advance(3600 - 0.001);
    expect(await store.cleanup()).toBe(0);
    expect(read()).toBeDefined();
    clock.advance(0.001);
    expect(await store.cleanup()).toBe(0);
    expect(read()).toBeUndefined();
  });
});

describe("cleanupInterval", () => {
  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ["nextTick", "queueMicrotask", "setImmediate"] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  /** A store with one session that ends in 10 s, and the sweeps that its timer starts. */
  async function watched(options: MemoryStoreOptions) {
    const store = new MemoryStore(options);
    const cleanup = jest.spyOn(store, "cleanup");
    await store.set("sid", plain({}, new Date(Date.now() + 10_000)));
    return { store, cleanup, removed: () => Promise.all(cleanup.mock.results.map(({ value }) => value)) };
  }

  it("is a minute by default", async () => {
    const { store, removed } = await watched({});
    jest.advanceTimersByTime(59_999);
    expect(await removed()).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(await removed()).toEqual([0]);
    jest.advanceTimersByTime(60_000);
    expect(await removed()).toEqual([0, 1]);
    await store.close();
  });

  it("is as many seconds as it says", async () => {
    const { store, cleanup } = await watched({ cleanupInterval: 2.5 });
    for (const _round of [1, 2, 3, 4]) {
      jest.advanceTimersByTime(2500);
      await turn();
    }
    expect(cleanup).toHaveBeenCalledTimes(4);
    await store.close();
  });

  it("0 switches clean-up off", async () => {
    const { store, cleanup } = await watched({ cleanupInterval: 0 });
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(86_400_000);
    expect(cleanup).not.toHaveBeenCalled();
    await store.close();
  });

  it("never runs two clean-ups at once", async () => {
    const { store, cleanup } = await watched({ cleanupInterval: 1 });
    let finish = (_removed: number) => {};
    cleanup.mockImplementation(
      () =>
        new Promise(resolve => {
          finish = resolve;
        }),
    );
    jest.advanceTimersByTime(3000);
    expect(cleanup).toHaveBeenCalledTimes(1);
    finish(0);
    await turn();
    jest.advanceTimersByTime(1000);
    expect(cleanup).toHaveBeenCalledTimes(2);
    await store.close();
  });

  it("reports a clean-up that fails by event error, and goes on", async () => {
    const { store, cleanup } = await watched({ cleanupInterval: 1 });
    const errors: unknown[] = [];
    cleanup.mockRejectedValue("failed");
    jest.advanceTimersByTime(1000);
    await turn();
    store.on("error", error => errors.push(error));
    jest.advanceTimersByTime(1000);
    await turn();
    expect(cleanup).toHaveBeenCalledTimes(2);
    expect(errors).toEqual(["failed"]);
    await store.close();
  });

  it("ends with close", async () => {
    const { store } = await watched({});
    expect(jest.getTimerCount()).toBe(1);
    await store.close();
    expect(jest.getTimerCount()).toBe(0);
  });
});

/** Counts the turns of the event loop during `work`, with a clock by which every piece of work takes too long. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let now = 0;
  const clock = jest.spyOn(performance, "now").mockImplementation(() => (now += 1000));
  let turns = 0;
  const count = () => {
    turns += 1;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  try {
    await work();
  } finally {
    clearImmediate(next);
    clock.mockRestore();
  }
  return turns;
}

// The benchmark measures how long the event loop is held.
describe.each<[string, MemoryStoreOptions]>([
  ["without bounds", {}],
  ["with bounds", { max: 1_000_000, maxBytes: 1_000_000_000 }],
])("with 20,000 sessions, %s,", (_name, bounds) => {
  const count = 20_000;
  let clock: Clock;
  let store: MemoryStore;
  beforeEach(async () => {
    clock = new Clock();
    store = new MemoryStore({ now: clock.now, cleanupInterval: 0, ...bounds });
    await fill(store, count, { user: "ann" }, clock.in(10));
  });

  it("the removal of expired ones lets others have their turn after every 250", async () => {
    await store.set("alive", plain({}, clock.in(1000)));
    clock.advance(100);
    let removed = 0;
    const turns = await turnsDuring(async () => {
      removed = await store.cleanup();
    });
    expect(removed).toBe(count);
    expect(turns).toBeGreaterThanOrEqual(count / 250);
    await have(store, ["alive"]);
  });

  it.each([
    ["length", 10_000],
    ["ids", 250],
    ["all", 1],
    ["clear", 250],
  ] as const)("%s lets others have their turn after every %i", async (method, atMost) => {
    expect(await turnsDuring(() => store[method]())).toBeGreaterThanOrEqual(count / atMost);
  });
});

it("a listing ends, also if all that it gives is removed and saved again", async () => {
  const store = new MemoryStore({ cleanupInterval: 0 });
  await fill(store, 300);
  let listed = 0;
  for await (const [sid, session] of store.entries()) {
    listed += 1;
    if (listed > 300) break;
    await store.destroy(sid);
    await store.set(sid, { ...session });
  }
  expect(listed).toBe(300);
});

it("a process whose store is not closed exits by itself", () => {
  const dist = join(__dirname, "../../dist/memory.js");
  const code = `
    const { MemoryStore } = require(${JSON.stringify(dist)});
    const store = new MemoryStore({ cleanupInterval: 1 });
    store.set("sid", { cookie: { originalMaxAge: null } }).then(() => console.log("saved"));`;
  const { status, signal, stdout } = spawnSync(process.execPath, ["--eval", code], {
    encoding: "utf8",
    timeout: 20_000,
  });
  expect({ status, signal, stdout }).toEqual({ status: 0, signal: null, stdout: "saved\n" });
});

describe("a flood of sessions from one anonymous client", () => {
  it("stays within the bounds, and sessions that are in use are not those that go", async () => {
    const bounds = { max: 20_000, maxBytes: 20_000 * 300 };
    const store = new MemoryStore({ ...bounds, cleanupInterval: 0 });
    const used = Array.from({ length: 100 }, (_, index) => `used-${index}`);
    for (const sid of used) await store.set(sid, { cookie: { originalMaxAge: null } });
    for (let flood = 0; flood < 200_000; flood += 2000) {
      const sids = Array.from({ length: 2000 }, (_, index) => `flood-${flood + index}`);
      await Promise.all(sids.map(sid => store.set(sid, { cookie: { originalMaxAge: null } })));
      // Each is read once per 2,000 other sessions. The store removes the least recently used ones, which belong to the
      // flood.
      const found = await Promise.all(used.map(sid => store.get(sid)));
      expect(found).not.toContain(null);
      expect(await store.length()).toBeLessThanOrEqual(bounds.max);
    }
    await store.close();
  });
});
