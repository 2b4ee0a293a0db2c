import { execFile } from "node:child_process";
import crypto from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { Clock } from "../../lib/conformance/clock.js";
import { load, plain } from "../../lib/conformance/sessions.js";
import { digest } from "../../lib/core/hashed-ids.js";
import { FileStore } from "../../lib/file/store.js";
import type { AbstractStore, ExpiredEvent, OperationMessage } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";
import { etcd, memory, useBackend } from "../helpers/stores/backends.js";
import { never, ScriptedStore } from "../helpers/stores/scripted-store.js";

const CHANNEL = "express-session-stores:operation";
const SID = "a-secret-sid";

let messages: OperationMessage[];
const listener = (message: unknown) => messages.push(message as OperationMessage);

function listen(): void {
  messages = [];
  subscribe(CHANNEL, listener);
}

afterEach(() => {
  unsubscribe(CHANNEL, listener);
  jest.restoreAllMocks();
});

/** Returns the outcomes of the operations since the last call. */
function outcomes(): string[] {
  return messages
    .splice(0)
    .map(({ operation, outcome, errorCode }) => [operation, outcome, errorCode ?? []].flat().join(" "));
}

describe.each([memory, etcd])("the channel of operations, $name", backend => {
  const createStore = useBackend(backend);
  beforeEach(listen);

  it("tells what each operation was and how long it took, with a digest of the sid", async () => {
    const store = createStore({ touchAfter: 0 });
    const begin = performance.now();
    await store.set(SID, plain());
    await store.length();
    const elapsed = performance.now() - begin;
    const common = { store: store.constructor.name, prefix: store.prefix, errorCode: undefined };
    expect(messages).toEqual([
      {
        ...common,
        operation: "set",
        outcome: "written",
        sidHash: digest(SID),
        durationMs: expect.any(Number),
      },
      {
        ...common,
        operation: "length",
        outcome: "done",
        sidHash: undefined,
        durationMs: expect.any(Number),
      },
    ]);
    const durations = messages.map(({ durationMs }) => durationMs);
    expect(Math.min(...durations)).toBeGreaterThan(0);
    expect(durations.reduce((sum, duration) => sum + duration)).toBeLessThanOrEqual(elapsed);
  });

  it("tells the outcomes of get, set, touch and destroy", async () => {
    const clock = new Clock();
    const store = createStore({ touchAfter: 60, ttl: 600, now: clock.now });
    await store.get(SID);
    await store.set(SID, plain());
    const [mine, other] = [await load(store, SID), await load(store, SID)];
    expect(outcomes()).toEqual(["get none", "set written", "get found", "get found"]);

    await store.set(SID, Object.assign(other, { other: 1 }));
    await store.set(SID, Object.assign(mine, { mine: 1 }));
    expect(outcomes()).toEqual(["set written", "set merged"]);

    clock.advance(1);
    await store.touch(SID, mine);
    clock.advance(60);
    await store.touch(SID, mine);
    await store.touch("missing", plain());
    mine.cookie.maxAge = 300_000;
    await store.touch(SID, mine);
    expect(outcomes()).toEqual(["touch skipped", "touch extended", "touch none", "touch extended"]);

    await store.destroy(SID);
    await store.set(SID, mine);
    await store.set("other", plain({}, clock.in(-1)));
    expect(outcomes()).toEqual(["destroy done", "set gone", "set removed"]);
  });

  it("tells of every other operation", async () => {
    const store = createStore();
    await store.set(SID, plain());
    messages = [];
    await store.all();
    await store.ids();
    for await (const _entry of store.entries()) break;
    await store.ping();
    await store.clear();
    expect(outcomes()).toEqual(["all done", "ids done", "entries done", "ping done", "clear done"]);
  });

  it("tells of callers that use callbacks", async () => {
    const store = createStore();
    await new Promise(resolve => store.get(SID, resolve));
    await new Promise(resolve => store.length(resolve));
    expect(outcomes()).toEqual(["get none", "length done"]);
  });

  it("shows no sid", async () => {
    const store = createStore();
    const sids = [SID, `${SID} with spaces`, SID.repeat(200)];
    for (const sid of sids) {
      await store.set(sid, plain({ sid }));
      await store.get(sid);
      await store.touch(sid, plain());
    }
    await store.all();
    await store.ids();
    for (const sid of sids) await store.destroy(sid);
    expect(messages).toHaveLength(14);
    expect(JSON.stringify(messages)).not.toContain(SID);
  });
});

describe("the channel of operations", () => {
  it("tells the code of an error, or its name", async () => {
    const store = new ScriptedStore();
    listen();
    const refuse = () => {
      throw new Error("ECONNREFUSED");
    };
    store.script = { _read: refuse, _scan: refuse };
    await expect(store.get(SID)).rejects.toThrow();
    await expect(store.length()).rejects.toThrow();
    await expect(store.entries().next()).rejects.toThrow();
    store.script = {};
    await expect(store.get("")).rejects.toThrow(TypeError);
    await expect(store.get(SID, { signal: AbortSignal.abort() })).rejects.toThrow("aborted");
    await expect(store.ids({ signal: AbortSignal.abort(SID) })).rejects.toBe(SID);
    await store.close();
    await expect(store.destroy(SID)).rejects.toThrow("closed");
    expect(JSON.stringify(messages)).not.toContain(SID);
    expect(outcomes()).toEqual([
      "get error ERR_STORE_UNAVAILABLE",
      "length error ERR_STORE_UNAVAILABLE",
      "entries error ERR_STORE_UNAVAILABLE",
      "get error TypeError",
      "get error AbortError",
      "ids error unknown",
      "destroy error ERR_STORE_CLOSED",
    ]);
  });

  it("has the time that the caller waited", async () => {
    const store = new ScriptedStore({ timeoutMs: 50 });
    store.script._read = never;
    listen();
    await expect(store.get(SID)).rejects.toThrow("50 ms");
    expect(messages).toMatchObject([
      { store: "ScriptedStore", outcome: "error", errorCode: "ERR_STORE_TIMEOUT" },
    ]);
    // Timers count in whole milliseconds.
    expect(messages[0]?.durationMs).toBeGreaterThanOrEqual(48);
    expect(messages[0]?.durationMs).toBeLessThan(5000);
  });

  it("costs no digest and no look at the clock when nobody listens", async () => {
    const hash = jest.spyOn(crypto, "createHash");
    const clock = jest.spyOn(performance, "now");
    const store = new MemoryStore();
    const use = async () => {
      await store.set(SID, plain());
      const session = await load(store, SID);
      await store.touch(SID, session);
      await store.set(SID, session);
      await store.destroy(SID);
      await store.ping();
    };
    await use();
    expect(hash).not.toHaveBeenCalled();
    expect(clock).not.toHaveBeenCalled();
    listen();
    await use();
    expect(hash).toHaveBeenCalledTimes(5);
    expect(clock).toHaveBeenCalledTimes(12);
  });

  it("has subscribers whose exceptions do not fail the operation", async () => {
    // In a separate process, because an error of a subscriber is an uncaught exception.
    const script = `
      const { subscribe } = require("node:diagnostics_channel");
      const { MemoryStore } = require("express-session-stores/memory");
      subscribe("${CHANNEL}", () => { throw new Error("subscriber"); });
      process.on("uncaughtException", error => console.log("uncaught", error.message));
      (async () => {
        const store = new MemoryStore();
        await store.set("sid", { cookie: {} });
        console.log(await store.length());
      })();`;
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", script]);
    expect(stdout.split("\n").sort()).toEqual(["", "1", "uncaught subscriber", "uncaught subscriber"]);
  });
});

describe("the event expired", () => {
  function expiredOf(store: AbstractStore): ExpiredEvent[] {
    const events: ExpiredEvent[] = [];
    store.on("expired", event => events.push(event));
    return events;
  }

  it("is emitted when a get finds a record past its expiry, and not for one that is missing", async () => {
    const clock = new Clock();
    const store = new ScriptedStore({ now: clock.now, ttl: 10, touchAfter: 1 });
    const events = expiredOf(store);
    await store.set(SID, plain());
    await store.get("missing");
    clock.advance(10.999);
    await store.get(SID);
    await turn();
    expect(events).toEqual([]);
    clock.advance(0.001);
    expect(await store.get(SID)).toBeNull();
    await turn();
    expect(events).toEqual([{ reason: "found", sidHash: digest(SID) }]);
  });

  it("is emitted for what the clean-up of the memory store removes", async () => {
    const clock = new Clock();
    const store = new MemoryStore({ now: clock.now });
    const events = expiredOf(store);
    await store.set(SID, plain({}, clock.in(10)));
    await store.set("alive", plain({}, clock.in(1000)));
    await store.set("destroyed", plain({}, clock.in(10)));
    await store.destroy("destroyed");
    clock.advance(100);
    expect(await store.cleanup()).toBe(1);
    await turn();
    expect(events).toEqual([{ reason: "removed", sidHash: digest(SID) }]);
    await store.close();
  });

  it("is emitted for what the clean-up of the file store removes, of its own prefix", async () => {
    const folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
    const clock = new Clock();
    const options = { path: join(folder, "sessions.lmdb"), now: clock.now };
    const store = new FileStore(options);
    const other = new FileStore({ ...options, prefix: "other:" });
    const events = [expiredOf(store), expiredOf(other)];
    const long = SID.repeat(200);
    await Promise.all([SID, long].map(sid => store.set(sid, plain({}, clock.in(10)))));
    await other.set("theirs", plain({}, clock.in(10)));
    clock.advance(200);
    expect(await store.cleanup()).toBe(3);
    await turn();
    expect(events[0]?.map(({ sidHash }) => sidHash).sort()).toEqual([SID, long].map(digest).sort());
    expect(events[0]?.map(({ reason }) => reason)).toEqual(["removed", "removed"]);
    expect(events[1]).toEqual([]);
    await Promise.all([store.close(), other.close()]);
    await rm(folder, { recursive: true });
  });

  it("costs no digest when nobody listens", async () => {
    const clock = new Clock();
    const store = new MemoryStore({ now: clock.now });
    const hash = jest.spyOn(crypto, "createHash");
    await store.set(SID, plain({}, clock.in(10)));
    clock.advance(100);
    expect(await store.get(SID)).toBeNull();
    expect(await store.cleanup()).toBe(1);
    expect(hash).not.toHaveBeenCalled();
    await store.close();
  });
});
