import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { SessionData } from "express-session";
import { LmdbFile } from "../../lib/file/lmdb-file.js";
import { FileStore, type FileStoreOptions } from "../../lib/file/store.js";

const run = promisify(execFile);
const MINUTE_MS = 60_000;

let folder: string;
let path: string;
const stores: FileStore[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "file-store-"));
});
beforeEach(() => {
  path = join(mkdtempSync(join(folder, "test-")), "data", "sessions.lmdb");
});
afterEach(async () => {
  await Promise.all(stores.splice(0).map(store => store.close()));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function open(options: Partial<FileStoreOptions> = {}): FileStore {
  const store = new FileStore({ path, ...options });
  stores.push(store);
  return store;
}

/** Every key of the sweep index. */
async function indexKeys(): Promise<string[]> {
  const file = await LmdbFile.open(path);
  const keys = file.indexKeys("9".repeat(16), 1000);
  await file.release();
  return keys;
}

const session = (fields: object = {}) => ({ cookie: { originalMaxAge: null }, ...fields });

/** A session that lives for so long after its last use. */
function living(ms: number) {
  return { cookie: { originalMaxAge: ms } };
}

describe("path", () => {
  it("is required", () => {
    expect(() => new FileStore({} as FileStoreOptions)).toThrow(
      new TypeError("Expected `path` to be a non-empty string, got `undefined` (undefined)"),
    );
  });

  it("is not touched before the first operation", () => {
    open();
    expect(() => statSync(path)).toThrow(/ENOENT/);
  });

  it("is created with its folder, for the owner alone", async () => {
    await open().set("sid", session());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(`${path}-lock`).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
  });

  it("holds every session in one file, whatever its sid", async () => {
    const store = open();
    for (const sid of ["../../etc/passwd", "a/b", "nul\0", "😀", "x".repeat(5000)])
      await store.set(sid, session());
    expect(readdirSync(join(path, "..")).sort()).toEqual(["sessions.lmdb", "sessions.lmdb-lock"]);
  });

  it.each([
    ["a text", "not a database ".repeat(5000)],
    ["a few bytes", "ab"],
    ["zeros", "\0".repeat(16_384)],
  ])("gives a clear error for %s, and leaves it as it is", async (_what, content) => {
    path = join(folder, `foreign-${content.length}`);
    writeFileSync(path, content);
    const store = open();
    await expect(store.get("sid")).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      message: expect.stringContaining(path),
    });
    await expect(store.set("sid", session())).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    expect(readFileSync(path, "utf8")).toBe(content);
  });

  it.each(["/dev/null", "/dev/zero"])("gives a clear error for the device %s", async device => {
    path = device;
    await expect(open().get("sid")).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      message: expect.stringContaining("not a regular file"),
    });
  });

  it("gives a clear error for a folder, and works once that is gone", async () => {
    path = mkdtempSync(join(folder, "is-a-folder-"));
    const store = open();
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    rmSync(path, { recursive: true });
    await store.set("sid", session({ views: 1 }));
    expect(await store.get("sid")).toMatchObject({ views: 1 });
  });

  it("is shared by the stores of a process, until the last of them closes", async () => {
    const [one, other] = [open(), open()];
    await one.set("sid", session({ views: 1 }));
    expect(await other.get("sid")).toMatchObject({ views: 1 });
    await one.close();
    await other.set("sid", session({ views: 2 }));
    expect(await other.get("sid")).toMatchObject({ views: 2 });
  });
});

describe("a restart", () => {
  it("finds what was acknowledged", async () => {
    const store = open();
    const sids = Array.from({ length: 500 }, (_, index) => `sid-${index}`);
    await Promise.all(sids.map(sid => store.set(sid, session({ sid }))));
    await store.close();
    const again = open();
    expect((await again.all()).map(({ id }) => id).sort()).toEqual(sids.sort());
  });

  it("finds what was being written when the store was closed", async () => {
    const store = open();
    await store.length();
    const writing = Array.from({ length: 100 }, (_, index) => store.set(`sid-${index}`, session()));
    await store.close();
    await Promise.all(writing);
    expect(await open().length()).toBe(100);
  });

  it("after SIGKILL finds what was acknowledged", async () => {
    const script = `
      const { FileStore } = require("express-session-stores/file");
      const store = new FileStore({ path: ${JSON.stringify(path)} });
      (async () => {
        for (let index = 0; ; index++) {
          await store.set("sid-" + index, { cookie: {}, index });
          require("node:fs").writeSync(1, index + "\\n");
          if (index === 200) process.kill(process.pid, "SIGKILL");
        }
      })();`;
    const { stdout } = await run(process.execPath, ["-e", script]).catch(error => error);
    const acknowledged = stdout.trim().split("\n").length;
    expect(acknowledged).toBe(201);
    const store = open();
    for (let index = 0; index < acknowledged; index++) {
      expect(await store.get(`sid-${index}`)).toMatchObject({ index });
    }
  });
});

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
    const file = await LmdbFile.open(path);
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
    const file = await LmdbFile.open(path);
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
      // On a clock that is a little behind, the session ended less than a minute ago.
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
      const store = new FileStore({ path: ${JSON.stringify(path)}, timeoutMs: 1000 });
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

describe("a full disk", () => {
  it("fails saves with the reason, loses nothing that was acknowledged, and leaves the process alive", async () => {
    const script = `
      const { FileStore } = require("express-session-stores/file");
      const store = new FileStore({ path: ${JSON.stringify(path)} });
      console.error = () => {};
      (async () => {
        const saved = [], failed = [];
        for (let index = 0; index < 40; index++) {
          await store.set("sid-" + index, { cookie: {}, data: "x".repeat(50000) })
            .then(() => saved.push("sid-" + index), error => failed.push(error));
        }
        await store.get("sid-0");
        console.log(JSON.stringify({
          saved,
          codes: [...new Set(failed.map(error => error.code))],
          reasons: [...new Set(failed.map(error => error.cause.message))],
        }));
      })();`;
    // The limit on the size of a file stands for the end of the disk.
    const limited = `trap "" XFSZ; ulimit -f 1000; exec "$0" -e "$1"`;
    const { stdout } = await run("bash", ["-c", limited, process.execPath, script]);
    const { saved, codes, reasons } = JSON.parse(stdout);
    expect(saved.length).toBeGreaterThan(0);
    expect(saved.length).toBeLessThan(40);
    expect(codes).toEqual(["ERR_STORE_UNAVAILABLE"]);
    expect(reasons.join()).not.toMatch(/see commitError/);
    expect((await open().ids()).sort()).toEqual([...saved].sort());
  });
});

describe("space", () => {
  it("of removed sessions is used again", async () => {
    const store = open({ cleanupInterval: 0 });
    const round = async () => {
      await Promise.all(
        Array.from({ length: 500 }, (_, n) => store.set(`sid-${n}`, session({ data: "x".repeat(2000) }))),
      );
      await store.clear();
      return statSync(path).size;
    };
    const first = await round();
    let last = first;
    for (let rounds = 0; rounds < 20; rounds++) last = await round();
    expect(last).toBeLessThan(3 * first);
  });
});

describe("a path that is a link", () => {
  it.each(["to the file", "to where it will be"])("%s, leads to the one lock that all share", async where => {
    const link = join(mkdtempSync(join(tmpdir(), "express-session-stores-test-")), "link.lmdb");
    mkdirSync(dirname(path));
    symlinkSync(path, link);
    if (where === "to the file") await open().set("sid", session());
    const script = `
      const { FileStore } = require("express-session-stores/file");
      new FileStore({ path: ${JSON.stringify(link)} }).set("by the link", { cookie: {} });`;
    execFileSync(process.execPath, ["-e", script]);
    expect(await open().get("by the link")).not.toBeNull();
    expect([existsSync(`${link}-lock`), existsSync(`${path}-lock`)]).toEqual([false, true]);
    rmSync(dirname(link), { recursive: true });
  });

  it("that leads nowhere is an error, and so is a file with two names", async () => {
    const folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
    const [loop, other] = [join(folder, "loop.lmdb"), join(folder, "other.lmdb")];
    symlinkSync(loop, loop);
    await open().set("sid", session());
    for (const store of stores.splice(0)) await store.close();
    linkSync(path, other);
    for (const [bad, reason] of [
      [loop, /ELOOP/],
      [other, /has other names \(hard links\)/],
    ] as const) {
      await expect(open({ path: bad }).get("sid")).rejects.toMatchObject({
        code: "ERR_STORE_UNAVAILABLE",
        message: expect.stringMatching(reason),
      });
    }
    rmSync(folder, { recursive: true });
    expect(await open().get("sid")).not.toBeNull();
  });
});

describe("close", () => {
  it("lets nothing reach the file any more, whatever is still in flight", async () => {
    const file = await LmdbFile.open(path);
    await file.put("key", "text", null);
    await file.release();
    const late: (() => unknown)[] = [
      () => file.get("key"),
      () => file.entries(""),
      () => file.indexKeys("9", 1),
      () => file.put("key", "text", null),
      () => file.remove("key", 1, "index key"),
      () => file.clearStaleReaders(),
    ];
    for (const call of late) expect(call).toThrow("was closed");
    await expect(file.removeIndexKey("index key")).rejects.toThrow("was closed");
  });

  it("ends a listing with ERR_STORE_CLOSED, also among pages of expired sessions", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    const soon = living(1000);
    await Promise.all(Array.from({ length: 1000 }, (_, index) => store.set(`sid-${index}`, soon)));
    now += 2000;
    const next = store.entries().next();
    await store.close();
    await expect(next).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
  });

  it("is the end of cleanup, too", async () => {
    const store = open();
    await store.close();
    await expect(store.cleanup()).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
  });
});

describe("several processes", () => {
  it("see each other's saves at once, even within a turn of the event loop", async () => {
    const store = open();
    await store.set("sid", session({ views: 1 }));
    const before = store.get("sid");
    const script = `
      const { FileStore } = require("express-session-stores/file");
      new FileStore({ path: ${JSON.stringify(path)} }).set("sid", { cookie: {}, views: 2 });`;
    execFileSync(process.execPath, ["-e", script]);
    const after = store.get("sid");
    expect(await before).toMatchObject({ views: 1 });
    expect(await after).toMatchObject({ views: 2 });
  });

  const CHANGES = 150;

  /** A process that changes its own key of one session again and again, loading it anew each time. */
  const worker = (key: string) => `
    const { FileStore } = require("express-session-stores/file");
    const store = new FileStore({ path: ${JSON.stringify(path)} });
    (async () => {
      for (let change = 1; change <= ${CHANGES}; change++) {
        const session = await store.get("shared");
        session.${key} = change;
        await store.set("shared", session);
        await store.set("own-${key}-" + change, { cookie: {} });
      }
    })();`;

  it("lose none of each other's changes", async () => {
    const store = open();
    await store.set("shared", session());
    const keys = ["a", "b", "c", "d"];
    await Promise.all(keys.map(key => run(process.execPath, ["-e", worker(key)])));
    const shared = Object.fromEntries(keys.map(key => [key, CHANGES]));
    expect(await store.get("shared")).toMatchObject(shared);
    expect(await store.length()).toBe(1 + keys.length * CHANGES);
  });
});

it("does not keep its process alive, closed or not", async () => {
  const script = `
    const { FileStore } = require("express-session-stores/file");
    new FileStore({ path: ${JSON.stringify(path)} }).set("sid", { cookie: {} }).then(() => console.log("saved"));`;
  const { stdout } = await run(process.execPath, ["-e", script], { timeout: 10_000 });
  expect(stdout).toBe("saved\n");
});
