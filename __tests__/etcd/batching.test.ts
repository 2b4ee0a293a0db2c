import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { load, plain, requestSession, sids, stored } from "../../lib/conformance/sessions.js";
import { MAX_LEASE_KEYS } from "../../lib/etcd/lease-pool.js";
import type { Interference } from "../helpers/stores/counting.js";
import { down, forEach, useEtcd } from "./harness.js";

const etcd = useEtcd();
const { open, raw, traffic } = etcd;

describe("cost", () => {
  it("is one request for each get, set, touch and destroy when the lease of the window exists", async () => {
    const store = open();
    const newSession = requestSession(store, "sid", plain());
    expect(await traffic.during(() => store.set("sid", newSession))).toEqual(["leaseGrant", "txn"]);
    expect(await traffic.during(() => store.get("sid"))).toEqual(["range"]);
    const session = await load(store, "sid");
    session.views = 2;
    expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
    etcd.clock.advance(0.001);
    expect(await traffic.during(() => store.touch("sid", session))).toEqual(["txn"]);
    session.views = 3;
    expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
    // Tombstones end in a separate window.
    expect(await traffic.during(() => store.destroy("sid"))).toEqual(["leaseGrant", "txn"]);
    expect(await traffic.during(() => store.get("sid"))).toEqual(["range"]);
    await store.set("sid", plain());
    expect(await traffic.during(() => store.destroy("sid"))).toEqual(["txn"]);
  });

  it("is a request more to put plain data, which replaces what is stored, or a session where one was destroyed", async () => {
    const store = open();
    await store.set("sid", plain());
    expect(await traffic.during(() => store.set("sid", plain({ views: 1 })))).toEqual(["txn", "txn"]);
    await store.destroy("sid");
    const session = requestSession(store, "sid", plain({ views: 2 }));
    expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn", "txn"]);
    expect(await stored(store, "sid")).toEqual({ views: 2 });
  });

  it("is a lease more once for each window and store", async () => {
    const stores = [open(), open()];
    for (const store of stores) await store.set("sid", plain());
    etcd.clock.advance(60);
    const requests = await traffic.during(async () => {
      for (const round of [1, 2, 3]) for (const store of stores) await store.set(`sid-${round}`, plain());
    });
    expect(requests.filter(name => name === "leaseGrant")).toHaveLength(2);
  });

  it("is a read more for a touch of a session that this process has not loaded", async () => {
    const store = open();
    await store.set("sid", plain());
    etcd.clock.advance(0.001);
    expect(await traffic.during(() => store.touch("sid", plain()))).toEqual(["range", "txn"]);
    expect(await traffic.during(() => store.touch("none", plain()))).toEqual(["range"]);
  });

  it("is one request for 64 operations that wait at the same moment", async () => {
    const store = open();
    const some = sids(64);
    const at = (work: (sid: string, index: number) => Promise<unknown>) =>
      traffic.during(() => Promise.all(some.map(work)));
    expect(await at(sid => store.set(sid, plain()))).toEqual(["leaseGrant", "txn"]);
    expect(await at(sid => store.get(sid))).toEqual(["txn"]);
    const sessions = await Promise.all(some.map(sid => load(store, sid)));
    for (const session of sessions) session.views = 1;
    expect(await at((sid, index) => store.set(sid, sessions[index] as never))).toEqual(["txn"]);
    etcd.clock.advance(0.001);
    expect(await at((sid, index) => store.touch(sid, sessions[index] as never))).toEqual(["txn"]);
    for (const sid of some) expect(await stored(store, sid)).toEqual({ views: 1 });
    expect(await at(sid => store.destroy(sid))).toEqual(["leaseGrant", "txn"]);
    expect(await store.ids()).toEqual([]);
    // A mixture of tombstones, records that replace them, and missing records. Each is compared in its own transaction.
    await store.set(some[0] as string, plain());
    await raw.delete().key(etcd.prefix + some[1]);
    expect(await at(sid => store.destroy(sid))).toEqual(["txn", "txn"]);
    expect(await store.ids()).toEqual([]);
  });

  it("is a request more for 64 saves of the same moment if another process changed one of the sessions", async () => {
    const store = open();
    const some = sids(64);
    await forEach(some, sid => store.set(sid, plain({ sid })));
    const sessions = await Promise.all(some.map(sid => load(store, sid)));
    for (const session of sessions) session.mine = 1;
    const other = open();
    const changed = await load(other, some[10] as string);
    await other.set(some[10] as string, Object.assign(changed, { theirs: 1 }));
    await other.destroy(some[20] as string);
    const save = () =>
      Promise.all(
        some.map((sid, index) => store.set(sid, sessions[index] as never)).concat(store.set("new", plain())),
      );
    // One transaction for all, one with a condition for each, and one for the merged session.
    expect(await traffic.during(save)).toEqual(["txn", "txn", "txn"]);
    expect(await stored(store, some[10] as string)).toEqual({ sid: some[10], mine: 1, theirs: 1 });
    expect(await store.get(some[20] as string)).toBeNull();
    for (const sid of [some[0], some[63]])
      expect(await stored(store, sid as string)).toEqual({ sid, mine: 1 });
    expect(await stored(store, "new")).toEqual({});
    expect(await store.length()).toBe(64);
  });

  it("is a request for each hundred operations, conditional ones too: more than etcd takes go one after the other", async () => {
    const store = open();
    const some = sids(500);
    await forEach(some, sid => store.set(sid, plain()));
    const sessions = await Promise.all(some.map(sid => load(store, sid)));
    const saving = await traffic.during(() =>
      Promise.all(sessions.map((session, index) => store.set(some[index] as string, session))),
    );
    expect(saving).toEqual(Array(5).fill("txn"));
    expect(await traffic.during(() => Promise.all(some.map(sid => store.get(sid))))).toEqual(
      Array(5).fill("txn"),
    );
  });

  it("is (ttl / window + 2) leases and one for each full one at most, with 5,000 sessions touched 5 times in random order", async () => {
    const ttl = 1200;
    const windowSeconds = 60;
    const store = open({ ttl, timeoutMs: 20_000 });
    const all = sids(5000);
    // Over a whole lifetime: the last session is touched just before the first would end.
    const total = 5 * all.length;
    const step = (ttl / total) * 500;
    const requests = await traffic.requestsDuring(async () => {
      const sessions = new Map<string, Awaited<ReturnType<typeof load>>>();
      for (let from = 0; from < all.length; from += 500) {
        const some = all.slice(from, from + 500);
        await Promise.all(some.map(sid => store.set(sid, plain())));
        await Promise.all(some.map(async sid => sessions.set(sid, await load(store, sid))));
        etcd.clock.advance(step);
      }
      const touches = shuffled(Array(4).fill(all).flat());
      for (let from = 0; from < touches.length; from += 500) {
        const some = touches.slice(from, from + 500);
        await Promise.all(some.map(sid => store.touch(sid, sessions.get(sid) as never)));
        etcd.clock.advance(step);
      }
    });
    const ids = requests.filter(({ name }) => name === "leaseGrant").map(({ input }) => input.ID);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeLessThanOrEqual(ttl / windowSeconds + 2 + total / MAX_LEASE_KEYS);
    expect(ids.length).toBeGreaterThanOrEqual(ttl / windowSeconds - 2);
  });

  it("is 10 leases at most for 10,000 sessions touched 5 times within two windows", async () => {
    const store = open({ timeoutMs: 20_000 });
    const all = sids(10_000);
    const sessions = new Map<string, Awaited<ReturnType<typeof load>>>();
    const requests = await traffic.requestsDuring(async () => {
      await forEach(all, sid => store.set(sid, plain()));
      await forEach(all, async sid => sessions.set(sid, await load(store, sid)));
      for (let round = 0; round < 5; round++) {
        etcd.clock.advance(12);
        await forEach(all, sid => store.touch(sid, sessions.get(sid) as never));
      }
    });
    const ids = requests.filter(({ name }) => name === "leaseGrant").map(({ input }) => input.ID);
    expect(ids.length).toBeLessThanOrEqual(10);
    // The result must not come from skipped touches, from leases that end before their sessions, or from a few huge
    // leases.
    const written = requests.map(({ name, input }) => (name === "txn" ? input.success.length : 0));
    // 10,000 each for `set` and `get`, and five times that for touches.
    expect(written.reduce((sum, count) => sum + count)).toBe(7 * all.length);
    const leases = await Promise.all(ids.map(etcd.lease));
    expect(leases.reduce((sum, { keys }) => sum + keys.length, 0)).toBe(all.length);
    for (const { keys } of leases) expect(keys.length).toBeLessThanOrEqual(MAX_LEASE_KEYS);
  });
});

function shuffled<T>(items: T[]): T[] {
  for (let index = items.length - 1; index > 0; index--) {
    const other = Math.floor(Math.random() * (index + 1));
    [items[index], items[other]] = [items[other] as T, items[index] as T];
  }
  return items;
}

describe("operations of the same moment", () => {
  it("are sent in no caller's context, and each caller goes on in its own", async () => {
    const storage = new AsyncLocalStorage<string>();
    const store = open();
    const contexts: unknown[] = [];
    const note: Interference = perform => {
      contexts.push(storage.getStore());
      return perform();
    };
    for (const name of ["leaseGrant", "txn", "txn", "txn"]) traffic.next(name, note);
    await Promise.all(
      sids(3).map(sid =>
        storage.run(sid, async () => {
          await store.set(sid, plain({ sid }));
          expect(storage.getStore()).toBe(sid);
          expect(await stored(store, sid)).toEqual({ sid });
          expect(storage.getStore()).toBe(sid);
        }),
      ),
    );
    // A single operation as well.
    await storage.run("alone", () => store.destroy("sid-0"));
    expect(contexts).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("on one session all succeed, in order, however long the first takes", async () => {
    const store = open();
    await store.set("sid", plain());
    const sessions = await Promise.all([1, 2, 3].map(() => load(store, "sid")));
    const order: number[] = [];
    traffic.next("txn", async perform => {
      await sleep(100);
      return perform();
    });
    const requests = await traffic.during(() =>
      Promise.all(
        sessions.map((session, index) =>
          store.set("sid", Object.assign(session, { [`key${index}`]: index })).then(() => order.push(index)),
        ),
      ),
    );
    expect(requests).toEqual(["txn", "txn", "txn"]);
    expect(await stored(store, "sid")).toEqual({ key0: 0, key1: 1, key2: 2 });
    expect(order).toEqual([0, 1, 2]);
  });

  it("do not fail for one that is bad", async () => {
    const store = open();
    const some = sids(10);
    for (const sid of some) await store.set(sid, plain({ sid }));
    const bad = new Error("3 INVALID_ARGUMENT: etcdserver: something is wrong with one of these");
    const refuse = () => Promise.reject(bad);
    // The request for all of them, then a request for the first alone.
    traffic.next("txn", refuse);
    traffic.next("range", refuse);
    const [first, ...others] = await Promise.allSettled(some.map(sid => stored(store, sid)));
    expect(first).toMatchObject({
      status: "rejected",
      reason: { code: "ERR_STORE_UNAVAILABLE", cause: bad },
    });
    expect(others).toEqual(some.slice(1).map(sid => ({ status: "fulfilled", value: { sid } })));
  });

  it("are all refused when etcd cannot be reached, without sending each by itself", async () => {
    const store = open();
    await forEach(sids(10), sid => store.set(sid, plain()));
    traffic.next("txn", () => Promise.reject(down));
    const requests = await traffic.during(() =>
      Promise.all(
        sids(10).map(sid =>
          expect(store.get(sid)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE", cause: down }),
        ),
      ),
    );
    expect(requests).toEqual(["txn"]);
  });
});
