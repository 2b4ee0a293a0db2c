import { randomUUID } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { fieldsOf, plain, requestSession, type TestSession } from "../../lib/conformance/sessions.js";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import type { WorkerCluster } from "./cluster-primary.js";
import { History } from "./model-history.js";

/** One thing that a client does, after a pause of some turns of the event loop. */
interface Step {
  does: "request" | "touch" | "create" | "destroy" | "read";
  store: number;
  sid: number;
  pause: number;
  /** How often a request saves its session; each time with a new value of the client's key, or without it. */
  saves: ("value" | "no value" | "no change")[];
}

const STORES = 3;
const TIMEOUT_MS = 30_000;
const sids = ["s0", "s1"];

const step: fc.Arbitrary<Step> = fc.record({
  does: fc.constantFrom("request", "request", "request", "request", "touch", "create", "destroy", "read"),
  store: fc.nat(STORES - 1),
  sid: fc.nat(sids.length - 1),
  pause: fc.nat(3),
  saves: fc.array(fc.constantFrom("value", "value", "no value", "no change"), { minLength: 1, maxLength: 2 }),
});

/** A client that is left out when a failure is made short does nothing. */
const scripts = fc.array(fc.array(step, { maxLength: 6, size: "max" }), {
  minLength: 8,
  maxLength: 12,
  size: "max",
});

/**
 * That no history of clients that are at work at once is one that the contract excludes.
 *
 * @param shared - whether stores with the same prefix have the same sessions
 */
export function concurrentProperty(createStore: (options: StoreOptions) => AbstractStore, shared: boolean) {
  return fc.asyncProperty(scripts, async scripts => {
    const prefix = `${randomUUID()}:`;
    const stores = Array.from({ length: shared ? STORES : 1 }, () =>
      createStore({ prefix, timeoutMs: TIMEOUT_MS }),
    );
    const first = stores[0] as AbstractStore;
    const histories = sids.map(() => new History());
    try {
      await Promise.all(sids.map((sid, index) => create(histories[index] as History, first, sid, "first")));
      const run = (script: Step[], index: number) => runClient(`c${index}`, script, stores, histories);
      await allEnded(scripts.map(run));
      for (const store of stores) {
        for (const [index, sid] of sids.entries()) await read(histories[index] as History, store, sid);
      }
      for (const history of histories) history.check();
    } finally {
      await first.clear();
      for (const store of stores) await store.close();
    }
  });
}

async function runClient(
  client: string,
  script: Step[],
  stores: AbstractStore[],
  histories: History[],
): Promise<void> {
  let count = 0;
  for (const { does, store: index, sid: sidIndex, pause, saves } of script) {
    const store = stores[index % stores.length] as AbstractStore;
    const sid = sids[sidIndex] as string;
    const history = histories[sidIndex] as History;
    await turns(pause);
    if (does === "create") {
      await create(history, store, sid, `${client}.${++count}`);
    } else if (does === "destroy") {
      await history.note(async () => {
        await store.destroy(sid);
        return { kind: "destroy" };
      });
    } else {
      const data = await read(history, store, sid);
      if (data === null || does === "read") continue;
      const session = requestSession(store, sid, data) as TestSession;
      if (does === "touch") {
        session[client] = "never saved";
        await store.touch(sid, session);
        continue;
      }
      for (const save of saves) {
        await turns(pause);
        if (save === "value") session[client] = ++count;
        if (save === "no value") delete session[client];
        await history.note(async () => {
          const value = session[client];
          await store.set(sid, session);
          return { kind: "save", life: session.life as string, client, value };
        });
      }
    }
  }
}

async function create(history: History, store: AbstractStore, sid: string, life: string): Promise<void> {
  await history.note(async () => {
    await store.set(sid, plain({ life }));
    return { kind: "create", life };
  });
}

async function read(history: History, store: AbstractStore, sid: string): Promise<TestSession | null> {
  let data: TestSession | null = null;
  await history.note(async () => {
    data = (await store.get(sid)) as TestSession | null;
    if (data === null) return { kind: "read", life: null, fields: {} };
    const { life, ...fields } = fieldsOf(data);
    return { kind: "read", life: life as string, fields };
  });
  return data;
}

/** What a client does over HTTP, with the server of one process. */
const visit = fc.record({
  does: fc.constantFrom("set", "set", "set", "set", "set", "get", "get", "sign out"),
  worker: fc.nat(),
});

const visits = fc.array(fc.array(visit, { maxLength: 8, size: "max" }), {
  minLength: 8,
  maxLength: 10,
  size: "max",
});

/** The same for clients of the same session over HTTP, whose requests are served by several processes. */
export function processesProperty(servers: WorkerCluster) {
  return fc.asyncProperty(visits, async scripts => {
    const history = new History();
    const life = randomUUID();
    const browser = servers.browser();
    await history.note(async () => {
      await browser.send(`POST /sign-in?user=${life}`);
      return { kind: "create", life };
    });
    const readBy = (worker: number) =>
      history.note(async () => {
        const { user = null, ...fields } = await servers.browserOf(worker, browser.cookie).fields();
        return { kind: "read", life: user as string | null, fields };
      });
    const run = async (script: { does: string; worker: number }[], index: number) => {
      const client = `c${index}`;
      for (const [count, { does, worker }] of script.entries()) {
        const own = servers.browserOf(worker, browser.cookie);
        if (does === "get") await readBy(worker);
        else if (does === "set") {
          await history.note(async () => {
            await own.send(`POST /set?${client}=${count}`);
            return { kind: "save", life, client, value: `${count}` };
          });
        } else {
          await history.note(async () => {
            await own.send("POST /sign-out");
            return { kind: "destroy" };
          });
        }
      }
    };
    await allEnded(scripts.map(run));
    for (const worker of servers.workers.keys()) await readBy(worker);
    history.check();
  });
}

/** Waits for all, also when some fail: none must go on into the next run. */
async function allEnded(clients: Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(clients)) {
    if (result.status === "rejected") throw result.reason;
  }
}

async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn();
}
