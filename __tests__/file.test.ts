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
import { storeConformance } from "../lib/conformance.js";
import { LmdbFile } from "../lib/file/lmdb-file.js";
import { FileStore, type FileStoreOptions } from "../lib/file/store.js";

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

const session = (fields: object = {}) => ({ cookie: { originalMaxAge: null }, ...fields });

function expiring(at: number) {
  return { cookie: { originalMaxAge: 1000, expires: new Date(at) } };
}

describe("the file store", () => {
  storeConformance({
    describe,
    it,
    createStore: options => new FileStore({ path: join(folder, "conformance.lmdb"), ...options }),
    plant: async (store, key, text) => {
      const file = LmdbFile.open(store.path);
      await file.put(key, text, 1);
      await file.release();
    },
  });
});

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
  it("removes what expired at least a minute ago, of every prefix, and says how much", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    const other = open({ now: () => now, cleanupInterval: 0, prefix: "other:" });
    await store.set("past", expiring(now + 1000));
    await other.set("past", expiring(now + 1000));
    await store.set("alive", expiring(now + 10 * MINUTE_MS));
    now += 1000 + MINUTE_MS - 1;
    expect(await store.cleanup()).toBe(0);
    now += 10_000;
    expect(await store.cleanup()).toBe(2);
    expect(await store.ids()).toEqual(["alive"]);
  });

  it("leaves a session alone that was touched or saved since, and removes it when its time comes", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0, touchAfter: 0 });
    await store.set("touched", expiring(now + MINUTE_MS));
    await store.set("saved", expiring(now + MINUTE_MS));
    await store.touch("touched", expiring(now + 5 * MINUTE_MS));
    await store.set("saved", expiring(now + 5 * MINUTE_MS));
    now += 3 * MINUTE_MS;
    expect(await store.cleanup()).toBe(0);
    expect((await store.ids()).sort()).toEqual(["saved", "touched"]);
    now += 4 * MINUTE_MS;
    expect(await store.cleanup()).toBe(2);
  });

  it("finds a session whose expiry was moved to an earlier time", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    await store.set("sid", expiring(now + 60 * MINUTE_MS));
    await store.set("sid", expiring(now + 1000));
    now += 2 * MINUTE_MS;
    expect(await store.cleanup()).toBe(1);
  });

  it("leaves no reminder behind for a session that was destroyed", async () => {
    const store = open();
    await store.set("sid", session());
    await store.touch("sid", expiring(Date.now() + 48 * 60 * MINUTE_MS));
    await store.destroy("sid");
    const file = LmdbFile.open(path);
    expect(file.reminders("0", "9", 10)).toEqual([]);
    await file.release();
  });

  it("of 1,000 expired sessions reads none of the 99,000 others", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    const [past, future] = [expiring(now + 1000), expiring(now + 60 * MINUTE_MS)];
    for (let from = 0; from < 100_000; from += 5000) {
      const sids = Array.from({ length: 5000 }, (_, index) => from + index);
      await Promise.all(sids.map(sid => store.set(`sid-${sid}`, sid % 100 === 0 ? past : future)));
    }
    now += 2 * MINUTE_MS;
    const reads = jest.spyOn(LmdbFile.prototype, "get");
    expect(await store.cleanup()).toBe(1000);
    expect(reads).toHaveBeenCalledTimes(1000);
    reads.mockRestore();
    expect(await store.length()).toBe(99_000);
  });

  it("leaves what somebody else writes meanwhile, and comes back to it when its time comes", async () => {
    let now = Date.now();
    const options = { now: () => now, cleanupInterval: 0, touchAfter: 0 };
    const [store, other] = [open(options), open(options)];
    await store.set("expired", expiring(now + 1000));
    await store.set("alive", expiring(now + 1000));
    const loaded = Object.assign((await store.get("expired")) as SessionData, { views: 1 });
    await store.touch("alive", expiring(now + 5 * MINUTE_MS));
    now += 2 * MINUTE_MS;
    const { ifRevision } = LmdbFile.prototype;
    const theirs = [
      () => other.set("alive", expiring(now + 6 * MINUTE_MS)),
      () => other.set("expired", Object.assign(loaded, expiring(now + 6 * MINUTE_MS))),
    ];
    const spy = jest.spyOn(LmdbFile.prototype, "ifRevision").mockImplementation(async function (
      this: LmdbFile,
      ...args
    ) {
      await theirs.pop()?.();
      return await ifRevision.apply(this, args);
    });
    expect(await store.cleanup()).toBe(0);
    spy.mockRestore();
    expect((await store.ids()).sort()).toEqual(["alive", "expired"]);
    now += 10 * MINUTE_MS;
    expect(await store.cleanup()).toBe(2);
    const file = LmdbFile.open(path);
    expect(file.reminders("0", "9", 10)).toEqual([]);
    await file.release();
  });

  it("keeps no other process from writing while this one is busy with something else", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    await Promise.all(
      Array.from({ length: 2000 }, (_, index) => store.set(`sid-${index}`, expiring(now + 1000))),
    );
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
    let now = start;
    const store = open({ now: () => now, cleanupInterval: 0, ttl: 1, ...options });
    await store.set("sid", session());
    now = 8.64e15 + MINUTE_MS;
    expect(await store.cleanup()).toBe(1);
  });

  it("may run in several stores at once", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    const other = open({ now: () => now, cleanupInterval: 0 });
    const past = expiring(now + 1000);
    await Promise.all(Array.from({ length: 500 }, (_, index) => store.set(`sid-${index}`, past)));
    now += 2 * MINUTE_MS;
    const [one, two] = await Promise.all([store.cleanup(), other.cleanup()]);
    expect(one + two).toBe(500);
  });

  it("runs by itself at its interval", async () => {
    jest.useFakeTimers({ doNotFake: ["setImmediate", "nextTick", "setTimeout", "queueMicrotask"] });
    try {
      let now = Date.now();
      const store = open({ now: () => now, cleanupInterval: 30, prefix: "" });
      await store.set("past", expiring(now + 1000));
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
  it("lets nothing reach the file any more, whatever is still under way", async () => {
    const file = LmdbFile.open(path);
    await file.put("key", "text", 1);
    await file.release();
    const late: (() => unknown)[] = [
      () => file.get("key"),
      () => file.records(""),
      () => file.reminders("0", "9", 1),
      () => file.put("key", "text", 2),
      () => file.ifRevision("key", 1, () => {}),
    ];
    for (const call of late) expect(call).toThrow("was closed");
    await expect(file.remove("key")).rejects.toThrow("was closed");
    await expect(file.removeReminder("reminder")).rejects.toThrow("was closed");
  });

  it("ends a listing with ERR_STORE_CLOSED, also among pages of expired sessions", async () => {
    let now = Date.now();
    const store = open({ now: () => now, cleanupInterval: 0 });
    const soon = expiring(now + 1000);
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
