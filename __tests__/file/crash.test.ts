import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { FileStore } from "../../lib/file/store.js";
import { below, seeded } from "../helpers/random.js";
import { describeKills } from "../helpers/suites/kills.js";

const run = promisify(execFile);

const PAGE_BYTES = 4096;
const random = seeded(1);

/** What file-reader.cjs reports about a file. */
interface Seen {
  found: Record<string, string>;
  errors: Record<string, { code: string; message: string }>;
  corrupt: number;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Reads and writes files in a separate process, which has to survive that. */
async function readFiles(paths: string[], ...flags: string[]): Promise<Seen[]> {
  const script = join(__dirname, "../helpers/processes/file-reader.cjs");
  const { stdout } = await run(process.execPath, [script, ...flags, ...paths], { maxBuffer: 2 ** 26 });
  return stdout
    .trimEnd()
    .split("\n")
    .map(line => JSON.parse(line));
}

/** The bytes of a file, and the time of its last write. */
function stateOf(path: string) {
  return { bytes: readFileSync(path).toString("latin1"), mtimeMs: statSync(path).mtimeMs };
}

const refusal = expect.objectContaining({ code: "ERR_STORE_UNAVAILABLE" });
const refused: Seen = {
  found: {},
  errors: { ids: refusal, get: refusal, set: refusal, destroy: refusal, ping: refusal },
  corrupt: 0,
};

describeKills({ kills: 50, killsAmongFour: 12 });

describe("a damaged session file", () => {
  const sessions: Record<string, string> = {};
  let sound: string;

  beforeAll(async () => {
    sound = join(folder, "sound.lmdb");
    const store = new FileStore({ path: sound, cleanupInterval: 0 });
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 80; index++) {
        const sid = index % 10 === 0 ? `large-${index}` : `sid-${index}`;
        sessions[sid] = `${round}-${index} `.repeat(index % 10 === 0 ? 2000 : 40);
      }
      await Promise.all(
        Object.entries(sessions).map(([sid, value]) =>
          store.set(sid, { cookie: { originalMaxAge: null }, value } as never),
        ),
      );
    }
    await store.close();
  });

  /**
   * Damages copies of the sound file, and reads each copy. Returns the contents of the copies that were not rejected.
   */
  async function readDamaged(damages: ((path: string) => void)[]): Promise<Seen[]> {
    const paths = damages.map((damage, index) => {
      const path = join(folder, `damaged-${index}.lmdb`);
      copyFileSync(sound, path);
      damage(path);
      return path;
    });
    const before = paths.map(stateOf);
    const seen = await readFiles(paths);
    const accepted = seen.filter(({ errors }, index) => {
      if (errors.ids === undefined) return true;
      expect(seen[index]).toEqual(refused);
      expect(stateOf(paths[index] as string)).toEqual(before[index]);
      return false;
    });
    for (const path of paths) {
      rmSync(path);
      rmSync(`${path}-lock`, { force: true });
    }
    return accepted;
  }

  it("is as it was if it is sound", async () => {
    expect(await readDamaged([() => {}])).toEqual([{ found: sessions, errors: {}, corrupt: 0 }]);
  });

  it("that is cut short is refused and left as it is, wherever it ends", async () => {
    const { size } = statSync(sound);
    const lengths = Array.from({ length: size / PAGE_BYTES - 1 }, (_, index) => (index + 1) * PAGE_BYTES);
    for (let count = 0; count < 50; count++) lengths.push(1 + below(size - 1, random));
    const accepted = await readDamaged(lengths.map(length => path => truncateSync(path, length)));
    // A file is accepted only if nothing but free pages is missing. The number of free pages differs in each run.
    for (const { found, errors, corrupt } of accepted) {
      expect({ errors, corrupt }).toEqual({ errors: {}, corrupt: 0 });
      expect(Object.keys(sessions).filter(sid => found[sid] !== sessions[sid])).toEqual([]);
    }
  });

  const pageContents = {
    "random bytes": () => Buffer.from(Array.from({ length: PAGE_BYTES }, () => below(256, random))),
    zeros: () => Buffer.alloc(PAGE_BYTES),
    "another page of the file": (pages: Buffer[]) => pages[below(pages.length, random)] as Buffer,
  };

  it.each(Object.entries(pageContents))(
    "with a page of %s is refused and left as it is, or gives each session as it was",
    async (_what, contentOf) => {
      const bytes = readFileSync(sound);
      const pages = Array.from({ length: bytes.length / PAGE_BYTES }, (_, page) =>
        bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES),
      );
      const damages = pages.map((page, number) => (path: string) => {
        const descriptor = openSync(path, "r+");
        const content = contentOf(pages);
        if (!content.equals(page)) writeSync(descriptor, content, 0, PAGE_BYTES, number * PAGE_BYTES);
        closeSync(descriptor);
      });
      const accepted = await readDamaged(damages);
      for (const { found, errors, corrupt } of accepted) {
        expect(errors).toEqual({});
        // Only pages within a session that is larger than a page cannot be checked. If such a session is unreadable,
        // then it is reported.
        expect(Object.keys(found)).toHaveLength(80 - corrupt);
        const changed = Object.keys(sessions).filter(sid => found[sid] !== sessions[sid]);
        expect(changed.filter(sid => !sid.startsWith("large-"))).toEqual([]);
        expect(changed.length).toBeLessThanOrEqual(1);
      }
      expect(accepted.length).toBeLessThan(damages.length);
    },
  );
});

describe("something else at the path of the session file", () => {
  it.each([
    ["a text", Buffer.from("not a database ".repeat(5000))],
    ["a byte", Buffer.from("a")],
    ["zeros", Buffer.alloc(16_384)],
    [
      "an SQLite database",
      Buffer.concat([Buffer.from("SQLite format 3\0\x10\0\x01\x01"), Buffer.alloc(8172, 1)]),
    ],
    ["a gzip file", gzipSync(Buffer.from(Array.from({ length: 50_000 }, () => below(256, random))))],
    ["a zip file", Buffer.concat([Buffer.from("PK\x03\x04\x14\0"), Buffer.alloc(9000, 7)])],
  ])("%s is refused and left as it is", async (_what, content) => {
    const path = join(mkdtempSync(join(folder, "foreign-")), "sessions.lmdb");
    writeFileSync(path, content);
    const before = stateOf(path);
    expect(await readFiles([path])).toEqual([refused]);
    expect(stateOf(path)).toEqual(before);
  });

  it.each([
    ["a folder", (path: string) => mkdirSync(path)],
    ["a FIFO", (path: string) => execFileSync("mkfifo", [path])],
    ["a folder in place of the lock file", (path: string) => mkdirSync(`${path}-lock`)],
  ])("%s is refused, and no call hangs on it", async (_what, make) => {
    const path = join(mkdtempSync(join(folder, "foreign-")), "sessions.lmdb");
    make(path);
    expect(await readFiles([path])).toEqual([refused]);
  });

  it("a socket is refused, and no call hangs on it", async () => {
    const path = join(mkdtempSync(join(folder, "foreign-")), "sessions.lmdb");
    const server = createServer().listen(path);
    await once(server, "listening");
    expect(await readFiles([path])).toEqual([refused]);
    server.close();
  });

  it("an empty file is a new session file: a process that was killed at its first write leaves one", async () => {
    const path = join(mkdtempSync(join(folder, "foreign-")), "sessions.lmdb");
    writeFileSync(path, "");
    expect(await readFiles([path])).toEqual([{ found: {}, errors: {}, corrupt: 0 }]);
  });
});

describe("a folder that cannot be written", () => {
  let path: string;
  beforeEach(async () => {
    path = join(mkdtempSync(join(folder, "folder-")), "sessions.lmdb");
    const store = new FileStore({ path });
    await store.set("sid", { cookie: { originalMaxAge: null }, value: "here" } as never);
    await store.close();
    chmodSync(folder, 0o755);
    // This test may run as root, in which case the reader is another user.
    chmodSync(path, 0o666);
    chmodSync(`${path}-lock`, 0o666);
    chmodSync(join(path, ".."), 0o555);
  });
  afterEach(() => chmodSync(join(path, ".."), 0o755));

  it("lets reads and writes of the session file that is there go on", async () => {
    expect(await readFiles([path], "--nobody")).toEqual([{ found: { sid: "here" }, errors: {}, corrupt: 0 }]);
  });

  it.each([
    ["no session file", () => [path, `${path}-lock`].map(file => rmSync(file))],
    ["no lock file", () => rmSync(`${path}-lock`)],
    ["a session file that cannot be written", () => chmodSync(path, 0o444)],
    ["a session file that cannot be read", () => chmodSync(path, 0o222)],
    ["a lock file that cannot be written", () => chmodSync(`${path}-lock`, 0o444)],
  ])("gives a clear error for %s", async (_what, change) => {
    chmodSync(join(path, ".."), 0o755);
    change();
    chmodSync(join(path, ".."), 0o555);
    const [seen] = await readFiles([path], "--nobody");
    expect(seen).toEqual(refused);
    expect(seen?.errors.set?.message).toMatch(/could not be opened: EACCES: permission denied/);
  });
});

describe("a full disk", () => {
  it("fails writes that need room with a clear error, lets reads go on, and is over when there is room", async () => {
    const path = join(mkdtempSync(join(folder, "full-")), "sessions.lmdb");
    const script = `
      const { execFileSync } = require("node:child_process");
      const { FileStore } = require("express-session-stores/file");
      const store = new FileStore({ path: ${JSON.stringify(path)}, cleanupInterval: 0 });
      const large = { cookie: {}, value: "x".repeat(30_000) };
      const codeOf = write => write.then(() => "written", error => error.code);
      const save = sid => codeOf(store.set(sid, large));
      (async () => {
        const outcomes = {};
        for (let index = 0; index < 100; index++) outcomes["sid-" + index] = await save("sid-" + index);
        const saved = Object.keys(outcomes).filter(sid => outcomes[sid] === "written");
        const sessions = await Promise.all(saved.map(sid => store.get(sid)));
        const ended = [];
        for (const sid of saved.slice(0, 5)) ended.push(await codeOf(store.destroy(sid)));
        const seen = {
          codes: [...new Set(Object.values(outcomes))],
          saved: saved.length,
          read: sessions.filter(session => session?.value === large.value).length,
          ended,
          left: await store.length(),
          inTheirPlace: await save("another"),
        };
        // From now on there is room.
        execFileSync("prlimit", ["--pid", String(process.pid), "--fsize=unlimited:unlimited"]);
        seen.withRoom = await Promise.all(saved.map(sid => save(sid + " again")));
        seen.last = await store.length();
        await store.close();
        console.log(JSON.stringify(seen));
      })();`;
    // The limit on the size of a file simulates a full disk. It is a soft limit, which the process may raise.
    const limited = `trap "" XFSZ; ulimit -S -f 2000; exec "$0" -e "$1"`;
    const { stdout } = await run("bash", ["-c", limited, process.execPath, script]);
    const { saved, ...seen } = JSON.parse(stdout);
    expect(saved).toBeGreaterThan(20);
    expect(saved).toBeLessThan(100);
    expect(seen).toEqual({
      codes: ["written", "ERR_STORE_UNAVAILABLE"],
      read: saved,
      ended: Array(5).fill("written"),
      left: saved - 5,
      inTheirPlace: "written",
      withRoom: Array(saved).fill("written"),
      last: 2 * saved - 4,
    });
    const [reopened] = await readFiles([path]);
    expect(reopened?.errors).toEqual({});
    expect(Object.keys(reopened?.found ?? {})).toHaveLength(2 * saved - 4);
  });

  it("is no reason not to start: a process that finds it reads what is there", async () => {
    const path = join(mkdtempSync(join(folder, "full-")), "sessions.lmdb");
    const store = new FileStore({ path });
    const sids = Array.from({ length: 20 }, (_, index) => `sid-${index}`);
    const filling = "x".repeat(20_000);
    await Promise.all(
      sids.map(sid => store.set(sid, { cookie: { originalMaxAge: null }, filling, value: sid } as never)),
    );
    await store.close();
    const reader = join(__dirname, "../helpers/processes/file-reader.cjs");
    const limited = `trap "" XFSZ; ulimit -f 1; exec "$0" "$1" "$2"`;
    const { stdout } = await run("bash", ["-c", limited, process.execPath, reader, path]);
    const { found, errors } = JSON.parse(stdout);
    expect(Object.values(found).sort()).toEqual(sids.sort());
    // Destroying a session that does not exist also has to write a tombstone.
    expect(errors).toEqual({ set: refusal, destroy: refusal });
  });
});
