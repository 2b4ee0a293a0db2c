import { spawn } from "node:child_process";
import { once } from "node:events";
import type { SessionData } from "express-session";
import { LmdbFile } from "../../lib/file/lmdb-file.js";
import { living, session, useSessionFile } from "../helpers/stores/session-files.js";

const MINUTE_MS = 60_000;

const sessionFile = useSessionFile();
const { open, indexKeys } = sessionFile;

describe("cleanup", () => {
  let now: number;
  /** Stores whose clock the test moves, and in which every touch is written. */
  const timed = { now: () => now, cleanupInterval: 0, touchAfter: 0 };

  beforeEach(() => {
    now = Date.now();
  });

  it("deletes sessions of every prefix that ended a minute ago, and returns how many", async () => {
    const store = open(timed);
    const other = open({ ...timed, prefix: "other:" });
    await store.set("past", living(1000));
    await other.set("past", living(1000));
    await store.set("alive", living(10 * MINUTE_MS));
    now += 1000 + MINUTE_MS - 1;
    expect(await store.cleanup()).toBe(0);
    now += 1;
    expect(await store.cleanup()).toBe(2);
    expect(await store.ids()).toEqual(["alive"]);
  });

  it("leaves a session alone that was touched or saved since, and deletes it when its time comes", async () => {
    const store = open(timed);
    await store.set("touched", living(2 * MINUTE_MS));
    await store.set("saved", living(2 * MINUTE_MS));
    now += MINUTE_MS;
    await store.touch("touched", (await store.get("touched")) as SessionData);
    await store.set("saved", living(5 * MINUTE_MS));
    now += 2 * MINUTE_MS;
    expect(await store.cleanup()).toBe(0);
    now += 5 * MINUTE_MS;
    expect(await store.cleanup()).toBe(2);
    expect(await indexKeys()).toEqual([]);
  });

  it("finds a session whose lifetime was shortened", async () => {
    const store = open(timed);
    await store.set("sid", living(60 * MINUTE_MS));
    await store.set("sid", living(1000));
    expect(await indexKeys()).toHaveLength(1);
    now += 2 * MINUTE_MS;
    expect(await store.cleanup()).toBe(1);
  });

  it("deletes what destroyed sessions leave behind after an hour, without counting or reporting it", async () => {
    const store = open(timed);
    const expired = jest.fn();
    store.on("expired", expired);
    await store.set("long", living(48 * 60 * MINUTE_MS));
    await store.set("short", living(MINUTE_MS));
    await store.destroy("long");
    await store.destroy("short");
    await store.destroy("never stored");
    expect(await indexKeys()).toHaveLength(3);
    now += 60 * MINUTE_MS - 1;
    expect(await store.cleanup()).toBe(0);
    expect(await indexKeys()).toHaveLength(3);
    now += 1;
    expect(await store.cleanup()).toBe(0);
    expect(await indexKeys()).toEqual([]);
    const file = await LmdbFile.open(sessionFile.path);
    expect([...file.entries("\0")]).toEqual([]);
    await file.release();
    expect(expired).not.toHaveBeenCalled();
  });

  it("reports each session that it deletes once", async () => {
    const store = open(timed);
    const expired = jest.fn();
    store.on("expired", expired);
    await store.set("sid", living(1000));
    now += 2 * MINUTE_MS;
    await store.cleanup();
    await new Promise(setImmediate);
    expect(expired.mock.calls).toEqual([[expect.objectContaining({ reason: "removed" })]]);
  });

  it("leaves entries of version 0.1 and foreign ones where they are, and drops their index keys", async () => {
    const store = open(timed);
    await store.ping();
    const file = await LmdbFile.open(sessionFile.path);
    const texts = { old: `${now} 123456 v.1 ${now} 60000 ${now}\n{"cookie":{}}`, foreign: "text", empty: "" };
    for (const [sid, text] of Object.entries(texts)) {
      await file.put(`sess:${sid}`, text, null, { add: `${"0".repeat(16)}sess:${sid}`, remove: undefined });
    }
    const corrupt = jest.fn();
    store.on("corrupt", corrupt);
    expect(await store.cleanup()).toBe(0);
    expect(await indexKeys()).toEqual([]);
    for (const [sid, text] of Object.entries(texts)) {
      expect(await store.get(sid)).toBeNull();
      expect(file.get(`sess:${sid}`)?.value).toBe(text);
    }
    await new Promise(setImmediate);
    expect(corrupt).toHaveBeenCalledTimes(3);
    await file.release();
    await store.destroy("old");
    await store.set("foreign", session()).catch(() => {});
    expect(await store.ids()).toEqual([]);
  });

  it("with 200 ended sessions reads none of the 19,800 others", async () => {
    const store = open(timed);
    const [past, future] = [living(1000), living(60 * MINUTE_MS)];
    for (let from = 0; from < 20_000; from += 5000) {
      const sids = Array.from({ length: 5000 }, (_, index) => from + index);
      await Promise.all(sids.map(sid => store.set(`sid-${sid}`, sid % 100 === 0 ? past : future)));
    }
    now += 2 * MINUTE_MS;
    const reads = jest.spyOn(LmdbFile.prototype, "get");
    expect(await store.cleanup()).toBe(200);
    expect(reads).toHaveBeenCalledTimes(200);
    reads.mockRestore();
    expect(await store.length()).toBe(19_800);
  });

  it("deletes no session that is saved while the sweep looks at it", async () => {
    const [store, other] = [open(timed), open(timed)];
    await store.set("sid", living(MINUTE_MS));
    const loaded = Object.assign((await other.get("sid")) as SessionData, { views: 1 });
    now += 2 * MINUTE_MS;
    const { remove } = LmdbFile.prototype;
    const spy = jest.spyOn(LmdbFile.prototype, "remove").mockImplementationOnce(async function (
      this: LmdbFile,
      ...args
    ) {
      // By a clock that is slightly behind, the session ended less than a minute ago.
      now -= 1;
      await other.set("sid", loaded);
      now += 1;
      return await remove.apply(this, args);
    });
    expect(await store.cleanup()).toBe(0);
    expect(spy).toHaveBeenCalledTimes(1);
    spy.mockRestore();
    expect(await store.get("sid")).toMatchObject({ views: 1 });
    expect(await indexKeys()).toHaveLength(1);
  });

  it("keeps no other process from writing while this one is busy with something else", async () => {
    const store = open(timed);
    await Promise.all(Array.from({ length: 2000 }, (_, index) => store.set(`sid-${index}`, living(1000))));
    now += 2 * MINUTE_MS;
    const script = `
      const { FileStore } = require("express-session-stores/file");
      const store = new FileStore({ path: ${JSON.stringify(sessionFile.path)}, timeoutMs: 1000 });
      let stopped = false;
      process.once("message", () => { stopped = true; });
      (async () => {
        for (let saves = 0; !stopped; saves++) {
          await store.set("theirs", { cookie: {} }).catch(error => process.send(error.code));
          if (saves === 0) process.send("ready");
        }
        process.send("done");
        process.disconnect();
      })();`;
    const writer = spawn(process.execPath, ["-e", script], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const messages: unknown[] = [];
    writer.on("message", message => messages.push(message));
    await once(writer, "message");
    const cleanup = store.cleanup();
    await new Promise(resolve => setImmediate(resolve));
    for (const end = performance.now() + 2000; performance.now() < end; );
    expect(await cleanup).toBe(2000);
    writer.send("stop");
    await once(writer, "exit");
    expect(messages).toEqual(["ready", "done"]);
  });

  it.each([
    ["on a clock with fractions that stands still", {}, Date.now() + 0.5],
    ["of sessions that were to live for ever", { absoluteTimeout: 1e300, touchAfter: 1e300 }, Date.now()],
  ])("ends %s", async (_what, options, start) => {
    now = start;
    const store = open({ ...timed, ttl: 1, ...options });
    await store.set("sid", session());
    now = 8.64e15 + MINUTE_MS;
    expect(await store.cleanup()).toBe(1);
  });

  it("may run in several stores at once", async () => {
    const [store, other] = [open(timed), open(timed)];
    const past = living(1000);
    await Promise.all(Array.from({ length: 500 }, (_, index) => store.set(`sid-${index}`, past)));
    now += 2 * MINUTE_MS;
    const [one, two] = await Promise.all([store.cleanup(), other.cleanup()]);
    expect(one + two).toBe(500);
  });

  it("runs by itself at its interval", async () => {
    jest.useFakeTimers({ doNotFake: ["setImmediate", "nextTick", "setTimeout", "queueMicrotask"] });
    try {
      const store = open({ ...timed, cleanupInterval: 30, prefix: "" });
      await store.set("past", living(1000));
      now += 2 * MINUTE_MS;
      const cleaned = jest.spyOn(store, "cleanup");
      jest.advanceTimersByTime(30_000);
      expect(cleaned).toHaveBeenCalledTimes(1);
      expect(await cleaned.mock.results[0]?.value).toBe(1);
    } finally {
      jest.useRealTimers();
    }
  });
});
