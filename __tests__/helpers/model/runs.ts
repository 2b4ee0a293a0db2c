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

/** The properties of a backend for the model, and how many runs of each kind the test command has. */
export interface ModelBackend {
  backend: Backend;
  /** Runs of commands. */
  runs: number;
  lanes: number;
  /** Histories of parallel clients. */
  busyRuns: number;
  /** Histories with requests that are lost, repeated and late. 0 if the backend's client never repeats a request. */
  faultyRuns: number;
  /** Schedules of requests from two hosts, and rounds of overlapping saves by two stores. 0 if stores share nothing. */
  schedules: number;
  rounds: number;
  /** The `touchAfter` in seconds of a store without the option. `undefined`: the contract's default. */
  touchAfter?: number;
  /** What a sweep of the stores covers. Left out if the backend deletes ended sessions by itself. */
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

/** Runs over HTTP, of processes that share a session file: histories of clients, and rounds of overlapping saves. */
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

/** A failure's `seed`, `path` and `replayPath`, from its report: `MODEL_REPLAY='{"seed":1,"path":"2:3",...}'`. */
const replay: { seed?: number; path?: string; replayPath?: string } = JSON.parse(
  process.env.MODEL_REPLAY ?? "{}",
);

/**
 * Runs random commands against the stores of a backend and the model. Rejects with the shortest commands that differ.
 */
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

/** Runs parallel clients against the stores of a backend. Rejects with a history that the contract excludes. */
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

/** The same for clients over HTTP, with four processes that share a session file. */
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

/** Runs two stores with overlapping saves of one session. Rejects with the lost changes. */
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

/**
 * Runs schedules of requests with clocks that differ. Rejects with the first one whose session ends too early or too
 * late.
 */
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
  // Keeps resources open that would close with the last store.
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
 * States that stores do the same as the model, whatever the commands.
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
