import { execFile, execFileSync } from "node:child_process";
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
import { LmdbFile } from "../../lib/file/lmdb-file.js";
import { FileStore, type FileStoreOptions } from "../../lib/file/store.js";
import { living, session, useSessionFile } from "../helpers/stores/session-files.js";

const run = promisify(execFile);

const sessionFile = useSessionFile();
const { open } = sessionFile;

describe("path", () => {
  it("is required", () => {
    expect(() => new FileStore({} as FileStoreOptions)).toThrow(
      new TypeError("Expected `path` to be a non-empty string, got nothing"),
    );
  });

  it("is not touched before the first operation", () => {
    open();
    expect(() => statSync(sessionFile.path)).toThrow(/ENOENT/);
  });

  it("is created with its folder, for the owner alone", async () => {
    await open().set("sid", session());
    expect(statSync(sessionFile.path).mode & 0o777).toBe(0o600);
    expect(statSync(`${sessionFile.path}-lock`).mode & 0o777).toBe(0o600);
    expect(statSync(join(sessionFile.path, "..")).mode & 0o777).toBe(0o700);
  });

  it("holds every session in one file, whatever its sid", async () => {
    const store = open();
    for (const sid of ["../../etc/passwd", "a/b", "nul\0", "😀", "x".repeat(5000)])
      await store.set(sid, session());
    expect(readdirSync(join(sessionFile.path, "..")).sort()).toEqual(["sessions.lmdb", "sessions.lmdb-lock"]);
  });

  it.each([
    ["a text", "not a database ".repeat(5000)],
    ["a few bytes", "ab"],
    ["zeros", "\0".repeat(16_384)],
  ])("gives a clear error for %s, and leaves it as it is", async (_what, content) => {
    sessionFile.path = join(sessionFile.folder, `foreign-${content.length}`);
    writeFileSync(sessionFile.path, content);
    const store = open();
    await expect(store.get("sid")).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      message: expect.stringContaining(sessionFile.path),
    });
    await expect(store.set("sid", session())).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    expect(readFileSync(sessionFile.path, "utf8")).toBe(content);
  });

  it.each(["/dev/null", "/dev/zero"])("gives a clear error for the device %s", async device => {
    sessionFile.path = device;
    await expect(open().get("sid")).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      message: expect.stringContaining("not a regular file"),
    });
  });

  it("gives a clear error for a folder, and works once that is gone", async () => {
    sessionFile.path = mkdtempSync(join(sessionFile.folder, "is-a-folder-"));
    const store = open();
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    rmSync(sessionFile.path, { recursive: true });
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
      const store = new FileStore({ path: ${JSON.stringify(sessionFile.path)} });
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

describe("a full disk", () => {
  it("fails saves with the reason, loses nothing that was acknowledged, and leaves the process alive", async () => {
    const script = `
      const { FileStore } = require("express-session-stores/file");
      const store = new FileStore({ path: ${JSON.stringify(sessionFile.path)} });
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
    // The limit on the size of a file simulates a full disk.
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
      return statSync(sessionFile.path).size;
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
    mkdirSync(dirname(sessionFile.path));
    symlinkSync(sessionFile.path, link);
    if (where === "to the file") await open().set("sid", session());
    const script = `
      const { FileStore } = require("express-session-stores/file");
      new FileStore({ path: ${JSON.stringify(link)} }).set("by the link", { cookie: {} });`;
    execFileSync(process.execPath, ["-e", script]);
    expect(await open().get("by the link")).not.toBeNull();
    expect([existsSync(`${link}-lock`), existsSync(`${sessionFile.path}-lock`)]).toEqual([false, true]);
    rmSync(dirname(link), { recursive: true });
  });

  it("that leads nowhere is an error, and so is a file with two names", async () => {
    const folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
    const [loop, other] = [join(folder, "loop.lmdb"), join(folder, "other.lmdb")];
    symlinkSync(loop, loop);
    await open().set("sid", session());
    for (const store of sessionFile.stores.splice(0)) await store.close();
    linkSync(sessionFile.path, other);
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
    const file = await LmdbFile.open(sessionFile.path);
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
      new FileStore({ path: ${JSON.stringify(sessionFile.path)} }).set("sid", { cookie: {}, views: 2 });`;
    execFileSync(process.execPath, ["-e", script]);
    const after = store.get("sid");
    expect(await before).toMatchObject({ views: 1 });
    expect(await after).toMatchObject({ views: 2 });
  });

  const CHANGES = 150;

  /** A process that repeatedly loads one session and changes its own key. */
  const worker = (key: string) => `
    const { FileStore } = require("express-session-stores/file");
    const store = new FileStore({ path: ${JSON.stringify(sessionFile.path)} });
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

it("a store does not keep its process alive, closed or not", async () => {
  const script = `
    const { FileStore } = require("express-session-stores/file");
    new FileStore({ path: ${JSON.stringify(sessionFile.path)} }).set("sid", { cookie: {} }).then(() => console.log("saved"));`;
  const { stdout } = await run(process.execPath, ["-e", script], { timeout: 10_000 });
  expect(stdout).toBe("saved\n");
});
