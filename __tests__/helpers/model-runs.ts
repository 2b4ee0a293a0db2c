import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";
import { type Backend, dynalite, etcd, file, memory } from "./backends.js";
import { WorkerCluster } from "./cluster-primary.js";
import { concurrentProperty, processesProperty } from "./model-clients.js";
import { begin, checkEverything, commandLists, type Model, type Real, settings } from "./model-commands.js";

/** What the model has to know of a backend. */
export interface ModelBackend {
  backend: Backend;
  /** How many runs of commands the test command has, and how many at a time: most wait for the backend. */
  runs: number;
  lanes: number;
  /** How many runs of clients at work at once. */
  concurrentRuns: number;
  /** The `touchAfter` in seconds of a store that is given none; `undefined`: what the contract says. */
  touchAfter?: number;
  /** How far the stores' clean-up reaches; left out if the backend does it by itself. */
  cleanup?: Real["cleanup"];
}

const boundedMemory: Backend = {
  ...memory,
  name: "memory, with bounds that are never reached",
  open: async () => ({
    createStore: options => new MemoryStore({ ...options, max: 1_000_000, maxBytes: 1_000_000_000 }),
    close: async () => {},
  }),
};

export const PROCESSES_RUNS = 50;

export const modelBackends: readonly ModelBackend[] = [
  { backend: memory, runs: 4000, lanes: 1, concurrentRuns: 1000, touchAfter: 0, cleanup: "prefix" },
  { backend: boundedMemory, runs: 2000, lanes: 1, concurrentRuns: 500, touchAfter: 0, cleanup: "prefix" },
  { backend: file, runs: 2000, lanes: 8, concurrentRuns: 300, cleanup: "backend" },
  { backend: dynalite, runs: 200, lanes: 8, concurrentRuns: 50 },
  { backend: etcd, runs: 200, lanes: 8, concurrentRuns: 100 },
];

const MAX_COMMANDS = 30;
const TIMEOUT_MS = 30_000;

/** Where the report of a failure says `seed`, `path` and `replayPath`: `MODEL_REPLAY='{"seed":1,"path":"2:3",...}'`. */
const replay: { seed?: number; path?: string; replayPath?: string } = JSON.parse(
  process.env.MODEL_REPLAY ?? "{}",
);

/** Runs random commands against the stores of a backend and the model; rejects with the shortest that differ. */
export async function runModel(modelBackend: ModelBackend, runs: number): Promise<void> {
  const { backend, lanes, ...options } = modelBackend;
  const count = "seed" in replay ? 1 : lanes;
  const ended = await Promise.allSettled(
    Array.from({ length: count }, () =>
      withPlace(backend, createStore =>
        assertProperty(modelProperty(createStore, backend.persistent, options), Math.ceil(runs / count)),
      ),
    ),
  );
  const failed = ended.find(result => result.status === "rejected");
  if (failed) throw failed.reason;
}

/** Runs clients at once against the stores of a backend; rejects with a history that the contract excludes. */
export function runClients({ backend }: ModelBackend, runs: number): Promise<void> {
  return withPlace(backend, createStore =>
    assertProperty(concurrentProperty(createStore, backend.persistent), runs),
  );
}

/** The same for clients over HTTP, of four processes that share a session file. */
export async function runProcesses(runs: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
  const servers = await WorkerCluster.start(4, join(folder, "sessions.lmdb"));
  try {
    await assertProperty(processesProperty(servers), runs);
  } finally {
    await servers.stop();
    await rm(folder, { recursive: true });
  }
}

function assertProperty<T>(property: fc.IAsyncProperty<T>, numRuns: number): Promise<void> {
  return fc.assert(property, { ...replay, numRuns });
}

type CreateStore = (options: StoreOptions) => AbstractStore;

async function withPlace(backend: Backend, work: (createStore: CreateStore) => Promise<void>): Promise<void> {
  const place = await backend.open();
  // Keeps open what closes with its last store.
  const anchor = place.createStore({ prefix: `${randomUUID()}:` });
  try {
    await anchor.ping();
    await work(options => place.createStore(options));
  } finally {
    await anchor.close();
    await place.close();
  }
}

/**
 * That stores do what the model does, whatever the commands.
 *
 * @param shared - whether stores with the same prefix have the same sessions
 */
export function modelProperty(
  createStore: CreateStore,
  shared: boolean,
  { touchAfter, cleanup }: Pick<ModelBackend, "touchAfter" | "cleanup"> = {},
  replayPath = replay.replayPath,
) {
  return fc.asyncProperty(settings, commandLists(MAX_COMMANDS, replayPath), async (setting, commands) => {
    const model = begin(setting, touchAfter);
    const options = { ...setting.rules, now: () => model.now, timeoutMs: TIMEOUT_MS };
    const prefix = `${randomUUID()}:a:`;
    const a = createStore({ ...options, prefix });
    const a2 = shared ? createStore({ ...options, prefix }) : a;
    const ab = createStore({ ...options, prefix: `${prefix}b:` });
    const real: Real = { stores: { a, a2, ab }, requests: [], conflicts: [], cleanup };
    const opened = new Set([a, a2, ab]);
    for (const store of opened) store.on("conflict", conflict => real.conflicts.push(conflict));
    try {
      await fc.asyncModelRun<Model, Real, false, Model>(() => ({ model, real }), commands);
      await checkEverything(model, real);
    } finally {
      for (const store of opened) await store.clear();
      for (const store of opened) await store.close();
    }
  });
}
