import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digest } from "../../lib/core/hashed-ids.js";
import { createStore } from "../../lib/index.js";
import {
  cli,
  dynamodbBackend,
  etcdBackend,
  etcdHost,
  fileBackend,
  jsonLines,
  SECRET_VALUE,
  seed,
  seeded,
  sidsIn,
  start,
  startOnTerminal,
  useFolder,
} from "../helpers/processes/cli.js";

const folder = useFolder();
const NOTHING = {
  seen: 0,
  copied: 0,
  present: 0,
  ended: 0,
  skipped: 0,
  failed: 0,
  different: 0,
  errors: [],
  dryRun: false,
};

async function reader(name: string, code: string): Promise<string> {
  const path = join(folder(), name);
  await writeFile(path, code);
  return path;
}

const backends = [fileBackend, etcdBackend, dynamodbBackend];
const pairs = backends.flatMap(from => backends.filter(to => to !== from).map(to => ({ from, to })));

describe("the command copy", () => {
  it.each(pairs)("copies from $from.name to $to.name, and again without a change", async ({ from, to }) => {
    const [source, target] = [await from.create(folder()), await to.create(folder())];
    await seed(source);
    const withUsers = await cli(["copy", "--from", source, "--to", target]);
    expect(withUsers).toMatchObject({ code: 2, stdout: "" });
    expect(withUsers.stderr).toMatch(
      /^error: The sessions have users, but the store of `--to` has no option `user`/,
    );
    const module = await reader(
      `to-${Date.now()}.cjs`,
      `const { createStore } = require(${JSON.stringify(join(__dirname, "../../dist/index.js"))});
    module.exports = createStore(${JSON.stringify(target)}, { user: session => session.user });`,
    );
    const dry = await cli(["copy", "--from", source, "--to", module, "--dry-run", "--json"]);
    expect(dry.code).toBe(0);
    expect(jsonLines(dry.stdout)).toEqual([{ ...NOTHING, seen: 5, copied: 5, dryRun: true }]);
    expect(await sidsIn(target)).toEqual([]);
    const first = await cli(["copy", "--from", source, "--to", module, "--verify", "--json"]);
    expect(first.code).toBe(0);
    expect(jsonLines(first.stdout)).toEqual([{ ...NOTHING, seen: 5, copied: 5 }]);
    expect(first.stdout + first.stderr).not.toMatch(/sid-of-/);
    expect(await sidsIn(target)).toEqual(Object.keys(seeded).sort());
    const store = createStore(target);
    await store.destroy("sid-of-grace");
    await store.close();
    const users = await cli(["users", "ada", "-s", module, "--json"]);
    expect(jsonLines(users.stdout)).toHaveLength(2);
    const second = await cli(["copy", "--from", source, "--to", target, "--without-users"]);
    expect(second).toMatchObject({
      code: 0,
      stdout:
        "5 sessions read\n  0 copied\n  5 present: the new store has them, or had them destroyed\n  0 ended\n  0 failed\n",
    });
    expect(second.stderr).toMatch(/^Copying to .*, prefix ".*"\n$/);
  });

  it("copies what the filters choose, from a store of this package alone", async () => {
    const [source, target] = [await fileBackend.create(folder()), await fileBackend.create(folder())];
    await seed(source);
    const filtered = ["copy", "--to", target, "--without-users", "--anonymous", "--json"];
    const { code, stdout } = await cli([...filtered, "--from", source]);
    expect(code).toBe(0);
    const [counts] = jsonLines(stdout) as [{ copied: number; skipped: number }];
    expect(counts.copied).toBeGreaterThan(0);
    expect(counts.copied + counts.skipped).toBe(5);
    expect(await sidsIn(target)).toHaveLength(counts.copied);
    const from = await reader("unfilterable.cjs", "module.exports = [['one', { cookie: {} }]];");
    const rejected = await cli([...filtered, "--from", from]);
    expect(rejected).toMatchObject({ code: 2, stdout: "" });
    expect(rejected.stderr).toMatch(/Filters need a store of express-session-stores for `--from`/);
  });

  it.each([
    ["array.cjs", "module.exports = [{ sid: 'one', session: { cookie: {} } }, ['two', { cookie: {} }]];"],
    [
      "generator.mjs",
      "export default async function* () { for (const sid of ['one', 'two']) yield { sid, session: { cookie: {} }, expiresAt: Date.now() + 60000 }; }",
    ],
    [
      "entries.mjs",
      "export default { entries: () => new Map([['one', { cookie: {} }], ['two', { cookie: {} }]]) };",
    ],
  ])("reads what a module exports: %s", async (name, code) => {
    const target = await fileBackend.create(folder());
    const { code: exit, stdout } = await cli([
      "copy",
      "--from",
      await reader(name, code),
      "--to",
      target,
      "--json",
    ]);
    expect([exit, jsonLines(stdout)]).toEqual([0, [{ ...NOTHING, seen: 2, copied: 2 }]]);
    expect(await sidsIn(target)).toEqual(["one", "two"]);
  });

  it("says which sessions failed, by the digests of their ids, with exit code 1", async () => {
    const from = await reader(
      "failing.mjs",
      `export default [{ sid: "good", session: { cookie: {} } }, { sid: "sid-of-bad", session: { cookie: {}, big: "${SECRET_VALUE}".repeat(100) } }];`,
    );
    const json = await cli(["copy", "--from", from, "--to", "memory:?maxBytes=1000", "--json"]);
    expect(json.code).toBe(1);
    const error = {
      sidHash: digest("sid-of-bad"),
      error: expect.stringMatching(/^The session is \d+ bytes/),
    };
    expect(jsonLines(json.stdout)).toEqual([{ ...NOTHING, seen: 2, copied: 1, failed: 1, errors: [error] }]);
    const text = await cli(["copy", "--from", from, "--to", "memory:?maxBytes=1000"]);
    expect(text.code).toBe(1);
    expect(text.stderr).toContain(`failed ${digest("sid-of-bad")}: The session is`);
    for (const { stdout, stderr } of [json, text]) {
      expect(stdout + stderr).not.toMatch(/sid-of-bad/);
      expect(stdout + stderr).not.toContain(SECRET_VALUE);
    }
  });

  it.each([
    ["module.exports = 7;", 2, /Expected `from` to be/],
    ["module.exports = [{ session: {} }];", 2, /without its id a session cannot be copied/],
    [
      "module.exports = async function* () { throw new Error('the old store is down'); };",
      1,
      /The copy ended early.*\n {2}cause: the old store is down/,
    ],
  ])("refuses what it cannot read: %s", async (code, exit, message) => {
    const result = await cli(["copy", "--from", await reader("wrong.cjs", code), "--to", "memory:"]);
    expect(result.code).toBe(exit);
    expect(result.stderr).toMatch(message);
  });

  it("does not create the file that it is to read, nor show the password of the store that it cannot reach", async () => {
    const missing = await cli(["copy", "--from", "file:./none.lmdb", "--to", "memory:"], { cwd: folder() });
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringMatching(/There is no session file/) });
    const url = await fileBackend.create(folder());
    await seed(url, { user: undefined });
    const process = start([
      "copy",
      "--from",
      url,
      "--to",
      "etcd://root:PASSWORD@127.0.0.1:1/x?timeoutMs=300",
    ]);
    await process.until(/Copying/);
    process.child.kill("SIGINT");
    const { code, stdout, stderr } = await process.result;
    expect(code).toBe(130);
    expect(stdout + stderr).not.toContain("PASSWORD");
  });

  it.each([
    ["file", () => fileBackend.create(folder())],
    ["etcd", async () => `etcd://${etcdHost()}/cli-copy-${Date.now()}:`],
  ])("is stopped by ^C on its way to %s, and goes on when it is started again", async (_name, create) => {
    const target = await create();
    const from = await reader(
      "long.mjs",
      `export default async function* () {
      for (let i = 0; i < 2000; i++) {
        if (i === 300) process.stderr.write("300 read\\n");
        yield { sid: "sid-of-" + i, session: { cookie: { originalMaxAge: 6e8 } } };
      }
    }`,
    );
    const process = start(["copy", "--from", from, "--to", target, "--rate", "500", "--json"]);
    await process.until(/300 read/);
    const interruptedAt = Date.now();
    process.child.kill("SIGINT");
    const { code, stdout, stderr } = await process.result;
    expect(code).toBe(130);
    expect(Date.now() - interruptedAt).toBeLessThan(5000);
    expect(stderr).toMatch(/Interrupted\. What was copied stays; run the command again to go on\.\n$/);
    const [{ copied }] = jsonLines(stdout) as [{ copied: number }];
    expect(copied).toBeGreaterThan(200);
    expect(copied).toBeLessThan(2000);
    const there = await sidsIn(target);
    // A write that was in flight at ^C is stored, but not counted.
    expect(there.length).toBeGreaterThanOrEqual(copied);
    expect(there.length).toBeLessThanOrEqual(copied + 16);
    const again = await cli(["copy", "--from", from, "--to", target, "--json"]);
    expect(again.code).toBe(0);
    const all = { ...NOTHING, seen: 2000, copied: 2000 - there.length, present: there.length };
    expect(jsonLines(again.stdout)).toEqual([all]);
  });

  it("shows a bar on a terminal, whose total is known for stores of this package", async () => {
    const [source, target] = [await fileBackend.create(folder()), await fileBackend.create(folder())];
    await seed(source, { user: undefined });
    const { code, stdout } = await startOnTerminal(["copy", "--from", source, "--to", target, "--rate", "2"])
      .result;
    expect(code).toBe(0);
    expect(stdout).toMatch(/read \[=+-*\] \d\/5 \(\d\/s, \d/);
    expect(stdout).toContain("5 sessions read\r\n  5 copied\r\n");
  });
});
