import { setTimeout as sleep } from "node:timers/promises";
import { plain, requestSession } from "../../../lib/conformance/sessions.js";
import { userOf } from "../../../lib/conformance/user-sessions.js";
import type { AbstractStore, StoreError, StoreOptions, UserSessionInfo } from "../../../lib/index.js";
import { below, seeded } from "../random.js";
import { type Interval, UserOracle } from "./user-oracle.js";

/** The settings of a history: its clients and its stores. */
export interface UserHistory {
  /** The store of each process. */
  readonly stores: readonly AbstractStore[];
  readonly seed: number;
  readonly limit?: StoreOptions["maxSessionsPerUser"];
  readonly clients?: number;
  readonly steps?: number;
  /** Lets all faults end, and all late requests arrive. */
  calm?(): Promise<void>;
}

/** Errors after which it is unknown whether a call took place. */
const DOUBTFUL = ["ERR_STORE_UNAVAILABLE", "ERR_STORE_TIMEOUT"];
/** Errors after which a call certainly did not take place. */
const REFUSED = ["ERR_TOO_MANY_SESSIONS", "ERR_SESSION_NOT_FOUND"];

const MAX_CALLS = 5;

const USERS = ["ann", "bob"] as const;

type Outcome = "done" | "doubtful" | "refused";

/** The options of the stores of a history. */
export function historyOptions({ limit }: Pick<UserHistory, "limit">): StoreOptions {
  return { user: userOf, touchAfter: 0, ...(limit && { maxSessionsPerUser: limit }) };
}

/**
 * Lets parallel clients sign in and out, and change, touch, find, count and end sessions of users. Checks what they
 * see. Returns how many calls there were of each kind.
 *
 * @throws Error that names the seed
 */
export async function runUserHistory(history: UserHistory): Promise<Record<string, number>> {
  try {
    const run = new Run(history);
    await run.clients();
    await history.calm?.();
    await run.checkAtTheEnd();
    return run.counts;
  } catch (error) {
    throw new Error(`Seed ${history.seed}: ${(error as Error).message}`, { cause: error });
  }
}

/** The seed of `USERS_SEED`, or a new one. */
export function firstUserSeed(): number {
  return Number(process.env.USERS_SEED || below(2 ** 31, Math.random));
}

class Run {
  readonly counts: Record<string, number> = {};
  readonly #history: UserHistory;
  readonly #random: () => number;
  readonly #oracle: UserOracle;
  readonly #sids: string[] = [];
  #devices = 0;

  constructor(history: UserHistory) {
    this.#history = history;
    this.#random = seeded(history.seed);
    this.#oracle = new UserOracle(history.limit?.max);
  }

  async clients(): Promise<void> {
    const { stores, clients = 4, steps = 12 } = this.#history;
    const client = async (index: number) => {
      for (let step = 0; step < steps; step++) {
        await this.#step(stores[index % stores.length] as AbstractStore);
        if (this.#random() < 0.2) await sleep(below(4, this.#random));
      }
    };
    const results = await Promise.allSettled(Array.from({ length: clients }, (_, index) => client(index)));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  async #step(store: AbstractStore): Promise<void> {
    const choices: [number, string, () => Promise<unknown>][] = [
      [24, "signIn", () => this.#signIn(store)],
      [10, "change", () => this.#change(store)],
      [8, "signOut", () => this.#destroy(store)],
      [8, "save", () => this.#use(store, "set")],
      [8, "touch", () => this.#use(store, "touch")],
      [8, "destroyByUser", () => this.#destroyByUser(store)],
      [8, "destroyByHandle", () => this.#destroyByHandle(store)],
      [6, "updateByUser", () => this.#updateByUser(store)],
      [14, "find", () => this.#find(store, this.#user())],
      [6, "count", () => this.#count(store, this.#user())],
    ];
    let rest = this.#random() * choices.reduce((sum, [weight]) => sum + weight, 0);
    const [, name, step] = choices.find(([weight]) => {
      rest -= weight;
      return rest < 0;
    }) as (typeof choices)[number];
    this.counts[name] = (this.counts[name] ?? 0) + 1;
    await step();
  }

  #user(): string {
    return USERS[below(USERS.length, this.#random)] as string;
  }

  #sid(): string | undefined {
    // Mostly one of the last sids, because the other sessions have ended.
    const recent = this.#sids.slice(-6);
    return recent[below(recent.length, this.#random)];
  }

  /** Performs a call. If the call may take place later, its interval does not end. */
  async #during(call: () => Promise<unknown>): Promise<{ interval: Interval; outcome: Outcome }> {
    const interval = this.#oracle.begin();
    const end = (outcome: Outcome) => {
      if (outcome !== "doubtful") this.#oracle.end(interval);
      return { interval, outcome };
    };
    try {
      await call();
      return end("done");
    } catch (error) {
      const { code = "" } = error as StoreError;
      if (DOUBTFUL.includes(code)) return end("doubtful");
      if (REFUSED.includes(code)) return end("refused");
      throw error;
    }
  }

  async #signIn(store: AbstractStore): Promise<void> {
    const device = `d${this.#devices++}`;
    const sid = `s-${device}`;
    const user = this.#random() < 0.15 ? undefined : this.#user();
    this.#sids.push(sid);
    const change = this.#oracle.created(device, user);
    const { interval, outcome } = await this.#during(() =>
      store.set(sid, requestSession(store, sid, plain({ user, device }))),
    );
    Object.assign(change, interval, { outcome, start: change.start });
  }

  async #change(store: AbstractStore): Promise<void> {
    const sid = this.#sid();
    if (sid === undefined) return;
    const device = sid.slice(2);
    // With a limit, no user is set, because a session that returns to its user would be found in an older list.
    const user = this.#history.limit === undefined && this.#random() < 0.7 ? this.#user() : undefined;
    const change = this.#oracle.changed(device, user);
    let isSent = false;
    const { interval, outcome } = await this.#during(async () => {
      const session = await store.get(sid);
      if (session === null) return;
      const request = requestSession(store, sid, session);
      if (this.#random() < 0.3) await sleep(below(5, this.#random));
      isSent = true;
      await store.set(sid, Object.assign(request, { user }));
    });
    Object.assign(change, interval, { outcome: isSent ? outcome : "refused", start: change.start });
  }

  async #destroy(store: AbstractStore): Promise<void> {
    const sid = this.#sid();
    if (sid === undefined) return;
    const removal = this.#oracle.destroyed(sid.slice(2));
    const { interval, outcome } = await this.#during(() => store.destroy(sid));
    Object.assign(removal, interval, { outcome, start: removal.start });
  }

  async #use(store: AbstractStore, method: "set" | "touch"): Promise<void> {
    const sid = this.#sid();
    if (sid === undefined) return;
    await this.#during(async () => {
      const session = await store.get(sid);
      if (session === null) return;
      const request = requestSession(store, sid, session);
      if (this.#random() < 0.3) await sleep(below(5, this.#random));
      if (method === "set") Object.assign(request, { [`k${below(5, this.#random)}`]: this.#random() });
      await store[method](sid, request);
    });
  }

  async #destroyByUser(store: AbstractStore): Promise<void> {
    const user = this.#user();
    const removal = this.#oracle.destroyedByUser(user);
    const { interval, outcome } = await this.#during(() => store.destroyByUser(user));
    Object.assign(removal, interval, { outcome, start: removal.start });
    if (outcome === "done") await this.#find(store, user);
  }

  async #destroyByHandle(store: AbstractStore): Promise<void> {
    const user = this.#user();
    const shown = await this.#find(store, user);
    const one = shown[below(shown.length, this.#random)];
    if (one === undefined) return;
    const removal = this.#oracle.destroyed(deviceIn(one));
    const { interval, outcome } = await this.#during(() => store.destroyByHandle(user, one.handle));
    Object.assign(removal, interval, { outcome, start: removal.start });
  }

  async #updateByUser(store: AbstractStore): Promise<void> {
    const user = this.#user();
    let changed = 0;
    const { interval, outcome } = await this.#during(async () => {
      changed = await store.updateByUser(user, session => {
        Object.assign(session, { role: this.#random() });
      });
    });
    if (outcome === "done") this.#oracle.checkCount(user, interval, changed, "updateByUser");
  }

  async #find(store: AbstractStore, user: string): Promise<UserSessionInfo[]> {
    const shown: UserSessionInfo[] = [];
    const { interval, outcome } = await this.#during(async () => {
      for await (const session of store.findByUser(user)) shown.push(session);
    });
    if (outcome === "done") this.#oracle.checkList(user, interval, shown.map(deviceIn));
    return shown;
  }

  async #count(store: AbstractStore, user: string): Promise<void> {
    let count = 0;
    const { interval, outcome } = await this.#during(async () => {
      count = await store.countByUser(user);
    });
    if (outcome === "done") this.#oracle.checkCount(user, interval, count, "countByUser");
  }

  /** Called when no request is in flight: every process must list exactly the live sessions of each user. */
  async checkAtTheEnd(): Promise<void> {
    const { stores } = this.#history;
    const now = this.#oracle.begin();
    const live = new Map<string, unknown>();
    for (const sid of this.#sids) {
      const session = await insist(() => (stores[0] as AbstractStore).get(sid));
      if (session !== null) live.set(sid.slice(2), userOf(session));
    }
    this.#oracle.end(now);
    this.#oracle.checkLive(now, live);
    for (const store of stores) {
      for (const user of USERS) {
        const expected = [...live].filter(([, each]) => each === user).map(([device]) => device);
        const shown = await insist(async () => {
          const devices: string[] = [];
          for await (const session of store.findByUser(user)) devices.push(deviceIn(session));
          return devices;
        });
        if (shown.sort().join() !== expected.sort().join()) {
          throw new Error(`At the end ${user} has the sessions ${expected}, but the list has ${shown}`);
        }
        const count = await insist(() => store.countByUser(user));
        if (count !== expected.length)
          throw new Error(`At the end countByUser is ${count}, not ${expected.length}`);
      }
    }
    // Every one of the sessions can be ended.
    const [store] = stores as [AbstractStore];
    for (const user of USERS) await insist(() => store.destroyByUser(user));
    for (const [device, user] of live) {
      if (user !== undefined && (await insist(() => store.get(`s-${device}`))) !== null) {
        throw new Error(`destroyByUser did not end ${device}`);
      }
    }
  }
}

/** Repeats a call that fails although there are no faults any more, because the machine may be busy. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (let calls = 1; ; calls++) {
    try {
      return await call();
    } catch (error) {
      if (calls === MAX_CALLS || !DOUBTFUL.includes((error as StoreError).code)) throw error;
    }
  }
}

function deviceIn({ session }: UserSessionInfo): string {
  return (session as unknown as { device: string }).device;
}
