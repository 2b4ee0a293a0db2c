import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FileStore } from "../../../lib/file/store.js";
import { figure } from "../measures/figures.js";
import { Ledger, prepare, Writer } from "../processes/session-writers.js";
import { below, seeded } from "../random.js";

/** A new file after this many kills, so that the first writes of a file are killed as well. */
const KILLS_PER_FILE = 10;
const MAX_OPEN_MS = 1000;

/** Processes that write to a session file and are killed at random moments. */
export function describeKills({ kills, killsAmongFour }: { kills: number; killsAmongFour: number }): void {
  describe("a process that is killed while it writes to a session file", () => {
    const random = seeded(2);
    let folder: string;
    let path: string;
    let ledger: Ledger;

    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
    });
    afterEach(() => rmSync(folder, { recursive: true }));

    function newFile(): void {
      path = join(mkdtempSync(join(folder, "file-")), "sessions.lmdb");
      ledger = new Ledger();
    }

    it(
      `loses no acknowledged write and brings no destroyed session back, ${kills} times; the next process opens the file at once`,
      async () => {
        let [acknowledged, slowest] = [0, 0];
        for (let kill = 0; kill < kills; kill++) {
          if (kill % KILLS_PER_FILE === 0) {
            acknowledged += ledger?.acknowledged ?? 0;
            newFile();
          }
          const writer = new Writer(path, "writer", ledger);
          await writer.ready;
          // Some kills hit the opening of the file and the first writes, the others hit later writes.
          if (kill % 2 === 0) await sleep(below(100, random));
          else await ledger.grown(1 + below(100, random));
          await writer.kill();
          expect(writer.errors).toEqual([]);

          const opened = performance.now();
          const store = new FileStore({ path });
          await store.get("shared");
          await store.set("after", { cookie: { originalMaxAge: null } });
          slowest = Math.max(slowest, performance.now() - opened);
          expect(await ledger.differences(store)).toEqual([]);
          await store.close();
        }
        expect(slowest).toBeLessThan(MAX_OPEN_MS);
        acknowledged += ledger.acknowledged;
        expect(acknowledged).toBeGreaterThan(kills * 10);
        figure(`${kills} kills, ${acknowledged} acknowledged writes, opened within ${Math.ceil(slowest)} ms`);
      },
      2000 * kills,
    );

    it(
      `among four that share the file, ${killsAmongFour} times, is no error for the others, and nobody loses a write`,
      async () => {
        newFile();
        const store = new FileStore({ path });
        await prepare(store);
        const start = (name: string) => new Writer(path, name, ledger);
        const writers = ["a", "b", "c", "d"].map(name => ({ name, writer: start(name) }));
        await Promise.all(writers.map(({ writer }) => writer.ready));
        for (let kill = 0; kill < killsAmongFour; kill++) {
          await sleep(below(200, random));
          const victim = writers[below(4, random)] as (typeof writers)[number];
          await victim.writer.kill();
          // The remaining writers continue.
          await ledger.grown(100);
          expect(victim.writer.errors).toEqual([]);
          victim.writer = start(victim.name);
        }
        await Promise.all(writers.map(({ writer }) => writer.stop()));
        expect(writers.flatMap(({ writer }) => writer.errors)).toEqual([]);
        expect(await ledger.differences(store)).toEqual([]);
        await store.close();
        figure(`${killsAmongFour} kills among four, ${ledger.acknowledged} acknowledged writes`);
      },
      2000 * killsAmongFour,
    );
  });
}
