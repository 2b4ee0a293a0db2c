import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { userOf } from "../../lib/conformance/user-sessions.js";
import { FileStore } from "../../lib/file/store.js";
import { figure } from "../helpers/measures/figures.js";

const SIGNER = join(__dirname, "../helpers/processes/user-signer.cjs");
const MAX = 3;
const ROUNDS = 6;
const PROCESSES = 3;

const sessionsOf = async (store: FileStore, user: string) => {
  const handles = [];
  for await (const { handle } of store.findByUser(user)) handles.push(handle);
  return handles;
};

it("processes that share a session file and are killed leave no session without its entry, and no more than the limit", async () => {
  const folder = mkdtempSync(join(tmpdir(), "express-session-stores-test-"));
  const path = join(folder, "sessions.lmdb");
  const store = new FileStore({ path, cleanupInterval: 0, user: userOf });
  let steps = 0;
  let listings = 0;
  const start = () => {
    const child = spawn(process.execPath, [SIGNER, path, String(MAX)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    child.stdout.on("data", data => {
      steps += data.length;
    });
    return child;
  };
  const kill = async (child: ChildProcess) => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    expect(child.signalCode).toBe("SIGKILL");
  };
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const children = Array.from({ length: PROCESSES }, start);
      await Promise.all(children.map(child => once(child.stdout, "data")));
      const end = Date.now() + 500;
      while (Date.now() < end) {
        for (const user of ["ann", "bob"]) expect(await store.countByUser(user)).toBeLessThanOrEqual(MAX);
        listings += 1;
        await sleep(1);
      }
      for (const child of children) {
        await sleep(Math.random() * 10);
        await kill(child);
      }
      // A process may be killed during a commit, which then becomes visible with the next write.
      await store.destroy("nobody");
      const live = { ann: 0, bob: 0 };
      for await (const [, session] of store.entries()) live[userOf(session) as "ann" | "bob"] += 1;
      for (const user of ["ann", "bob"] as const) {
        expect(await store.countByUser(user)).toBe(live[user]);
        expect(await sessionsOf(store, user)).toHaveLength(live[user]);
      }
      await store.destroyByUser("ann");
      expect(await store.length()).toBe(live.bob);
    }
    figure(`processes on a file: ${steps} steps, ${listings} listings, ${ROUNDS * PROCESSES} kills`);
  } finally {
    await store.close();
    rmSync(folder, { recursive: true });
  }
});
