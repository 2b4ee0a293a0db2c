import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import type { WorkerCluster } from "../processes/cluster-primary.js";
import { below } from "../random.js";
import { allEnded } from "./clients.js";
import { History } from "./history.js";

/** A client's requests over HTTP to the server of one process. */
interface Visit {
  does: "own" | "shared" | "get" | "sign out";
  worker: number;
}

const visit: fc.Arbitrary<Visit> = fc.record({
  does: fc.constantFrom<Visit["does"][]>("own", "own", "own", "shared", "shared", "get", "get", "sign out"),
  worker: fc.nat(),
});

const visits = fc.array(fc.array(visit, { maxLength: 8, size: "max" }), {
  minLength: 8,
  maxLength: 10,
  size: "max",
});

/** States that no history of HTTP clients of one session is excluded, if several processes serve their requests. */
export function processesProperty(servers: WorkerCluster) {
  return fc.asyncProperty(visits, async scripts => {
    const history = new History("over HTTP");
    const life = randomUUID();
    const browser = servers.browser();
    const values = Object.fromEntries(
      ["shared", ...scripts.map((_, index) => `c${index}`)].map(key => [key, undefined]),
    );
    await history.note(async () => {
      await browser.send(`POST /sign-in?user=${life}`);
      return { action: { kind: "create", life, values }, ending: "acknowledged" };
    });
    const readBy = (worker: number) =>
      history.note(async () => {
        const { user = null, ...fields } = await servers.browserOf(worker, browser.cookie).fields();
        const action = { kind: "read" as const, life: user as string | null, values: fields };
        return { action, ending: "acknowledged" };
      });
    const run = async (script: Visit[], index: number) => {
      const client = `c${index}`;
      for (const [count, { does, worker }] of script.entries()) {
        const own = servers.browserOf(worker, browser.cookie);
        if (does === "get") await readBy(worker);
        else if (does === "sign out") {
          await history.note(async () => {
            await own.send("POST /sign-out");
            return { action: { kind: "destroy" }, ending: "acknowledged" };
          });
        } else {
          await history.note(async () => {
            const [key, value] = [does === "own" ? client : "shared", `${client}.${count}`];
            await own.send(`POST /set?${key}=${value}`);
            // Only the server has the value that the request has seen, and the reports of the store.
            const writes = [{ key, seen: undefined, value }];
            const action = { kind: "save" as const, life, client, writes, reported: undefined };
            return { action, ending: "acknowledged" };
          });
        }
      }
    };
    await allEnded(scripts.map(run));
    for (const worker of servers.workers.keys()) await readBy(worker);
    history.check();
  });
}

/** Longer than any request takes on a busy machine. */
const TIMEOUT_MS = 30_000;

interface OverlappingSaves {
  overlapSaves(
    store: AbstractStore,
    sid: string,
    name: string,
    rounds: number,
    pause: () => Promise<void>,
  ): Promise<string[]>;
}

/** Two stores on one backend with overlapping saves of one session. Returns the lost changes. */
export async function overlapInStores(
  createStore: (options: StoreOptions) => AbstractStore,
  rounds: number,
): Promise<string[]> {
  const { overlapSaves }: OverlappingSaves = require("./overlapping-saves.cjs");
  const options = { prefix: `${randomUUID()}:`, timeoutMs: TIMEOUT_MS };
  const stores = [createStore(options), createStore({ ...options, now: () => Date.now() + 5000 })];
  const pause = async () => {
    for (let count = below(20, Math.random); count > 0; count--) await turn();
  };
  try {
    await stores[0]?.set("sid", { cookie: { originalMaxAge: null } });
    const lost = await Promise.all(
      stores.map((store, index) => overlapSaves(store, "sid", `p${index}`, rounds, pause)),
    );
    return lost.flat();
  } finally {
    await stores[0]?.clear();
    for (const store of stores) await store.close();
  }
}

/** Two processes on one session file, which are busy while their saves wait. Returns the lost changes. */
export async function overlapInProcesses(
  store: AbstractStore,
  path: string,
  rounds: number,
): Promise<string[]> {
  await store.set("sid", { cookie: { originalMaxAge: null } });
  const outputs = ["p0", "p1"].map(async name => {
    const script = join(__dirname, "overlapping-saves.cjs");
    const child = spawn(process.execPath, [script, path, "sid", name, `${rounds}`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    return JSON.parse(await text(child.stdout)) as string[];
  });
  return (await Promise.all(outputs)).flat();
}
