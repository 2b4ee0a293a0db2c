import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { FileStore, type FileStoreOptions } from "../../lib/file/store.js";
import { EventLoop } from "../helpers/measures/event-loop.js";

const USER = join(__dirname, "../helpers/processes/file-user.cjs");

let folder: string;
let path: string;
const stores: FileStore[] = [];
const processes: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
  path = join(folder, "sessions.lmdb");
});
afterEach(async () => {
  await Promise.all(processes.splice(0).map(end));
  await Promise.all(stores.splice(0).map(store => store.close()));
  rmSync(folder, { recursive: true });
});

function open(options: Partial<FileStoreOptions> = {}): FileStore {
  const store = new FileStore({ path, cleanupInterval: 0, ...options });
  stores.push(store);
  return store;
}

/** A process that uses the session file: file-user.cjs. `wrap` is a command that runs it. */
function start(task: string, wrap: string[] = []): ChildProcess {
  const [command = "", ...args] = [...wrap, process.execPath, USER, path, task];
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  processes.push(child);
  return child;
}

async function firstLines(child: ChildProcess, count: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    lines.push(line);
    if (lines.length === count) break;
  }
  return lines;
}

async function firstLine(child: ChildProcess): Promise<string> {
  return (await firstLines(child, 1))[0] ?? "";
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

const session = (fields: object = {}) => ({ cookie: { originalMaxAge: null }, ...fields });

describe("a process that is stopped while it holds the write lock", () => {
  it("keeps nobody from opening the file and reading; writes end at their time limit", async () => {
    const store = open();
    await store.set("sid", session({ views: 1 }));
    await store.close();
    const holder = start("stop-with-lock");
    await firstLine(holder);

    const loop = new EventLoop();
    const opener = open({ timeoutMs: 500 });
    expect(await opener.get("sid")).toMatchObject({ views: 1 });
    await expect(opener.set("sid", session({ views: 2 }))).rejects.toMatchObject({
      code: "ERR_STORE_TIMEOUT",
    });
    loop.stop();
    expect(loop.heldUpMs).toBeLessThan(300);

    await end(holder);
    await opener.set("another", session());
    expect((await opener.ids()).sort()).toEqual(["another", "sid"]);
  });

  it("makes the first call on a new file end at its time limit, and later calls work", async () => {
    const holder = start("stop-with-lock");
    await firstLine(holder);
    const loop = new EventLoop();
    const opener = open({ timeoutMs: 500 });
    await expect(opener.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    const closed = open({ timeoutMs: 100 });
    await expect(closed.ping()).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    await closed.close();
    loop.stop();
    expect(loop.heldUpMs).toBeLessThan(300);
    await end(holder);
    await opener.set("sid", session());
    expect(await opener.ids()).toEqual(["sid"]);
  });
});

describe("processes of pid namespaces", () => {
  const root = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  const unshare = ["unshare", ...root, "--pid", "--fork", "--mount-proc", "--kill-child"];
  /** Runs the command with process id 1. */
  const container = unshare;
  /** Runs the command with a process id other than 1. */
  const containerWithInit = [...unshare, "sh", "-c", '"$0" "$@"; true'];

  const refusal = expect.objectContaining({
    code: "ERR_STORE_UNAVAILABLE",
    message: expect.stringMatching(/another pid namespace.*one pid namespace.*pid: host/),
  });

  it.each([
    ["with the same process id", container, container],
    ["with another process id", container, containerWithInit],
    ["on the host", container, []],
    ["in a container, after the host", [], container],
  ])("are refused within a second if another one has the file open: %s", async (_which, first, second) => {
    const user = start("use", first);
    expect(await firstLine(user)).toBe("ready");
    const refused = JSON.parse(await firstLine(start("use", second)));
    expect(refused).toEqual(refusal);
    expect(refused.ms).toBeLessThan(1000);
  });

  it.each([
    ["", unshare],
    [", also where /proc is that of another", unshare.filter(option => option !== "--mount-proc")],
  ])("may use the file together if they share one namespace%s", async (_where, namespace) => {
    const two = start("use", [...namespace, "sh", "-c", '"$0" "$@" <&0 & "$0" "$@"; wait']);
    expect(await firstLines(two, 2)).toEqual(["ready", "ready"]);
  });

  it("may use the file one after the other, also after SIGKILL", async () => {
    for (const wrap of [container, containerWithInit, [], container]) {
      const user = start("use", wrap);
      expect(await firstLine(user)).toBe("ready");
      await end(user);
    }
  });
});

describe("many processes", () => {
  // LMDB has room for 126 readers by default.
  const PROCESSES = 130;

  it(`use one file at the same time: ${PROCESSES} of them`, async () => {
    const users = Array.from({ length: PROCESSES }, () => start("use"));
    expect(await Promise.all(users.map(firstLine))).toEqual(users.map(() => "ready"));
    expect(await open().length()).toBe(PROCESSES);
  }, 120_000);
});

describe("the size of the file", () => {
  const SESSIONS = 500;
  const LIVE_BYTES = SESSIONS * 2000;

  /** Rewrites all sessions. */
  async function write(store: FileStore): Promise<void> {
    const saves = Array.from({ length: SESSIONS }, (_, n) =>
      store.set(`sid-${n}`, session({ data: "x".repeat(1900) })),
    );
    await Promise.all(saves);
  }

  it("stops growing with the cleanup that follows the death of a reader", async () => {
    const store = open();
    await write(store);
    const reader = start("read-and-die");
    await once(reader, "exit");
    await write(store);
    await write(store);
    await store.cleanup();
    const { size } = statSync(path);
    for (let round = 0; round < 20; round++) await write(store);
    expect(statSync(path).size).toBeLessThan(size + LIVE_BYTES);
  });

  it("does not grow with what others write while this process is busy after a read", async () => {
    const store = open();
    await write(store);
    await write(store);
    const { size } = statSync(path);
    await new Promise(resolve => {
      store.get("sid-1", resolve);
    });
    const script = `
      const { FileStore } = require("express-session-stores/file");
      const store = new FileStore({ path: ${JSON.stringify(path)}, cleanupInterval: 0 });
      (async () => {
        for (let round = 0; round < 20; round++) {
          const saves = Array.from({ length: ${SESSIONS} }, (_, n) =>
            store.set("sid-" + n, { cookie: { originalMaxAge: null }, data: "x".repeat(1900) }));
          await Promise.all(saves);
        }
      })();`;
    execFileSync(process.execPath, ["-e", script]);
    expect(statSync(path).size).toBeLessThan(size + 3 * LIVE_BYTES);
  });
});
