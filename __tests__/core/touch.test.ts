import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setImmediate as turn } from "node:timers/promises";
import { Clock } from "../../lib/conformance/clock.js";
import {
  find,
  lasting,
  load,
  plain,
  type RequestSession,
  setMaxAge,
} from "../../lib/conformance/sessions.js";
import type { OperationMessage, StoredRecord, StoreOptions, WriteResult } from "../../lib/index.js";
import { never, ScriptedStore } from "../helpers/stores/scripted-store.js";

const TTL = 600;
const KEY = "sess:sid";

let clock: Clock;
beforeEach(() => {
  clock = new Clock();
});

const open = (options: StoreOptions = {}) =>
  new ScriptedStore({ now: clock.now, ttl: TTL, touchAfter: 60, ...options });

const recordOf = (store: ScriptedStore, key = KEY) => store.records.get(key)?.record as StoredRecord;
const activityOf = (store: ScriptedStore, key = KEY) => recordOf(store, key).activeAt;

/** Loads the session several times, as separate requests do. */
const loadMany = (store: ScriptedStore, count: number, sid = "sid"): Promise<RequestSession[]> =>
  Promise.all(Array.from({ length: count }, () => load(store, sid)));

/** Holds the responses to touches. Returns the function that sends them. */
function holdTouches(store: ScriptedStore): () => void {
  const held: (() => void)[] = [];
  store.script._touch = (key, touch) =>
    new Promise<WriteResult>(resolve => {
      held.push(() => resolve(store.touchRecord(key, touch)));
    });
  return () => {
    for (const respond of held.splice(0)) respond();
  };
}

/** Returns the outcomes of the touches during `work`. */
async function outcomesDuring(work: () => unknown): Promise<string[]> {
  const outcomes: string[] = [];
  const listener = (message: unknown) => {
    const { operation, outcome } = message as OperationMessage;
    if (operation === "touch") outcomes.push(outcome);
  };
  subscribe("express-session-stores:operation", listener);
  await work();
  await turn();
  unsubscribe("express-session-stores:operation", listener);
  return outcomes;
}

describe("parallel requests of one session, later than touchAfter", () => {
  it.each(["synchronous", "asynchronous"])("write one touch: a backend that is %s", async kind => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    const sessions = await loadMany(store, 20);
    const respond = kind === "asynchronous" ? holdTouches(store) : () => {};
    const touching = sessions.map(session => store.touch("sid", session));
    await turn();
    respond();
    await Promise.all(touching);
    expect(store.touches).toHaveLength(1);
    expect(activityOf(store)).toBe(clock.now());
  });

  it("write one touch for each session", async () => {
    const store = open();
    for (const sid of ["a", "b"]) await store.set(sid, plain());
    clock.advance(61);
    const respond = holdTouches(store);
    const touching = [];
    for (const sid of ["a", "b"]) {
      for (const session of await loadMany(store, 10, sid)) touching.push(store.touch(sid, session));
    }
    respond();
    await Promise.all(touching);
    expect(store.touches).toHaveLength(2);
  });

  it("write one touch, also if they begin while it is in flight or shortly after", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    const sessions = await loadMany(store, 20);
    const respond = holdTouches(store);
    const touching = sessions.slice(0, 10).map(session => {
      clock.advance(0.5);
      return store.touch("sid", session);
    });
    respond();
    await Promise.all(touching);
    for (const session of sessions.slice(10)) {
      clock.advance(0.5);
      await store.touch("sid", session);
    }
    expect(store.touches).toHaveLength(1);
  });

  it("write the next touch when touchAfter has passed since the last one", async () => {
    const store = open();
    await store.set("sid", plain());
    for (let page = 1; page <= 3; page++) {
      clock.advance(61);
      for (const session of await loadMany(store, 20)) await store.touch("sid", session);
      expect(store.touches).toHaveLength(page);
      expect(activityOf(store)).toBe(clock.now());
    }
  });

  it("all report that the session lives on", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    const sessions = await loadMany(store, 3);
    const respond = holdTouches(store);
    const outcomes = await outcomesDuring(async () => {
      const touching = sessions.map(session => store.touch("sid", session));
      await turn();
      respond();
      await Promise.all(touching);
    });
    expect(outcomes).toEqual(["extended", "extended", "extended"]);
  });
});

describe("a touch that others have joined", () => {
  it("fails for its own caller alone: the others send one of their own", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    const sessions = await loadMany(store, 3);
    const touching: Promise<void>[] = [];
    store.script._touch = () => {
      store.script = {};
      return new Promise((_resolve, reject) => {
        setImmediate(() => reject(new Error("connection reset")));
      });
    };
    for (const session of sessions) touching.push(store.touch("sid", session));
    const [first, ...others] = await Promise.allSettled(touching);
    expect(first).toMatchObject({ status: "rejected", reason: { code: "ERR_STORE_UNAVAILABLE" } });
    expect(others.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
    expect(activityOf(store)).toBe(clock.now());
  });

  it("does not take them along into its time limit", async () => {
    const store = open({ timeoutMs: 60 });
    await store.set("sid", plain());
    clock.advance(61);
    const [one, other] = (await loadMany(store, 2)) as [RequestSession, RequestSession];
    let abort: AbortSignal | undefined;
    store.script._touch = (_key, _touch, operation) => {
      store.script = {};
      abort = operation.signal;
      return new Promise((_resolve, reject) => {
        operation.signal.addEventListener("abort", () => reject(new Error("aborted")));
      });
    };
    const first = store.touch("sid", one);
    await new Promise(resolve => setTimeout(resolve, 30));
    const second = store.touch("sid", other);
    await expect(first).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    expect(abort?.aborted).toBe(true);
    await second;
    expect(activityOf(store)).toBe(clock.now());
  });

  it("does not outlast the time limit of those who joined it", async () => {
    const store = open({ timeoutMs: 30 });
    await store.set("sid", plain());
    clock.advance(61);
    const sessions = await loadMany(store, 2);
    store.script._touch = never;
    const touching = sessions.map(session => store.touch("sid", session));
    for (const touch of touching) await expect(touch).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    // The failed touches have no effect on the next request.
    store.script = {};
    await store.touch("sid", await load(store, "sid"));
    expect(activityOf(store)).toBe(clock.now());
  });

  it("does not count for more than it moved: their next touch is due by what is stored", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    const [one, other] = (await loadMany(store, 2)) as [RequestSession, RequestSession];
    const respond = holdTouches(store);
    const touching = [store.touch("sid", one)];
    clock.advance(59);
    touching.push(store.touch("sid", other));
    respond();
    await Promise.all(touching);
    store.script = {};
    clock.advance(59);
    await store.touch("sid", other);
    expect(activityOf(store)).toBe(clock.now());
  });

  it("is not joined by a request that is much later", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    const [one, other] = (await loadMany(store, 2)) as [RequestSession, RequestSession];
    const respond = holdTouches(store);
    const first = store.touch("sid", one);
    clock.advance(61);
    const second = store.touch("sid", other);
    respond();
    await Promise.all([first, second]);
    respond();
    expect(store.touches).toHaveLength(2);
    expect(activityOf(store)).toBe(clock.now());
  });
});

describe("what a process remembers of its touches", () => {
  it("is bounded: a session that was touched long ago is touched again, at worst", async () => {
    const store = open();
    const sids = Array.from({ length: 1500 }, (_, index) => `sid-${index}`);
    for (const sid of sids) await store.set(sid, plain());
    clock.advance(61);
    // Loaded before the touches, so that the requests have older data than the backend.
    const stale = await Promise.all(sids.map(sid => load(store, sid)));
    for (const sid of sids) await store.touch(sid, await load(store, sid));
    expect(store.touches).toHaveLength(1500);
    await store.touch("sid-1499", stale[1499] as RequestSession);
    expect(store.touches).toHaveLength(1500);
    // The store has forgotten this touch and sends it again. The backend rejects it, so nothing changes.
    await store.touch("sid-0", stale[0] as RequestSession);
    expect(store.touches).toHaveLength(1501);
    expect(activityOf(store, "sess:sid-0")).toBe(clock.now());
  });

  it("ends with the session: another one under its id is touched", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(61);
    await store.touch("sid", await load(store, "sid"));
    await store.destroy("sid");
    clock.advance(-61);
    await store.set("sid", plain());
    clock.advance(61);
    await store.touch("sid", await load(store, "sid"));
    expect(store.touches).toHaveLength(2);
  });
});

describe("a touch", () => {
  it("changes nothing but the last use", async () => {
    const store = open();
    await store.set("sid", plain({ views: 1 }));
    const before = recordOf(store);
    clock.advance(61);
    await store.touch("sid", Object.assign(await load(store, "sid"), { views: 2 }));
    expect(recordOf(store)).toEqual({ ...before, activeAt: clock.now() });
  });

  it("of a stale request neither shortens nor restores a lifetime that another has changed", async () => {
    const store = open({ touchAfter: 0 });
    await store.set("sid", plain());
    const stale = await load(store, "sid");
    const session = await load(store, "sid");
    setMaxAge(session, 5, clock);
    await store.set("sid", session);
    clock.advance(1);
    await store.touch("sid", stale);
    const { lifetime, activeAt } = recordOf(store);
    expect({ lifetime, activeAt }).toEqual({ lifetime: 5000, activeAt: clock.now() });
    clock.advance(5);
    await store.touch("sid", stale);
    expect(await store.get("sid")).toBeNull();
  });

  it("never moves the last use back, whatever the clocks of two hosts say", async () => {
    const store = open({ touchAfter: 0 });
    const ahead = new ScriptedStore({ now: () => clock.now() + 5000, ttl: TTL }, store.records);
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await ahead.touch("sid", await load(ahead, "sid"));
    const outcomes = await outcomesDuring(() => store.touch("sid", session));
    expect(outcomes).toEqual(["skipped"]);
    expect(activityOf(store)).toBe(clock.now() + 5000);
  });

  it("of a session that has ended, or was destroyed, brings nothing back", async () => {
    const store = open({ touchAfter: 0 });
    for (const sid of ["ended", "destroyed"]) await store.set(sid, plain());
    const [ended, destroyed] = [await load(store, "ended"), await load(store, "destroyed")];
    await store.destroy("destroyed");
    clock.advance(TTL);
    const outcomes = await outcomesDuring(async () => {
      await store.touch("ended", ended);
      await store.touch("destroyed", destroyed);
      await store.touch("missing", plain());
    });
    expect(outcomes).toEqual(["none", "none", "none"]);
    expect(await store.length()).toBe(0);
  });

  it("of a lifetime that the request has changed is saved, and changes no other field", async () => {
    const store = open({ touchAfter: 0 });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    await store.set("sid", Object.assign(await load(store, "sid"), { theirs: 1 }));
    setMaxAge(session, 5, clock);
    session.views = 2;
    await store.touch("sid", session);
    expect(await find(store, "sid")).toMatchObject({ views: 1, theirs: 1, cookie: { originalMaxAge: 5000 } });
    clock.advance(5);
    expect(await store.get("sid")).toBeNull();
  });

  it("of a cookie that has lost a millisecond between two readings of the clock is no change of the lifetime", async () => {
    const store = open({ touchAfter: 0 });
    await store.set("sid", lasting(600, clock));
    for (const [lostMs, writes] of [
      [1, 0],
      [2, 0],
      [3, 1],
    ] as const) {
      store.writes.splice(0);
      clock.advance(1);
      const session = await load(store, "sid");
      setMaxAge(session, 600 - lostMs / 1000, clock);
      await store.touch("sid", session);
      expect(store.writes).toHaveLength(writes);
      expect(activityOf(store)).toBe(clock.now());
    }
  });

  it("of a session that its absolute timeout will end notes the use", async () => {
    const store = open({ touchAfter: 0, absoluteTimeout: TTL });
    await store.set("sid", plain());
    clock.advance(10);
    await store.touch("sid", await load(store, "sid"));
    expect(activityOf(store)).toBe(clock.now());
  });

  it("of a changed lifetime keeps what others have saved, also with conflict: overwrite", async () => {
    const store = open({ conflict: "overwrite" });
    await store.set("sid", lasting(600, clock));
    const session = await load(store, "sid");
    await store.set("sid", Object.assign(await load(store, "sid"), { cart: ["book"] }));
    setMaxAge(session, 5, clock);
    await store.touch("sid", session);
    expect(await find(store, "sid")).toMatchObject({ cart: ["book"], cookie: { originalMaxAge: 5000 } });
  });
});
