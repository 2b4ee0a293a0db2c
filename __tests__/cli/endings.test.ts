import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createStore } from "../../lib/index.js";
import { cli, fileBackend, PROGRAM, sidsIn, start, useFolder } from "../helpers/processes/cli.js";

const folder = useFolder();
const dist = join(__dirname, "../../dist");

async function module(name: string, code: string): Promise<string> {
  const path = join(folder(), name);
  await writeFile(path, code);
  return path;
}

it("a change that ends early because nobody reads its result has failed", async () => {
  const url = await fileBackend.create(folder());
  const store = createStore(url);
  const sids = Array.from({ length: 5000 }, (_, index) => `sid-of-a-session-${index}`);
  await Promise.all(sids.map(sid => store.set(sid, { cookie: { originalMaxAge: 60_000 } } as never)));
  await store.close();
  const list = await module("ids.txt", sids.join("\n"));
  const code = join(folder(), "code");
  const command = `("${process.execPath}" "${PROGRAM}" destroy - -s "${url}" < "${list}"; echo $? > "${code}") | head -1; cat "${code}"`;
  const { stdout } = spawnSync("sh", ["-c", command], { encoding: "utf8" });
  expect((await sidsIn(url)).length).toBeGreaterThan(0);
  expect(stdout.trim().split("\n").at(-1)).toBe("1");
});

it("a command that waits for what never comes has failed", async () => {
  const path = await module("never.cjs", "module.exports = () => new Promise(() => {});");
  expect((await cli(["ping", "-s", path])).code).toBe(1);
});

it("^C stops the search for users, before anything is destroyed or copied", async () => {
  const path = await module(
    "endless.cjs",
    `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
    class Endless extends MemoryStore {
      async *_scan(start, operation) {
        for (let pages = 0; ; pages++) {
          process.stderr.write("a page\\n");
          operation.renew();
          await new Promise(done => setTimeout(done, 20));
          if (pages > 200) return;
          yield [];
        }
      }
    }
    module.exports = new Endless();`,
  );
  for (const args of [
    ["destroy", "--anonymous", "--yes", "-s", path],
    ["copy", "--from", path, "--to", "memory:"],
  ]) {
    const process = start(args);
    await process.until(/a page/);
    process.child.kill("SIGINT");
    const { code, stderr } = await process.result;
    expect(code).toBe(130);
    expect(stderr).not.toContain("No session has a user");
    expect(stderr.match(/a page/g)?.length).toBeLessThan(100);
  }
});

describe("^C while sessions are destroyed", () => {
  it.each([
    ["clear", "--yes"],
    ["users", "end", "ann"],
  ])("says how many were: %s %s", async (...args) => {
    const path = await module(
      "slow.cjs",
      `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
      class Slow extends MemoryStore {
        async #slowly(work) {
          process.stderr.write("removing\\n");
          await new Promise(done => setTimeout(done, 300));
          return await work();
        }
        async _removeAll(...args) {
          await this.#slowly(() => super._removeAll(...args));
        }
        async _write(key, write, operation) {
          if (write.record.lifetime !== 0) return super._write(key, write, operation);
          return await this.#slowly(() => super._write(key, write, operation));
        }
      }
      module.exports = async () => {
        const store = new Slow({ user: session => session.user });
        for (const sid of ["a", "b", "c"]) await store.set(sid, { cookie: { originalMaxAge: 60_000 }, user: "ann" });
        return store;
      };`,
    );
    const process = start([...args, "-s", path]);
    await process.until(/removing/);
    process.child.kill("SIGINT");
    const { code, stdout } = await process.result;
    expect([code, stdout]).toEqual([130, "Destroyed 3 sessions.\n"]);
  });
});

it("an option at the end without its value is wrong usage", async () => {
  const { code, stderr } = await cli(["list", "-s", "memory:", "--user"]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("argument missing")]);
});

it("a result that cannot be written is an error", () => {
  const run = `"${process.execPath}" "${PROGRAM}" stats -s memory: > /dev/full`;
  const { status, stderr } = spawnSync("sh", ["-c", run], { encoding: "utf8" });
  expect([status, stderr]).toEqual([1, expect.stringContaining("could not be written: ENOSPC")]);
});

it.each([
  "etcd://user:se@cret@127.0.0.1/x",
  "etcd://user@127.0.0.1/x?password=cret",
  "etcds://user:se/cret@h1,h2/x",
])("shows no password of a URL in place of a command: %s", async url => {
  const { code, stderr } = await cli([url]);
  expect([code, stderr.includes("cret")]).toEqual([2, false]);
});

it("a day that no month has is no date", async () => {
  for (const date of ["2026-02-31", "2026-02-31T12:00Z"]) {
    expect((await cli(["list", "-s", "memory:", "--created-before", date])).code).toBe(2);
  }
  expect((await cli(["list", "-s", "memory:", "--created-before", "2026-02-28T23:30-05:00"])).code).toBe(0);
});
