import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FileStore } from "../../../lib/file/store.js";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import { MemoryStore } from "../../../lib/memory.js";
import type { Connection, ProxiedBackend } from "../faults/proxied-backends.js";
import { WorkerCluster } from "../processes/cluster-primary.js";
import { type Backend, dynalite, etcd, file, memory } from "../stores/backends.js";
import { type Conditions, concurrentProperty, PROXIED } from "./clients.js";
import { begin, checkEverything, commandLists, type Model, type Real } from "./commands.js";
import { settings } from "./generators.js";
import { findSchedule } from "./lifetimes.js";
import { overlapInProcesses, overlapInStores, processesProperty } from "./processes.js";
import { ProxiedNetwork } from "./proxied-network.js";
import { SharedMemory, SharedMemoryStore } from "./shared-memory.js";

/** What the model has to know of a backend, and how much of each kind the test command does with it. */
export interface ModelBackend {
  backend: Backend;
  /** Runs of commands, and how many at a time: most wait for the backend. */
  runs: number;
  lanes: number;
  /** Histories of clients at work at once. */
  busyRuns: number;
  /** Histories with requests that are lost, repeated and late; 0 if the backend's client never repeats one. */
  faultyRuns: number;
  /** Schedules of requests from two hosts, and rounds of saves by two stores that overlap; 0 if stores share nothing. */
  schedules: number;
  rounds: number;
  /** The `touchAfter` in seconds of a store that is given none; `undefined`: what the contract says. */
  touchAfter?: number;
  /** How far the stores' clean-up reaches; left out if the backend does it by itself. */
  cleanup?: Real["cleanup"];
}

const sharedMemory: Backend = {
  name: "memory that stores share",
  persistent: true,
  async open() {
    const memory = new SharedMemory();
    return {
      createStore: options => new SharedMemoryStore(options, memory),
      close: () => memory.close(),
    };
  },
};

const boundedMemory: Backend = {
  ...memory,
  name: "memory, with bounds that are never reached",
  open: async () => ({
    createStore: options => new MemoryStore({ ...options, max: 1_000_000, maxBytes: 1_000_000_000 }),
    close: async () => {},
  }),
};

/** Over HTTP: histories of clients, and rounds of saves that overlap, of processes that share a session file. */
export const PROCESSES_RUNS = 25;
export const PROCESSES_ROUNDS = 100;
/** Histories of clients behind proxies. */
export const PROXIED_RUNS = 8;

const onMemory = { lanes: 1, runs: 2000, busyRuns: 250, faultyRuns: 500, schedules: 1500, rounds: 100 };
const withBounds = { lanes: 1, runs: 500, busyRuns: 150, faultyRuns: 0, schedules: 0, rounds: 0 };
const onFile = { lanes: 8, runs: 400, busyRuns: 80, faultyRuns: 80, schedules: 30, rounds: 50 };
const onDynalite = { lanes: 8, runs: 50, busyRuns: 10, faultyRuns: 15, schedules: 5, rounds: 15 };
const onEtcd = { lanes: 8, runs: 80, busyRuns: 20, faultyRuns: 30, schedules: 10, rounds: 30 };

export const modelBackends: readonly ModelBackend[] = [
  { backend: sharedMemory, ...onMemory, cleanup: "backend" },
  { backend: boundedMemory, ...withBounds, touchAfter: 0, cleanup: "prefix" },
  { backend: file, ...onFile, cleanup: "backend" },
  { backend: dynalite, ...onDynalite },
  { backend: etcd, ...onEtcd },
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
export function runClients({ backend }: ModelBackend, conditions: Conditions, runs: number): Promise<void> {
  return withPlace(backend, createStore =>
    assertProperty(concurrentProperty(createStore, backend.persistent, conditions), runs),
  );
}

/** The same for clients of the backend behind proxies that lose, repeat and hold their requests. */
export async function runProxiedClients(backend: ProxiedBackend, runs: number): Promise<void> {
  const place = await backend.open();
  const links = await Promise.all(Array.from({ length: PROXIED.stores }, () => place.link()));
  const connections = await Promise.all(links.map(link => link.connect()));
  try {
    const createStore = (options: StoreOptions, process: number) =>
      (connections[process] as Connection).createStore(options);
    const networkOf = (random: () => number) => new ProxiedNetwork(links, random);
    await assertProperty(concurrentProperty(createStore, true, PROXIED, networkOf), runs);
  } finally {
    for (const connection of connections) connection.close();
    for (const link of links) await link.close();
    await place.close();
  }
}

/** The same for clients over HTTP, of four processes that share a session file. */
export async function runProcesses(runs: number): Promise<void> {
  await withFolder(async path => {
    const servers = await WorkerCluster.start(4, path);
    try {
      await assertProperty(processesProperty(servers), runs);
    } finally {
      await servers.stop();
    }
  });
}

/** Two stores whose saves of one session overlap; rejects with what they lost. */
export async function runOverlappingSaves({ backend }: ModelBackend, rounds: number): Promise<void> {
  await withPlace(backend, async createStore => {
    assert.deepEqual(await overlapInStores(createStore, rounds), []);
  });
}

/** The same for two processes that share a session file. */
export async function runOverlappingProcesses(rounds: number): Promise<void> {
  await withFolder(async path => {
    const store = new FileStore({ path });
    try {
      assert.deepEqual(await overlapInProcesses(store, path, rounds), []);
    } finally {
      await store.close();
    }
  });
}

/** Schedules of requests with clocks that differ; rejects with the first whose session ends too early or too late. */
export async function runSchedules({ backend }: ModelBackend, count: number, firstSeed = 1): Promise<void> {
  await withPlace(backend, async createStore => {
    const error = await findSchedule(createStore, firstSeed, count);
    if (error !== undefined) throw error;
  });
}

async function withFolder(work: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
  try {
    await work(join(folder, "sessions.lmdb"));
  } finally {
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
    const model = begin(shared ? setting : { ...setting, ahead: 0 }, touchAfter);
    const options = { ...setting.rules, now: () => model.now, timeoutMs: TIMEOUT_MS };
    const prefix = `${randomUUID()}:a:`;
    const a = createStore({ ...options, prefix });
    const a2 = shared ? createStore({ ...options, prefix, now: () => model.now + setting.ahead }) : a;
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
