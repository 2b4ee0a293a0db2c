import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { plain } from "../../lib/conformance/sessions.js";
import { FileStore } from "../../lib/file.js";
import { MemoryStore } from "../../lib/memory.js";
import { copy, MigratingStore } from "../../lib/migrate.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "express-session-stores-edges-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("values that JSON does not know", () => {
  const serializer = {
    stringify: (value: unknown) =>
      JSON.stringify(value, (_key, each) => (typeof each === "bigint" ? { int: String(each) } : each)),
    parse: (text: string) => JSON.parse(text, (_key, each) => (each?.int ? BigInt(each.int) : each)),
  };

  it("do not fail a visit at from-first, nor a copy that is verified", async () => {
    const [from, to] = [new MemoryStore({ serializer }), new MemoryStore({ serializer })];
    const store = new MigratingStore({ from, to, stage: "from-first" });
    await store.set("sid", plain({ amount: 1n }));
    expect(await store.get("sid")).toMatchObject({ amount: 1n });
    const other = new MemoryStore({ serializer });
    const { copied, failed, different } = await copy({ from, to: other, verify: true });
    expect([copied, failed, different]).toEqual([1, 0, 0]);
  });
});

it("a copy that is verified says of what cannot be read that it differs", async () => {
  const path = join(folder, "keys.lmdb");
  const before = new FileStore({ path, encryption: { keys: [randomBytes(32)] } });
  await before.set("sid", plain({ user: "ann" }));
  await before.close();
  const to = new FileStore({ path, encryption: { keys: [randomBytes(32)] } });
  const from = [{ sid: "sid", session: plain({ user: "ann" }) }];
  const { present, different } = await copy({ from, to, verify: true });
  await to.close();
  expect([present, different]).toEqual([1, 1]);
});

it.each([Number.NaN, Number.POSITIVE_INFINITY, "tomorrow"])(
  "a session with the expiry %p is not copied: it would never end",
  async expiresAt => {
    const from = [{ sid: "sid", session: plain(), expiresAt: expiresAt as number }];
    const to = new MemoryStore();
    const { copied, failed, errors } = await copy({ from, to });
    expect([copied, failed, String(errors[0]?.error)]).toEqual([
      0,
      1,
      expect.stringMatching("epoch milliseconds"),
    ]);
    expect(await to.length()).toBe(0);
  },
);
