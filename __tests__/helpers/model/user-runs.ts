import { randomUUID } from "node:crypto";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import {
  type Connection,
  type OpenProxiedBackend,
  type ProxiedBackend,
  type ProxyLink,
  proxiedBackends,
} from "../faults/proxied-backends.js";
import { injectRandomFaults } from "../faults/random-faults.js";
import { historyOptions, runUserHistory } from "./user-histories.js";

type Limit = StoreOptions["maxSessionsPerUser"];

/** The limits of the histories. */
export const LIMITS: Limit[] = [
  undefined,
  { max: 2, onExceeded: "end-oldest" },
  { max: 2, onExceeded: "reject" },
];

/** The networked backends that support the option `user`. */
export const proxiedUserBackends = proxiedBackends.filter(({ name }) =>
  ["DynamoDB Local", "etcd"].includes(name),
);

export interface UserRuns {
  /** The seed of the first history. The others count up from it. */
  readonly seed: number;
  readonly count: number;
  readonly limit: Limit;
}

type Counts = Record<string, number>;

/** Runs histories, each with its own prefix. Returns how many calls there were of each kind. */
export async function runOn(
  open: (prefix: string) => readonly AbstractStore[],
  { seed, count, limit }: UserRuns,
  calm?: () => Promise<void>,
): Promise<Counts> {
  const total: Counts = {};
  for (let number = 0; number < count; number++) {
    const stores = open(`${randomUUID()}:`);
    const counts = await runUserHistory({ stores, seed: seed + number, limit, ...(calm && { calm }) });
    for (const [name, value] of Object.entries(counts)) total[name] = (total[name] ?? 0) + value;
  }
  return total;
}

const PROCESSES = 3;
const ATTEMPT_MS = 400;
const TIMEOUT_MS = 1500;
const DELAY_MS = 50;

const FAULTS = {
  "hold-reset": 0.08,
  repeat: 0.08,
  "drop-response": 0.08,
  delay: 0.06,
  release: 0.3,
};

/** Processes whose requests are held, repeated and delayed, and whose responses are lost. */
export class ProxiedUsers {
  readonly #backend: OpenProxiedBackend;
  readonly #links: readonly ProxyLink[];
  readonly #connections: readonly Connection[];
  readonly #random: () => number;

  private constructor(
    backend: OpenProxiedBackend,
    links: readonly ProxyLink[],
    connections: readonly Connection[],
    random: () => number,
  ) {
    this.#backend = backend;
    this.#links = links;
    this.#connections = connections;
    this.#random = random;
  }

  static async open({ open }: ProxiedBackend, random: () => number): Promise<ProxiedUsers> {
    const backend = await open();
    const link = () => backend.link({ delayMs: DELAY_MS, attemptMs: ATTEMPT_MS });
    const links = await Promise.all(Array.from({ length: PROCESSES }, link));
    const connections = await Promise.all(links.map(each => each.connect()));
    return new ProxiedUsers(backend, links, connections, random);
  }

  async run(runs: UserRuns): Promise<Counts> {
    const total = {
      ...(await runOn(
        prefix => this.#start(prefix, runs.limit),
        runs,
        () => this.#calm(),
      )),
    };
    for (const { proxy } of this.#links) {
      for (const [fault, count] of Object.entries(proxy.counts)) total[fault] = (total[fault] ?? 0) + count;
    }
    return total;
  }

  #start(prefix: string, limit: Limit): AbstractStore[] {
    for (const { proxy } of this.#links) {
      // Grants of leases are forwarded, because these histories do not test them.
      const only = ({ kind, body }: { kind: string; body: Buffer }) =>
        kind === "write" && body.includes(prefix);
      injectRandomFaults(proxy, this.#random, { ...FAULTS, only });
    }
    const options = { ...historyOptions({ limit }), prefix, timeoutMs: TIMEOUT_MS };
    return this.#connections.map(connection => connection.createStore(options));
  }

  async #calm(): Promise<void> {
    for (const { proxy } of this.#links) {
      proxy.intercept();
      await proxy.release();
      await proxy.drained();
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close();
    for (const link of this.#links) await link.close();
    await this.#backend.close();
  }
}
