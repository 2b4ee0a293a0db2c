import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Clock } from "../../lib/conformance/clock.js";
import { load, plain } from "../../lib/conformance/sessions.js";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import { backends, type OpenBackend } from "../helpers/stores/backends.js";

/*
 * Applications keep in an AsyncLocalStorage what belongs to a request: its span, its user, its tenant. A callback or
 * promise runs in the context of its caller. Work for several requests, or for none, runs in no context.
 */

const context = new AsyncLocalStorage<string | object>();

const REQUESTS = 12;
const names = Array.from({ length: REQUESTS }, (_, index) => `request-${index}.`);

/** Whether a request to the backend serves the named request, whose name is in the session's key. */
const mentions = (text: string, name: string) =>
  text.includes(name) || text.includes(encodeURIComponent(name));

/** Returns etcd's bytes as text, and DynamoDB's JSON unchanged. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, each) =>
    each?.type === "Buffer" && Array.isArray(each.data) ? Buffer.from(each.data).toString() : each,
  );
}

/** The backends that delete ended sessions by themselves, at a configurable interval. */
const sweeping = ["memory", "file", "etcd"];

describe.each(backends)("$name", ({ name: backendName, open }) => {
  let backend: OpenBackend;
  let clock: Clock;
  const stores: AbstractStore[] = [];

  beforeAll(async () => {
    backend = await open();
  });
  afterAll(() => backend.close());
  beforeEach(() => {
    clock = new Clock();
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) {
      await store.clear();
      await store.close();
    }
  });

  function createStore(options: StoreOptions & { cleanupInterval?: number } = {}): AbstractStore {
    const store = backend.createStore({ prefix: `${randomUUID()}:`, now: clock.now, ...options });
    stores.push(store);
    return store;
  }

  /** Runs `work` in many contexts in parallel. Returns every difference from the name of its context. */
  async function inContexts(work: (name: string) => Promise<unknown[]>): Promise<unknown[]> {
    const seen = await Promise.all(
      names.map(name => context.run(name, async () => (await work(name)).map(each => [name, each]))),
    );
    return seen.flat().filter(([name, each]) => name !== each);
  }

  /** Returns the context of each method's callback, and the context after its promise. */
  async function callAll(store: AbstractStore, sid: string): Promise<unknown[]> {
    const seen: unknown[] = [];
    const see = () => seen.push(context.getStore());
    const calls: ((last?: () => void) => unknown)[] = [
      last => store.set(sid, plain(), last as never),
      last => store.get(sid, last as never),
      last => store.touch(sid, plain(), last as never),
      last => store.length(last as never),
      last => store.ids(last as never),
      last => store.all(last as never),
      last => store.ping(last as never),
      last => store.destroy(sid, last as never),
    ];
    for (const call of calls) {
      await call();
      see();
      await new Promise<void>(resolve => {
        call(() => {
          see();
          resolve();
        });
      });
      see();
    }
    for await (const _entry of store.entries()) see();
    see();
    return seen;
  }

  it("calls back and resolves each call in its caller's context: sessions of their own", async () => {
    const store = createStore({ touchAfter: 0 });
    expect(await inContexts(name => callAll(store, name))).toEqual([]);
  });

  it("calls back and resolves each call in its caller's context: one session, merges and joined touches", async () => {
    const store = createStore({ timeoutMs: 20_000 });
    await store.set("sid", plain());
    clock.advance(120);
    const wrong = await inContexts(async name => {
      const seen: unknown[] = [];
      const session = await load(store, "sid");
      seen.push(context.getStore());
      await store.touch("sid", session);
      seen.push(context.getStore());
      await store.set("sid", Object.assign(session, { [name]: 1 }));
      seen.push(context.getStore());
      await new Promise<void>(resolve => {
        store.touch("sid", session, () => {
          seen.push(context.getStore());
          resolve();
        });
      });
      return seen;
    });
    expect(wrong).toEqual([]);
    for (const name of names) expect(await store.get("sid")).toHaveProperty([name]);
  });

  it("rejects each call in its caller's context", async () => {
    const store = createStore({
      serializer: { stringify: () => Promise.reject(new Error()), parse: JSON.parse },
    });
    const wrong = await inContexts(async name => {
      await store.set(name, plain()).catch(() => {});
      const seen = [context.getStore()];
      await new Promise<void>(resolve => {
        store.set(name, plain(), () => {
          seen.push(context.getStore());
          resolve();
        });
      });
      return [...seen, context.getStore()];
    });
    expect(wrong).toEqual([]);
  });

  it("calls the application's functions of a save in the context of that save, merges included", async () => {
    const wrong: unknown[] = [];
    const check = (session: object) => {
      const { owner } = session as { owner?: string };
      if (owner !== undefined && owner !== context.getStore()) wrong.push([owner, context.getStore()]);
    };
    const store = createStore({
      timeoutMs: 20_000,
      ttl: session => {
        check(session);
        return 600;
      },
      serializer: {
        async stringify(session) {
          check(session);
          await turn();
          check(session);
          return JSON.stringify(session);
        },
        parse: JSON.parse,
      },
    });
    await store.set("sid", plain());
    await inContexts(async owner => {
      await store.set("sid", Object.assign(await load(store, "sid"), { owner }));
      return [];
    });
    expect(wrong).toEqual([]);
  });

  it("emits the events of a call in its caller's context", async () => {
    const store = createStore();
    const seen: [string, unknown][] = [];
    const events = ["conflict", "expired"] as const;
    for (const event of events) store.on(event, () => seen.push([event, context.getStore()]));
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.destroy("sid");
    await context.run("saver", () => store.set("sid", session));
    await store.set("other", plain({}, clock.in(10)));
    clock.advance(20);
    await context.run("reader", () => store.get("other"));
    await turn();
    expect(seen).toEqual([
      ["conflict", "saver"],
      ["expired", "reader"],
    ]);
  });

  it("sends no request of its client in the context of a request that it is not for, or that has ended", async () => {
    const watched = await open();
    const traffic = watched.watch?.();
    if (traffic === undefined) return await watched.close();
    const options = { prefix: `${randomUUID()}:`, now: clock.now, touchAfter: 0 };
    const cleanup = sweeping.includes(backendName) ? { cleanupInterval: 0.05 } : {};
    const store = watched.createStore({ ...options, ...cleanup });
    let sent = 0;
    const wrong: unknown[] = [];
    const running = new Set<string>();
    traffic.listen(({ name: request, input }) => {
      sent += 1;
      const current = context.getStore() as string | undefined;
      if (current === undefined) return;
      const text = textOf(input);
      const others = names.filter(name => name !== current && mentions(text, name));
      if (!running.has(current) || others.length > 0) wrong.push([request, current, others]);
    });
    await Promise.all(
      names.map((name, index) =>
        context.run(name, async () => {
          running.add(name);
          for (let round = 0; round < 5; round++) {
            await sleep(index % 3);
            await store.set(name, plain({ round }));
            await Promise.all([load(store, name), load(store, name)]);
            clock.advance(1);
            await store.touch(name, await load(store, name));
          }
          running.delete(name);
        }),
      ),
    );
    // Waits long enough for a sweep.
    await sleep(200);
    await store.clear();
    await store.close();
    await watched.close();
    expect(wrong).toEqual([]);
    expect(sent).toBeGreaterThan(0);
  });

  // etcd's leases delete ended sessions. Its sweep deletes those that ended more than an hour ago, and reports none.
  if (backendName !== "memory" && backendName !== "file") return;

  describe("its sweep at an interval", () => {
    const cleanupInterval = 0.05;

    it("runs in no request's context, and so does the event expired", async () => {
      const store = createStore({ cleanupInterval });
      const seen: [string, unknown][] = [];
      store.on("expired", ({ reason }) => seen.push([reason, context.getStore()]));
      // The first write of the store starts the interval.
      await context.run("first", () => store.set("sid", plain({}, clock.in(600))));
      clock.advance(1000);
      const deadline = Date.now() + 10_000;
      while (seen.length === 0 && Date.now() < deadline) await sleep(20);
      expect(seen).toEqual([["removed", undefined]]);
    });

    it("reports its failures in no request's context", async () => {
      const store = createStore({ cleanupInterval });
      const seen: unknown[] = [];
      store.on("error", () => seen.push(context.getStore()));
      let broken = false;
      const primitive = store as unknown as { _now(): number };
      const now = primitive._now.bind(store);
      primitive._now = () => {
        if (broken) throw new Error("no clock");
        return now();
      };
      await context.run("first", () => store.set("sid", plain()));
      broken = true;
      const deadline = Date.now() + 5000;
      while (seen.length === 0 && Date.now() < deadline) await sleep(20);
      broken = false;
      expect(new Set(seen)).toEqual(new Set([undefined]));
    });

    it("does not keep the context of the request that began it", async () => {
      setFlagsFromString("--expose-gc");
      const collect = runInNewContext("gc") as () => void;
      const store = createStore({ cleanupInterval: 60 });
      const request = async () => {
        const own = { name: "first" };
        await context.run(own, async () => {
          await store.set("sid", plain());
          clock.advance(120);
          await store.touch("sid", await load(store, "sid"));
        });
        return new WeakRef(own);
      };
      const first = await request();
      // Other requests are needed, because LMDB's client keeps the promises of its last writes.
      for (let later = 0; later < 3; later++) {
        await store.set("later", plain());
        await load(store, "later");
        await sleep(5);
      }
      for (let round = 0; round < 50 && first.deref() !== undefined; round++) {
        await sleep(10);
        collect();
      }
      expect(first.deref()).toBeUndefined();
    });
  });
});
