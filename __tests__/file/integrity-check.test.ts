import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assertLmdbOrNew } from "../../lib/file/integrity-check.js";
import { LmdbFile } from "../../lib/file/lmdb-file.js";

const PAGE_BYTES = 4096;
/** The offset of a page's kind, and the kind of leaves. */
const FLAGS = 18;
const LEAF = 2;
const BRANCH = 1;

let folder: string;
let sound: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
  sound = join(folder, "sound.lmdb");
  const file = await LmdbFile.open(sound);
  const keys = Array.from({ length: 3000 }, (_, index) => `key-${index}`);
  await Promise.all(keys.map(key => file.put(key, "x".repeat(1000), null)));
  await file.release();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A copy of the sound file with changed bytes. */
function damaged(damage: (path: string) => void): string {
  const path = join(mkdtempSync(join(folder, "damaged-")), "file.lmdb");
  copyFileSync(sound, path);
  damage(path);
  return path;
}

/** Overwrites the pages of a kind that contain parts of the table of sessions. */
function damagePages(kind: number) {
  return (path: string) => {
    const bytes = readFileSync(path);
    const descriptor = openSync(path, "r+");
    for (let at = 2 * PAGE_BYTES; at < bytes.length; at += PAGE_BYTES) {
      const page = bytes.subarray(at, at + PAGE_BYTES);
      if (page.readUInt16LE(FLAGS) !== kind || !page.includes("key-")) continue;
      writeSync(descriptor, Buffer.alloc(PAGE_BYTES, 0xff), 0, PAGE_BYTES, at);
    }
    closeSync(descriptor);
  };
}

const cut = (path: string) => truncateSync(path, readFileSync(path).length - 40 * PAGE_BYTES);

describe("the check of a file", () => {
  it("accepts a sound file, an empty one and none", async () => {
    await assertLmdbOrNew(sound);
    await assertLmdbOrNew(damaged(path => truncateSync(path, 0)));
    await assertLmdbOrNew(join(folder, "missing.lmdb"));
  });

  it.each([
    ["damaged leaves", damagePages(LEAF)],
    ["damaged branches", damagePages(BRANCH)],
    ["a missing end", cut],
  ])("rejects a file with %s", async (_what, damage) => {
    await expect(assertLmdbOrNew(damaged(damage))).rejects.toThrow(/damaged; it was not modified/);
  });

  it("lets the event loop turn after at most some pages", async () => {
    let isRunning = true;
    let turns = 0;
    const turn = () => {
      turns += 1;
      if (isRunning) setImmediate(turn);
    };
    turn();
    await assertLmdbOrNew(sound);
    isRunning = false;
    expect(turns).toBeGreaterThan(readFileSync(sound).length / PAGE_BYTES / 200);
  });
});

describe("the check of a file that is too large to read each page", () => {
  const check = (path: string) => assertLmdbOrNew(path, 0);

  it("accepts a sound file, and does not read its leaves", async () => {
    await check(sound);
    await check(damaged(damagePages(LEAF)));
  });

  it.each([
    ["damaged branches", damagePages(BRANCH)],
    ["a missing end", cut],
  ])("rejects a file with %s", async (_what, damage) => {
    await expect(check(damaged(damage))).rejects.toThrow(/damaged; it was not modified/);
  });
});
