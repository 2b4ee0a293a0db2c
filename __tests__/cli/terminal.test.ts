import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type CliProcess,
  cli,
  etcdBackend,
  fileBackend,
  jsonLines,
  seed,
  seeded,
  sidsIn,
  start,
  startOnTerminal,
  useFolder,
} from "../helpers/processes/cli.js";

const folder = useFolder();
const dist = join(__dirname, "../../dist");

/** A module that exports a store in memory with many sessions, whose `clear` takes `ms` for each page. */
async function slowStore(name: string, sessions: number, ms: number): Promise<string> {
  const path = join(folder(), name);
  await writeFile(
    path,
    `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
    class SlowStore extends MemoryStore {
      async _removeAll(keys, removal, operation) {
        process.stderr.write("a page\\n");
        await new Promise(done => setTimeout(done, ${ms}));
        return super._removeAll(keys, removal, operation);
      }
    }
    module.exports = async () => {
      const store = new SlowStore({ timeoutMs: 60000 });
      for (let i = 0; i < ${sessions}; i++) await store.set("sid-of-" + i, { cookie: { originalMaxAge: 600000 } });
      return store;
    };`,
  );
  return path;
}

describe("the confirmation", () => {
  /** Waits for the question, and types an answer. */
  async function answer(process: CliProcess, text: string) {
    await process.until(/Type the number of sessions to go on: /);
    process.child.stdin?.write(text);
    return await process.result;
  }

  it.each([fileBackend, etcdBackend])("of clear is the number of sessions: $name", async backend => {
    const url = await backend.create(folder());
    await seed(url);
    const wrong = await answer(startOnTerminal(["clear", "-s", url]), "4\n");
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toMatch(/This destroys 5 sessions of .*, prefix ".*"\. Nothing brings them back\./);
    expect(wrong.stdout).toContain("That is not the number of sessions. Nothing was destroyed.");
    expect(await sidsIn(url)).toHaveLength(5);
    const empty = await answer(startOnTerminal(["clear", "-s", url]), "\n");
    expect(empty.code).toBe(1);
    expect(await sidsIn(url)).toHaveLength(5);
    const right = await answer(startOnTerminal(["clear", "-s", url]), "5\n");
    expect(right.code).toBe(0);
    expect(right.stdout).toMatch(/Destroyed [56] sessions\./);
    expect(await sidsIn(url)).toEqual([]);
  });

  it("of destroy with a filter is the number that it chooses", async () => {
    const url = await fileBackend.create(folder());
    await seed(url);
    const { code, stdout } = await answer(startOnTerminal(["destroy", "--user", "ada", "-s", url]), "2\n");
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/This destroys 2 sessions[\s\S]*Destroyed 2 sessions\./),
    ]);
    expect(await sidsIn(url)).toHaveLength(Object.keys(seeded).length - 2);
  });

  it("is refused by ^C and by the end of the input", async () => {
    const url = await fileBackend.create(folder());
    await seed(url);
    const interrupted = await answer(startOnTerminal(["clear", "-s", url]), "\u0003");
    expect(interrupted.code).toBe(130);
    const ended = await answer(startOnTerminal(["clear", "-s", url]), "\u0004");
    expect(ended.code).toBe(1);
    expect(await sidsIn(url)).toHaveLength(5);
  });
});

describe("^C", () => {
  it("stops a clear after the page that it is at, and says how far it came", async () => {
    const store = await slowStore("slow.cjs", 5000, 200);
    const process = start(["clear", "--yes", "-s", store, "--json"]);
    await process.until(/(a page\n){3}/);
    const interruptedAt = Date.now();
    process.child.kill("SIGINT");
    const { code, stdout, stderr } = await process.result;
    expect(Date.now() - interruptedAt).toBeLessThan(5000);
    expect(code).toBe(130);
    const [{ matched, destroyed }] = jsonLines(stdout) as [{ matched: number; destroyed: number }];
    expect(matched).toBe(5000);
    expect(destroyed).toBeGreaterThanOrEqual(500);
    expect(destroyed).toBeLessThan(5000);
    expect(stderr).toContain(
      `Interrupted after ${destroyed} of 5,000 sessions. Run the command again to go on.`,
    );
  });

  it("stops a removal by filters, and what was counted is gone", async () => {
    const url = await fileBackend.create(folder());
    const reader = join(folder(), "many.mjs");
    await writeFile(
      reader,
      "export default (function* () { for (let i = 0; i < 3000; i++) yield { sid: 'sid' + i, session: { cookie: { originalMaxAge: 6e8 } } }; })();",
    );
    expect((await cli(["copy", "--from", reader, "--to", url])).code).toBe(0);
    const wrapper = join(folder(), "slow-remove.cjs");
    await writeFile(
      wrapper,
      `const { FileStore } = require(${JSON.stringify(join(dist, "file.js"))});
      class SlowStore extends FileStore {
        async _write(...args) {
          process.stderr.write("a write\\n");
          await new Promise(done => setTimeout(done, 20));
          return super._write(...args);
        }
      }
      module.exports = new SlowStore({ path: ${JSON.stringify(url.slice("file:".length))} });`,
    );
    const process = start(["destroy", "--larger", "1", "--yes", "-s", wrapper, "--json"]);
    await process.until(/(a write\n){200}/);
    process.child.kill("SIGINT");
    const { code, stdout } = await process.result;
    const [{ destroyed }] = jsonLines(stdout) as [{ destroyed: number }];
    expect(code).toBe(130);
    expect(destroyed).toBeGreaterThan(100);
    expect(await sidsIn(url)).toHaveLength(3000 - destroyed);
  });

  it("ends a process at once when it comes twice", async () => {
    const path = join(folder(), "hangs.cjs");
    await writeFile(
      path,
      "module.exports = () => new Promise(() => { console.error('hangs'); setInterval(() => {}, 1000); });",
    );
    const process = start(["ping", "-s", path]);
    await process.until(/hangs/);
    process.child.kill("SIGINT");
    await process.until(/Press \^C again/);
    process.child.kill("SIGINT");
    expect((await process.result).code).toBe(130);
  });

  it.each(["list", "stats", "users", "clear", "sweep"])(
    "stops %s while it reads, and says how far it came",
    async name => {
      const path = join(folder(), `reads-${name}.cjs`);
      await writeFile(
        path,
        `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
      class SlowStore extends MemoryStore {
        async *_scan() {
          for await (const page of super._scan()) {
            yield page;
            process.stderr.write("a page\\n");
            await new Promise(done => setTimeout(done, 100));
          }
        }
      }
      module.exports = async () => {
        const store = new SlowStore();
        for (let i = 0; i < 5000; i++) await store.set("sid-of-" + i, { cookie: { originalMaxAge: 600000 } });
        return store;
      };`,
      );
      const options = { clear: ["--idle", "0s", "--dry-run"], sweep: ["--dry-run"] }[name] ?? [];
      const process = start([name, ...options, "-s", path]);
      await process.until(/(a page\n){2}/);
      process.child.kill("SIGINT");
      const { code, stdout, stderr } = await process.result;
      expect(code).toBe(130);
      expect(stderr).toMatch(/Interrupted after [\d,]+ (records|listed)\.\n/);
      if (name !== "list") expect(stdout).toBe("");
    },
  );
});

describe("progress", () => {
  it("is a bar with rate and time left on a terminal, which does not stay", async () => {
    const store = await slowStore("bar.cjs", 3000, 150);
    const { code, stdout } = await startOnTerminal(["clear", "--yes", "-s", store]).result;
    expect(code).toBe(0);
    expect(stdout).toMatch(/destroyed \[=+-+\] \d+\/3000 \(\d+\/s, [\d.]+ (s|ms) left\)/);
    expect(stdout.trimEnd()).toMatch(/Destroyed 3,000 sessions\.$/);
  });

  it("leaves the terminal as it was, also after a second ^C", async () => {
    const store = join(folder(), "twice.cjs");
    await writeFile(
      store,
      `const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
      class HangingStore extends MemoryStore {
        async _write(key, write, operation) {
          if (write.record.lifetime === 0) await new Promise(done => setTimeout(done, 60000, console.error("hangs")));
          return super._write(key, write, operation);
        }
      }
      module.exports = async () => {
        const store = new HangingStore({ timeoutMs: 60000 });
        for (let i = 0; i < 300; i++) await store.set("sid-of-" + i, { cookie: { originalMaxAge: 600000 } });
        return store;
      };`,
    );
    const process = startOnTerminal(["destroy", "--larger", "1", "--yes", "-s", store]);
    await process.until(/hangs/);
    process.child.stdin?.write("\u0003");
    await process.until(/Press \^C again/);
    process.child.stdin?.write("\u0003");
    const { code, stdout } = await process.result;
    expect(code).toBe(130);
    // Turns line wrapping off and on.
    expect(stdout.lastIndexOf("\u001b[?7h")).toBeGreaterThan(stdout.lastIndexOf("\u001b[?7l"));
  });

  it("is a line now and then elsewhere", async () => {
    const store = await slowStore("lines.cjs", 10_000, 200);
    const { code, stdout, stderr } = await cli(["clear", "--yes", "-s", store]);
    expect([code, stdout]).toEqual([0, "Destroyed 10,000 sessions.\n"]);
    expect(stderr.replaceAll("a page\n", "")).toMatch(/^destroyed \d+ of 10000 \(\d+\/s, [\d.]+ s left\)\n/);
  });
});
