import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import {
  fieldsOf,
  plain,
  type RequestSession,
  requestSession,
  type TestSession,
} from "../../../lib/conformance/sessions.js";
import type { AbstractStore, StoreError } from "../../../lib/index.js";
import type { Action, Ending, History, KeyWrite, Noted } from "../model/history.js";
import { below } from "../random.js";
import type { FaultProxy } from "./fault-proxy.js";
import { ProxiedProcess } from "./proxied-process.js";

export const PROCESSES = 3;
/** How long a client waits for a response before it sends a request again. */
export const ATTEMPT_MS = 500;

const STEPS = 8;
const CRASH_RATE = 0.03;

export const SIDS = ["s0", "s1"];

/** The key that all processes write. */
const SHARED = "shared";
const steps = [
  ...Array<"change">(9).fill("change"),
  ...Array<"recreate">(4).fill("recreate"),
  ...(["touch", "touch", "read", "destroy", "destroy", "end", "crash"] as const),
];

/** Reads the stored session. Rejects if it cannot be read. */
export async function readSession(store: AbstractStore, history: History): Promise<TestSession | null> {
  let session: TestSession | null = null;
  await history.note(async () => {
    session = (await store.get(history.sid)) as TestSession | null;
    const { life = null, ...values } = session === null ? {} : fieldsOf(session);
    return { action: { kind: "read", life: life as string | null, values }, ending: "acknowledged" };
  });
  return session;
}

/** The sequential actions of one process, and the responses to them. */
export class ScheduledProcess {
  readonly #name: string;
  readonly #index: number;
  readonly #process: ProxiedProcess;
  readonly #random: () => number;
  /** The sessions whose last creation failed, but may still take place. */
  readonly #mayAppear = new Set<History>();
  #count = 0;

  constructor(index: number, process: ProxiedProcess, random: () => number) {
    this.#name = `p${index}`;
    this.#index = index;
    this.#process = process;
    this.#random = random;
  }

  get #store(): AbstractStore {
    return this.#process.store;
  }

  async run(histories: History[]): Promise<void> {
    for (const [index, history] of histories.entries()) {
      if (this.#creates(index)) await this.#create(history, true);
    }
    for (let count = 0; count < STEPS; count++) {
      const index = below(histories.length, this.#random);
      const history = histories[index] as History;
      const step = steps[below(steps.length, this.#random)] as (typeof steps)[number];
      await sleep(below(5, this.#random));
      if (step === "crash") await this.#process.restart();
      else if (step === "destroy") await this.#destroy(history);
      else if (step !== "recreate") await this.#request(step, history);
      else if (this.#creates(index)) await this.#recreate(history);
    }
  }

  /**
   * Only one process creates a session, because two parallel creations of one sid would be one session with two lives.
   */
  #creates(sidIndex: number): boolean {
    return sidIndex % PROCESSES === this.#index;
  }

  async #recreate(history: History): Promise<void> {
    const mayBeThere = this.#mayAppear.has(history) || (await this.#load(history)) !== null;
    if (mayBeThere && (await this.#destroy(history)) === "failed") return;
    await this.#create(history, this.#random() < 0.3);
  }

  /** Creates a session, like a request or, with plain data, like an administrator's script. */
  async #create(history: History, isRequest: boolean): Promise<void> {
    const life = `${history.sid}.${this.#name}.${this.#next()}`;
    const keys = [SHARED, ...Array.from({ length: PROCESSES }, (_, index) => `p${index}`)];
    const values = Object.fromEntries(keys.map(key => [key, life]));
    const data = plain({ life, ...values });
    const session = isRequest ? requestSession(this.#store, history.sid, data) : data;
    const action = { kind: "create" as const, life, values };
    const ending = await this.#attempt(history, action, options =>
      this.#store.set(history.sid, session, options),
    );
    if (ending === "failed") this.#mayAppear.add(history);
    else this.#mayAppear.delete(history);
  }

  #destroy(history: History): Promise<Ending> {
    return this.#attempt(history, { kind: "destroy" }, options => this.#store.destroy(history.sid, options));
  }

  /** Returns `undefined` if the read failed, because it is then unknown whether there is a session. */
  async #load(history: History): Promise<RequestSession | null | undefined> {
    const data = await readSession(this.#store, history).catch(expectFailure);
    return data && requestSession(this.#store, history.sid, data);
  }

  async #request(step: "change" | "touch" | "read" | "end", history: History): Promise<void> {
    const session = await this.#load(history);
    if (!session || step === "read") return;
    await sleep(below(10, this.#random));
    const { sid } = history;
    const life = session.life as string;
    if (step === "touch") {
      session[this.#name] = "never saved";
      await this.#store.touch(sid, session).catch(expectFailure);
    } else if (step === "end") {
      session.cookie.originalMaxAge = 0;
      await this.#attempt(history, { kind: "end", life }, options => this.#store.set(sid, session, options));
    } else {
      await this.#change(history, session);
    }
  }

  /** Saves once or twice, and sometimes repeats a failed save. */
  async #change(history: History, session: RequestSession): Promise<void> {
    let known = fieldsOf(session);
    for (let saves = below(2, this.#random); saves >= 0; saves--) {
      const keys = [[SHARED], [this.#name], [SHARED, this.#name]][below(3, this.#random)] as string[];
      const value = `${this.#name}.${this.#next()}`;
      const writes = keys.map(key => ({ key, seen: known[key], value }));
      for (const key of keys) session[key] = value;
      const { store } = this.#process;
      let ending = await this.#save(history, session, writes);
      // A crash loses everything that the process had in memory about the session.
      if (this.#process.store !== store) return;
      const isRepeated = ending === "failed" && this.#random() < 0.5;
      if (isRepeated) ending = await this.#save(history, session, writes);
      if (ending !== "acknowledged" || this.#process.store !== store) return;
      known = fieldsOf(session);
    }
  }

  #save(history: History, session: RequestSession, writes: KeyWrite[]): Promise<Ending> {
    const life = session.life as string;
    const action = { kind: "save" as const, life, client: this.#name, writes, reported: undefined };
    return this.#attempt(history, action, options => this.#store.set(history.sid, session, options));
  }

  /** Records a call and how it ended. If the process crashes during the call, it is started again. */
  async #attempt(
    history: History,
    action: Action,
    call: (options: { signal: AbortSignal }) => Promise<void>,
  ): Promise<Ending> {
    const { proxy, conflicts, callOptions } = this.#process;
    const isCrash = this.#random() < CRASH_RATE;
    const { ending } = await history.note(async (): Promise<Noted<Action>> => {
      const before = { ...proxy.counts };
      const seen = conflicts.length;
      const calledAt = performance.now();
      let ending: Ending = "acknowledged";
      const called = call(callOptions).catch(error => {
        expectFailure(error);
        ending = "failed";
      });
      if (isCrash) {
        await sleep(below(8, this.#random));
        this.#process.crash();
      }
      await called;
      // Events are emitted on a later tick.
      await turn();
      if (conflicts.slice(seen).some(({ reason }) => reason === "gone")) ending = "gone";
      const grown = (...faults: (keyof FaultProxy["counts"])[]) =>
        faults.some(each => proxy.counts[each] > before[each]);
      // On a busy machine, an attempt may time out without any fault.
      const isSlow = performance.now() - calledAt >= ATTEMPT_MS;
      const isRepeated = isSlow || grown("hold", "hold-reset", "repeat", "delay");
      return { action, ending, isRepeated, isFaulty: isRepeated || grown("drop-response") };
    });
    if (isCrash) await this.#process.restart();
    return ending;
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }
}

function expectFailure({ code, message }: StoreError): undefined {
  const isExpected = code === "ERR_STORE_UNAVAILABLE" || code === "ERR_STORE_TIMEOUT";
  if (!isExpected && message !== ProxiedProcess.crashMessage)
    throw new Error(`Unexpected: ${code} ${message}`);
}
