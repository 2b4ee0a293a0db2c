import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LmdbFile } from "../../lib/file/lmdb-file.js";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
  path = join(folder, "file.lmdb");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("opening", () => {
  it("is shared by those who open the file at the same time", async () => {
    const [one, other] = await Promise.all([LmdbFile.open(path), LmdbFile.open(path)]);
    expect(one).toBe(other);
    await one.release();
    await other.put("key", "text", null);
    await other.release();
  });

  it("gives nobody a file that its last user has just released", async () => {
    const first = await LmdbFile.open(path);
    const opening = LmdbFile.open(path);
    const released = first.release();
    const second = await opening;
    await second.put("key", "text", null);
    expect(second.get("key")?.value).toBe("text");
    await Promise.all([released, second.release()]);
  });
});

describe("a conditional put", () => {
  let file: LmdbFile;
  beforeEach(async () => {
    file = await LmdbFile.open(path);
  });
  afterEach(() => file.release());

  const versionOf = (key: string) => file.get(key)?.version as number;
  const index = () => file.indexKeys("z", 100);

  it("writes only where nothing is, or over the version that it names", async () => {
    expect(await file.put("key", "one", null)).toBe(true);
    expect(await file.put("key", "another", null)).toBe(false);
    const version = versionOf("key");
    expect(await file.put("key", "two", version)).toBe(true);
    expect(await file.put("key", "three", version)).toBe(false);
    expect(await file.put("missing", "text", version)).toBe(false);
    expect(file.get("key")?.value).toBe("two");
    expect(file.get("missing")).toBeUndefined();
  });

  it("moves the index entry together with the text, or not at all", async () => {
    await file.put("key", "one", null, { add: "2 key", remove: undefined });
    const version = versionOf("key");
    await file.put("key", "two", version, { add: "1 key", remove: "2 key" });
    expect(index()).toEqual(["1 key"]);
    expect(await file.put("key", "three", version, { add: "0 key", remove: "1 key" })).toBe(false);
    expect(index()).toEqual(["1 key"]);
    expect(await file.remove("key", version, "1 key")).toBe(false);
    expect(index()).toEqual(["1 key"]);
    expect(await file.remove("key", versionOf("key"), "1 key")).toBe(true);
    expect([file.get("key"), index()]).toEqual([undefined, []]);
  });

  it("of those made at the same time, one wins", async () => {
    const puts = Array.from({ length: 20 }, (_, number) => file.put("key", `${number}`, null));
    expect((await Promise.all(puts)).filter(Boolean)).toHaveLength(1);
    const version = versionOf("key");
    const move = { add: "1 key", remove: undefined };
    const moves = Array.from({ length: 20 }, (_, number) => file.put("key", `${number}`, version, move));
    expect((await Promise.all(moves)).filter(Boolean)).toHaveLength(1);
  });

  it("keeps keys and texts of any characters", async () => {
    const texts = ["", "ä€😀", "\0", "x".repeat(100_000)];
    for (const [number, text] of texts.entries()) await file.put(`${number} ä€😀\0`, text, null);
    expect([...file.entries("\0")].map(({ key, value }) => [key, value])).toEqual(
      texts.map((text, number) => [`${number} ä€😀\0`, text]),
    );
  });
});
