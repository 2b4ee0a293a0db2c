import { randomUUID } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import {
  fieldsOf,
  type RequestSession,
  requestSession,
  type TestSession,
} from "../../../lib/conformance/sessions.js";
import type { AbstractStore, StoreError, StoreOptions } from "../../../lib/index.js";
import { seeded } from "../random.js";
import { type Action, type Ending, History, type KeyWrite, type Noted } from "./history.js";
import { type Link, type Network, UnreliableNetwork } from "./unreliable.js";

/** An action of a client, after a pause of some turns of the event loop. */
interface Step {
  does: "request" | "touch" | "recreate" | "destroy" | "end" | "read";
  sid: number;
  pause: number;
  /** The keys that each save of a request changes: the key that all clients write, the client's own, both, or none. */
  saves: ("shared" | "own" | "both" | "none")[];
  /** Whether a failed save is repeated with the same session. */
  retries: boolean;
}

/** The clients of one run and their environment. */
export interface Conditions {
  clients: number;
  /** The number of stores, each of which stands for a process. There are at most as many stores as clients. */
  stores: number;
  /** The probability that a request has a fault. */
  faultRate: number;
  timeoutMs: number;
}

/** Clients that share the stores of three processes, without faults. */
export const BUSY: Conditions = { clients: 10, stores: 3, faultRate: 0, timeoutMs: 30_000 };

/**
 * Clients on separate processes. There are 4, because a version keeps the ids of the last writes of so many clients.
 */
export const FAULTY: Conditions = { clients: 4, stores: 4, faultRate: 0.15, timeoutMs: 30_000 };

const MAX_ATTEMPTS = 3;
/** The same with proxies instead of faults, so that a held request lasts until the store's timeout. */
export const PROXIED: Conditions = { clients: 4, stores: 4, faultRate: 0, timeoutMs: 3000 };

/** The key that all clients write. */
const SHARED = "shared";
const sids = ["s0", "s1"];

const step: fc.Arbitrary<Step> = fc.record({
  does: fc.constantFrom(
    ...(["request", "request", "request", "request", "request", "request"] as const),
    ...(["touch", "recreate", "recreate", "destroy", "end", "read"] as const),
  ),
  sid: fc.constantFrom(0, 0, 1),
  pause: fc.nat(3),
  saves: fc.array(fc.constantFrom("shared", "own", "both", "both", "none"), { minLength: 1, maxLength: 2 }),
  retries: fc.boolean(),
});

/** The actions of each client. If shrinking removes a client, the client does nothing. */
function scripts({ clients }: Conditions) {
  return fc.array(fc.array(step, { maxLength: 7, size: "max" }), {
    minLength: clients,
    maxLength: clients,
    size: "max",
  });
}

/**
 * States that no history of parallel clients is excluded by the contract.
 *
 * @param shared - whether stores with the same prefix have the same sessions
 */
export function concurrentProperty(
  createStore: (options: StoreOptions, process: number) => AbstractStore,
  shared: boolean,
  conditions: Conditions,
  networkOf: (random: () => number) => Network = random =>
    new UnreliableNetwork(random, conditions.faultRate),
) {
  return fc.asyncProperty(
    scripts(conditions),
    fc.nat(),
    fc.array(fc.integer({ min: -15_000, max: 15_000 }), { minLength: 4, maxLength: 4 }),
    async (scripts, seed, ahead) => {
      const prefix = `${randomUUID()}:`;
      const network = networkOf(seeded(seed));
      const processes = Array.from({ length: shared ? conditions.stores : 1 }, (_, index) => {
        const clock = shared ? (ahead[index] ?? 0) : 0;
        const { timeoutMs } = conditions;
        const store = createStore({ prefix, timeoutMs, now: () => Date.now() + clock }, index);
        return new Process(
          store,
          network.connect(store, index),
          conditions.stores === conditions.clients && shared,
        );
      });
      const histories = sids.map(sid => new History(sid));
      try {
        const clients = scripts.map(
          (_, index) =>
            new Client(`c${index}`, processes[index % processes.length] as Process, scripts.length),
        );
        await Promise.all(histories.map(history => clients[0]?.create(history)));
        await allEnded(clients.map((client, index) => client.run(scripts[index] as Step[], histories)));
        await network.calm();
        for (const client of clients) for (const history of histories) await client.read(history);
        for (const history of histories) history.check();
      } finally {
        await network.calm();
        await processes[0]?.store.clear().catch(() => {});
        for (const { store } of processes) await store.close();
      }
    },
  );
}

/** A store and the faults of its requests. */
class Process {
  readonly store: AbstractStore;
  readonly link: Link;
  /** The events `conflict` of its only client. `undefined` if it has several clients. */
  readonly conflicts: { reason: string; keys: string[] }[] | undefined;

  constructor(store: AbstractStore, link: Link, hasOneClient: boolean) {
    this.store = store;
    this.link = link;
    this.conflicts = hasOneClient ? [] : undefined;
    store.on("conflict", conflict => this.conflicts?.push(conflict));
  }
}

/** A request takes longer than this only if it has a fault, or if the machine is busy. */
const SLOW_MS = 800;

/** The sequential actions of a client, and the responses to them. */
class Client {
  readonly #name: string;
  readonly #process: Process;
  readonly #clients: number;
  /**
   * Sessions that the client may create. After a failed creation it may not, because that creation may take place
   * later.
   */
  readonly #mayCreate = new Set<History>();
  #count = 0;

  constructor(name: string, process: Process, clients: number) {
    this.#name = name;
    this.#process = process;
    this.#clients = clients;
  }

  get #store(): AbstractStore {
    return this.#process.store;
  }

  async run(script: Step[], histories: History[]): Promise<void> {
    for (const { does, sid, pause, saves, retries } of script) {
      const history = histories[sid] as History;
      await turns(pause);
      // Only one client creates a session, because two parallel creations of one sid would be one session with two
      // lives.
      if (does === "recreate" && this.#mayCreate.has(history)) {
        const ending = await this.#destroy(history);
        await turns(pause);
        if (ending === "acknowledged") await this.create(history);
      } else if (does === "destroy" || does === "recreate") {
        if (does === "destroy") await this.#destroy(history);
      } else {
        const session = await this.read(history);
        if (session === null || does === "read") continue;
        await turns(pause);
        if (does === "request") await this.#change(history, session, saves, pause, retries);
        else if (does === "end") await this.#end(history, session);
        else await this.#touch(session);
      }
    }
  }

  /** Creates a session if there is none. */
  async create(history: History): Promise<void> {
    this.#mayCreate.delete(history);
    this.#count += 1;
    const life = `${history.sid}.${this.#count}`;
    const values = Object.fromEntries(
      [SHARED, ...Array.from({ length: this.#clients }, (_, index) => `c${index}`)].map(key => [key, life]),
    );
    const data = { cookie: { originalMaxAge: null }, life, ...values };
    const session = requestSession(this.#store, history.sid, data);
    const { ending } = await history.note(() =>
      this.#attempt({ kind: "create", life, values }, () => this.#store.set(history.sid, session)),
    );
    if (ending !== "failed") this.#mayCreate.add(history);
  }

  async read(history: History): Promise<RequestSession | null> {
    let session: RequestSession | null = null;
    await history.note(async () => {
      await turns(this.#count % 3);
      const data = (await this.#store.get(history.sid)) as TestSession | null;
      const { life = null, ...values } = data === null ? {} : fieldsOf(data);
      if (data !== null) session = requestSession(this.#store, history.sid, data);
      const action = { kind: "read" as const, life: life as string | null, values };
      return { action, ending: "acknowledged" };
    });
    return session;
  }

  async #change(
    history: History,
    session: RequestSession,
    saves: Step["saves"],
    pause: number,
    retries: boolean,
  ): Promise<void> {
    let known = fieldsOf(session);
    for (const changes of saves) {
      this.#count += 1;
      const keys = { shared: [SHARED], own: [this.#name], both: [SHARED, this.#name], none: [] }[changes];
      for (const key of keys) session[key] = `${this.#name}.${this.#count}`;
      const writes = keys.map(key => ({ key, seen: known[key], value: session[key] }));
      let ending: Ending = "failed";
      for (let attempts = 0; ending === "failed" && attempts < (retries ? MAX_ATTEMPTS : 1); attempts++) {
        await turns(pause);
        ending = await this.#save(history, session, writes);
      }
      if (ending !== "acknowledged") return;
      known = fieldsOf(session);
    }
  }

  async #save(history: History, session: RequestSession, writes: KeyWrite[]): Promise<Ending> {
    const { conflicts } = this.#process;
    const before = conflicts?.length ?? 0;
    const { ending } = await history.note(async () => {
      const life = session.life as string;
      const noted = await this.#attempt(
        { kind: "save", life, client: this.#name, writes, reported: [] },
        () => this.#store.set(history.sid, session),
      );
      const reported = conflicts?.slice(before).flatMap(({ keys }) => keys);
      return { ...noted, action: { ...noted.action, reported } };
    });
    return ending;
  }

  /** Signs out with the session that the client has loaded. */
  async #end(history: History, session: RequestSession): Promise<void> {
    session.cookie.originalMaxAge = 0;
    await history.note(() =>
      this.#attempt({ kind: "end", life: session.life as string }, () =>
        this.#store.set(history.sid, session),
      ),
    );
  }

  async #destroy(history: History): Promise<Ending> {
    const destroyed = () => this.#attempt({ kind: "destroy" }, () => this.#store.destroy(history.sid));
    return (await history.note(destroyed)).ending;
  }

  /** Touches the session, which stores nothing but the time. */
  async #touch(session: RequestSession): Promise<void> {
    session[this.#name] = "never saved";
    await this.#store.touch(session.id as string, session).catch(expectOutage);
  }

  async #attempt<A extends Action>(action: A, work: () => Promise<void>): Promise<Noted<A>> {
    const { link, conflicts } = this.#process;
    const { copies, faults } = link;
    const before = conflicts?.length ?? 0;
    const start = performance.now();
    let ending: Ending = "acknowledged";
    await work().catch(error => {
      expectOutage(error);
      ending = "failed";
    });
    // Events are emitted on a later tick.
    await turn();
    const isGone = conflicts?.slice(before).some(({ reason }) => reason === "gone");
    if (isGone) ending = "gone";
    // A slow client may have sent the request again.
    const isSlow = performance.now() - start > SLOW_MS;
    const isFaulty = isSlow || link.faults > faults;
    return { action, ending, isFaulty, isRepeated: isSlow || link.copies > copies };
  }
}

function expectOutage(error: StoreError): void {
  if (error.code !== "ERR_STORE_UNAVAILABLE" && error.code !== "ERR_STORE_TIMEOUT") throw error;
}

/** Waits for all clients, even if some fail, because none may continue during the next run. */
export async function allEnded(clients: Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(clients)) {
    if (result.status === "rejected") throw result.reason;
  }
}

async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn();
}
