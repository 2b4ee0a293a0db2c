import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digest } from "../../lib/core/hashed-ids.js";
import { createStore } from "../../lib/index.js";
import {
  cli,
  fileBackend,
  jsonLines,
  PROGRAM,
  seed,
  startOnTerminal,
  useFolder,
} from "../helpers/processes/cli.js";

const folder = useFolder();
const dist = join(__dirname, "../../dist");
const COMMANDS = [
  "ping",
  "setup",
  "list",
  "show",
  "stats",
  "destroy",
  "clear",
  "sweep",
  "users",
  "copy",
  "doctor",
];

async function module(name: string, code: string): Promise<string> {
  const path = join(folder(), name);
  await writeFile(path, code);
  return path;
}

describe("help", () => {
  it("names every command", async () => {
    const { code, stdout, stderr } = await cli(["--help"]);
    expect([code, stderr]).toEqual([0, ""]);
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
  });

  it.each(COMMANDS)("of %s has its options and examples", async name => {
    const { code, stdout, stderr } = await cli([name, "--help"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(new RegExp(`^Usage: express-session-stores ${name} `));
    expect(stdout).toMatch(new RegExp(`\nExamples:\n  \\$ npx express-session-stores ${name}\\b`));
    expect(stdout).toContain("--json");
  });

  it("goes to stderr without a command, with exit code 2", async () => {
    const { code, stdout, stderr } = await cli([]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^Usage: /);
  });

  it("has the version of the package", async () => {
    const { version } = require("../../package.json");
    expect(await cli(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
});

describe("wrong usage", () => {
  it.each([
    [["nothing"], /unknown command 'nothing'/],
    [["list", "--usr", "ada"], /unknown option '--usr'\n\(Did you mean --user\?\)/],
    [["list", "-s", "memory:", "more"], /too many arguments/],
    [["show", "-s", "memory:"], /missing required argument 'sid'/],
    [["list", "-s", "memory:", "--idle", "30"], /Expected a duration such as 15m, 12h or 30d/],
    [["list", "-s", "memory:", "--larger", "big"], /Expected a size such as 500, 100KB or 1MB/],
    [["list", "-s", "memory:", "--created-before", "2026-13-01"], /Expected a date such as/],
    [["list", "-s", "memory:", "--created-before", "yesterday"], /Expected a date such as/],
    [["list", "-s", "memory:", "--limit", "0"], /Expected a positive integer/],
    [
      ["list", "-s", "memory:", "--user", "ada", "--anonymous"],
      /'--anonymous' cannot be used with option '--user/,
    ],
    [["list", "-s", "memory:", "--user", ""], /non-empty string/],
    [["destroy", "-s", "memory:"], /Give ids or filters/],
    [["destroy", "id", "--idle", "1d", "-s", "memory:"], /Give either ids or filters/],
    [["setup", "--policy", "-s", "memory:"], /`--policy` is for DynamoDB stores/],
    [["copy", "--to", "memory:"], /required option '--from <store>' not specified/],
    [["ping"], /No store is given: use `--store` or the environment variable SESSION_STORE/],
    [["ping", "-s", ""], /URL of the session store is empty/],
    [["ping", "-s", "redis://127.0.0.1"], /unknown scheme `redis:`/],
    [["ping", "-s", "memory:?maximum=1"], /Unknown parameter `maximum`/],
    [["ping", "-s", "memory:?max=one"], /Expected `max` to be a number/],
    [["ping", "-s", "./missing.js"], /The module `\.\/missing\.js` of `--store` does not exist/],
  ])("is rejected with exit code 2 and what is wrong: %j", async (args, message) => {
    const { code, stdout, stderr } = await cli(args, { cwd: folder() });
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  it("a session file that is not there is not created", async () => {
    const { code, stdout, stderr } = await cli(["list", "-s", "file:./mistyped/sessions.lmdb"], {
      cwd: folder(),
    });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toBe(`error: There is no session file at ${join(folder(), "mistyped/sessions.lmdb")}.\n`);
    expect(existsSync(join(folder(), "mistyped"))).toBe(false);
  });

  it.each([
    "etcd://root:PASSWORD@127.0.0.1:1/prefix",
    "etcd://root:PASS/PASSWORD@127.0.0.1:1/prefix",
    "redis://root:PASSWORD@127.0.0.1:1/prefix",
    "dynamodb://key:PASSWORD@eu-west-1/table",
    "//root:PASSWORD@127.0.0.1",
    "root:PASSWORD@127.0.0.1",
  ])("the password of a URL is never shown: %s", async url => {
    for (const command of ["ping", "doctor", "list", "clear"]) {
      const { code, stdout, stderr } = await cli([
        command,
        "-s",
        `${url}${url.startsWith("etcd") ? "?timeoutMs=300" : ""}`,
      ]);
      expect(code).not.toBe(0);
      expect(stdout + stderr).not.toContain("PASSWORD");
      expect(stderr).toMatch(/./);
    }
  });
});

describe("modules", () => {
  const store = `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
    const store = new MemoryStore({ user: session => session.user });
    const fill = () => store.set("sid-of-ada", { cookie: { originalMaxAge: 60000 }, user: "ada" });`;
  const esm = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url); ${store}`;

  it.each([
    ["store.cjs", `${store} fill(); module.exports = store;`],
    ["function.cjs", `${store} module.exports = async () => { await fill(); return store; };`],
    ["compiled.cjs", `${store} fill(); exports.__esModule = true; exports.default = store;`],
    ["store.mjs", `${esm} await fill(); export default store;`],
    ["function.mjs", `${esm} export default async () => { await fill(); return store; };`],
  ])("export a store, or a function that returns one: %s", async (name, code) => {
    await module(name, code);
    const listed = await cli(["list", "--json", "-s", `./${name}`], { cwd: folder() });
    expect(listed.code).toBe(0);
    expect(jsonLines(listed.stdout)).toEqual([
      expect.objectContaining({ sidHash: digest("sid-of-ada"), user: "ada" }),
    ]);
    // The module has the option `user`, so that the list of the user is read.
    const users = await cli(["users", "ada", "--json"], { cwd: folder(), env: { SESSION_STORE: name } });
    expect(jsonLines(users.stdout)).toEqual([expect.objectContaining({ handle: expect.any(String) })]);
    const ended = await cli(["users", "end", "ada", "-s", name], { cwd: folder() });
    expect(ended).toEqual({ code: 0, stdout: "Destroyed 1 session.\n", stderr: "" });
  });

  it.each([
    ["nothing.cjs", "", 2, /must export a store of this package, or a function that returns one/],
    ["other.cjs", "module.exports = new (require('node:events'))();", 2, /must export a store/],
    [
      "throws.cjs",
      "throw new Error('no luck with etcd://root:PASSWORD@host');",
      1,
      /failed\.\n {2}cause: no luck with etcd:\/\/\*\*\*@host\n$/,
    ],
    ["rejects.cjs", "module.exports = async () => { throw new Error('no luck'); };", 1, /cause: no luck/],
    ["syntax.mjs", "export default", 1, /The module of `--store` failed\.\n {2}cause: SyntaxError/],
    [
      "copy.cjs",
      "class AbstractStore {} class MyStore extends AbstractStore {} module.exports = new MyStore();",
      2,
      /another copy of express-session-stores/,
    ],
    [
      "migrating.cjs",
      "class MigratingStore {} module.exports = new MigratingStore();",
      2,
      /exports a MigratingStore/,
    ],
  ])("say what is wrong: %s", async (name, code, exitCode, message) => {
    const result = await cli(["ping", "-s", await module(name, code)]);
    expect(result).toMatchObject({ code: exitCode, stdout: "" });
    expect(result.stderr).toMatch(message);
  });

  it("a session that is used between its listing and its end stays, and is counted", async () => {
    const path = await module(
      "busy.cjs",
      `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
      class BusyStore extends MemoryStore {
        _write(key, write, operation) {
          // Somebody is quicker.
          if (write.record.lifetime === 0 && key.endsWith("busy")) {
            const update = { activeAt: Date.now() + 1000, lifetime: 60000, createdAt: undefined, activeFrom: 0, deleteAt: Date.now() + 120000, seen: undefined };
            this._touch(key, update, operation);
          }
          return super._write(key, write, operation);
        }
      }
      module.exports = async () => {
        const store = new BusyStore();
        for (const sid of ["busy", "idle"]) await store.set(sid, { cookie: { originalMaxAge: 60000 } });
        return store;
      };`,
    );
    const { code, stdout, stderr } = await cli(["destroy", "--larger", "1", "-y", "-s", path, "--json"]);
    expect(code).toBe(0);
    expect(jsonLines(stdout)).toEqual([{ matched: 2, destroyed: 1, changed: 1, dryRun: false }]);
    expect(stderr).toBe("1 session stayed, because they were used in the meantime.\n");
  });
});

describe("ids", () => {
  it("that begin with a dash are ids", async () => {
    const url = await fileBackend.create(folder());
    const sid = `-${"a".repeat(31)}`;
    const store = createStore(url);
    await store.set(sid, { cookie: { originalMaxAge: 60_000 } } as never);
    await store.close();
    expect((await cli(["show", sid, "-s", url])).code).toBe(0);
    expect((await cli(["destroy", "-s", url, sid, "--json"])).code).toBe(0);
    const odd = `-${digest("x").slice(1)}`;
    expect(await cli(["show", odd, "-s", url])).toMatchObject({
      code: 1,
      stderr: "error: There is no such session.\n",
    });
  });
});

describe("the output", () => {
  it("of a large list may be closed early, without an error", async () => {
    const path = await module(
      "many.cjs",
      `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
      module.exports = async () => {
        const store = new MemoryStore();
        for (let i = 0; i < 20000; i++) await store.set("sid" + i, { cookie: { originalMaxAge: 60000 } });
        return store;
      };`,
    );
    const command = `"${process.execPath}" "${PROGRAM}" list --json -s "${path}" | head -1`;
    const { status, stdout, stderr } = spawnSync("sh", ["-c", command], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
    expect(jsonLines(stdout)).toHaveLength(1);
  });

  it("has colors on a terminal, unless NO_COLOR is set", async () => {
    const url = await fileBackend.create(folder());
    await seed(url);
    const colored = await startOnTerminal(["doctor", "-s", url]).result;
    expect(colored).toMatchObject({ code: 0 });
    expect(colored.stdout).toContain("\u001b[32mok");
    const plain = await startOnTerminal(["doctor", "-s", url], { env: { NO_COLOR: "1" } }).result;
    expect(plain.stdout).not.toContain("\u001b");
    expect((await cli(["doctor", "-s", url])).stdout).not.toContain("\u001b");
  });

  it("does nothing to the terminal, whatever a user has for a name, and shows what JSON does not know", async () => {
    const path = await module(
      "odd.cjs",
      `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
      const v8 = require("node:v8");
      const serializer = {
        stringify: session => v8.serialize({ ...session, cookie: { ...session.cookie } }).toString("base64"),
        parse: data => v8.deserialize(Buffer.from(data, "base64")),
      };
      module.exports = async () => {
        const store = new MemoryStore({ user: session => session.user, serializer });
        const user = "ada\\u001b[31m\\u009b2J\\u202e";
        await store.set("sid", { cookie: { originalMaxAge: 60000 }, user, ["key" + user]: user, big: 10n, map: new Map() });
        return store;
      };`,
    );
    const shown = ["show", "sid", "--show-values", "--show-sids"];
    for (const args of [["list"], ["users"], ["show", "sid"], shown]) {
      for (const json of [[], ["--json"]]) {
        const { code, stdout, stderr } = await cli([...args, ...json, "-s", path]);
        expect([args, code]).toEqual([args, 0]);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: the output must not contain them.
        expect(stdout + stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
        expect(stdout).toContain("ada\\u001b[31m\\u009b2J\\u202e");
        if (json.length > 0) expect(() => jsonLines(stdout)).not.toThrow();
      }
    }
    const { stdout } = await cli([...shown, "-s", path]);
    expect(stdout).toMatch(/ {2}big +"10"\n/);
  });

  it("of memory: is that of a store without sessions", async () => {
    expect(await cli(["list", "-s", "memory:", "--json"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "0 listed\n",
    });
    expect((await cli(["setup", "-s", "memory:"])).stdout).toBe("MemoryStore has nothing to set up.\n");
    expect((await cli(["sweep", "-s", "memory:"])).stdout).toBe("Deleted 0 ended sessions.\n");
    expect((await cli(["doctor", "-s", "memory:"])).code).toBe(0);
  });
});
