import { randomUUID } from "node:crypto";
import type { AbstractStore } from "../../../lib/index.js";
import { History } from "../model/history.js";
import { below, seeded } from "../random.js";
import type { Call, FaultProxy } from "./fault-proxy.js";
import type { Flaw, OpenProxiedBackend, ProxiedBackend, ProxyLink } from "./proxied-backends.js";
import { ProxiedProcess } from "./proxied-process.js";
import { injectRandomFaults } from "./random-faults.js";
import { ATTEMPT_MS, PROCESSES, readSession, ScheduledProcess, SIDS } from "./scheduled-process.js";

/*
 * Random schedules: three processes work on a few sessions while their requests are held, repeated, delayed and lost.
 * Each process has its own client, proxy and clock. A seed repeats the actions of each process and the fates of its
 * requests, but not how the processes interleave.
 */

const MAX_SKEW_MS = 30_000;
const TIMEOUT_MS = 2000;
const DELAY_MS = 100;
const PATIENCE_MS = 20_000;

const FAULTS = {
  "hold-reset": 0.12,
  hold: 0.01,
  repeat: 0.1,
  "drop-response": 0.06,
  delay: 0.04,
  release: 0.15,
};

export interface Schedules {
  count: number;
  /** The seed of the first schedule. The others count up from it. */
  seed: number;
  flaw?: Flaw;
  /** How many schedules run at the same time. Most of them wait. */
  lanes?: number;
}

/** The seed in the environment variable LATE_SEED, to repeat a failed schedule, or else a random seed. */
export function firstSeed(): number {
  return Number(process.env.LATE_SEED ?? below(2 ** 31, Math.random));
}

/** What happened to the requests of all schedules. */
export type FaultCounts = FaultProxy["counts"];

/** Runs random schedules. Rejects with the seed and the history of the first schedule that breaks the contract. */
export async function runSchedules(
  { open }: ProxiedBackend,
  { count, seed, flaw, lanes = 6 }: Schedules,
): Promise<FaultCounts> {
  const backend = await open();
  const counts = {} as FaultCounts;
  let next = 0;
  let failure: unknown;
  const runLane = async () => {
    const links = await openLinks(backend);
    try {
      while (next < count && failure === undefined) await runSchedule(links, seed + next++, flaw);
    } catch (error) {
      failure ??= error;
    } finally {
      for (const { proxy, close } of links) {
        for (const [fault, number] of Object.entries(proxy.counts)) {
          counts[fault as keyof FaultCounts] = (counts[fault as keyof FaultCounts] ?? 0) + number;
        }
        await close();
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, runLane));
  await backend.close();
  if (failure !== undefined) throw failure;
  return counts;
}

function openLinks(backend: OpenProxiedBackend): Promise<ProxyLink[]> {
  const options = { attemptMs: ATTEMPT_MS, delayMs: DELAY_MS };
  return Promise.all([
    ...Array.from({ length: PROCESSES }, () => backend.link(options)),
    backend.link({ attemptMs: PATIENCE_MS }),
  ]);
}

async function runSchedule(links: ProxyLink[], seed: number, flaw: Flaw | undefined): Promise<void> {
  const random = seeded(seed);
  const prefix = `schedule-${seed}-${randomUUID()}:`;
  const histories = SIDS.map(sid => new History(sid));
  const proxies = links.map(({ proxy }) => proxy);
  const processes = await Promise.all(
    links.slice(0, PROCESSES).map(link => {
      const skew = below(MAX_SKEW_MS, random);
      const options = { prefix, touchAfter: 0, timeoutMs: TIMEOUT_MS, now: () => Date.now() + skew };
      return ProxiedProcess.start(link, options, flaw);
    }),
  );
  const observer = await ProxiedProcess.start(links[PROCESSES] as ProxyLink, {
    prefix,
    timeoutMs: PATIENCE_MS,
  });
  const actors = processes.map((process, index) => {
    const actor = new ScheduledProcess(index, process, seeded(below(2 ** 31, random)));
    const only = ({ kind }: Call) => kind === "write";
    injectRandomFaults(process.proxy, seeded(below(2 ** 31, random)), { ...FAULTS, only });
    return actor;
  });
  try {
    const ended = await Promise.allSettled(actors.map(actor => actor.run(histories)));
    const failed = ended.find(result => result.status === "rejected");
    if (failed) throw failed.reason;
    for (const proxy of proxies) proxy.intercept();
    await readAll(observer.store, histories);
    // All late requests arrive now, in any order among the processes.
    while (proxies.some(({ held }) => held.length > 0)) {
      await proxies[below(PROCESSES, random)]?.release(1);
    }
    for (const proxy of proxies) await proxy.drained();
    await readAll(observer.store, histories);
    for (const history of histories) history.check();
  } catch (error) {
    throw Object.assign(new Error(`Seed ${seed}: ${(error as Error).message}`, { cause: error }), { seed });
  } finally {
    for (const proxy of proxies) {
      proxy.intercept();
      await proxy.release();
    }
    for (const process of [...processes, observer]) await process.stop();
  }
}

async function readAll(store: AbstractStore, histories: History[]): Promise<void> {
  for (const history of histories) await readSession(store, history);
}
