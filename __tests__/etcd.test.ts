import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { noop } from "cockatiel";
import { Etcd3, GRPCUnavailableError } from "etcd3";
import { Clock } from "../lib/conformance/clock.js";
import { eventsOf, invoke, methodNames } from "../lib/conformance/observe.js";
import { find, load, plain, sids, stored, storedExpiry } from "../lib/conformance/sessions.js";
import { storeConformance } from "../lib/conformance.js";
import type { AbstractStore } from "../lib/core/abstract-store.js";
import { MAX_LEASE_KEYS } from "../lib/etcd/lease-pool.js";
import { EtcdStore, type EtcdStoreOptions } from "../lib/etcd/store.js";
import { loseAnswer, type Message, performTwice, type Traffic, trafficOfEtcd } from "./helpers/counting.js";
import { etcdClient, startEtcd } from "./helpers/engines.js";

const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;
const down = new GRPCUnavailableError("14 UNAVAILABLE: No connection established");
const lost = new GRPCUnavailableError("14 UNAVAILABLE: Connection dropped");

/** The client of the stores. */
const client = etcdClient();
const traffic = trafficOfEtcd(client);
/** The tests' own way to look at what is in etcd. */
const raw = etcdClient();

let prefix: string;
let clock: Clock;
beforeEach(() => {
  prefix = `etcd-test-${randomUUID()}:`;
  clock = new Clock();
});
afterEach(async () => {
  await raw.delete().prefix(prefix);
  expect(traffic.forgetAwaited()).toEqual([]);
});
afterAll(() => {
  client.close();
  raw.close();
});

function open(options: Partial<EtcdStoreOptions> = {}): EtcdStore {
  return new EtcdStore({ client, prefix, now: clock.now, touchAfter: 0, ...options });
}

/** Does something for many sids, as many at once as a busy server. */
async function forEach(all: string[], work: (sid: string) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < all.length; from += 1000)
    await Promise.all(all.slice(from, from + 1000).map(work));
}

/** What somebody waits for until somebody else opens it. */
function gate(): { opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>(resolve => {
    open = resolve;
  });
  return { opened, open };
}

/** The lease that the session's key is attached to. */
async function leaseOf(sid: string): Promise<string> {
  const { kvs } = await raw.kv.range({ key: Buffer.from(prefix + sid) });
  return String(kvs[0]?.lease);
}

/** The keys that go when the lease goes, and its seconds. */
async function lease(ID: string): Promise<{ keys: string[]; seconds: number }> {
  const { keys, grantedTTL } = await raw.leaseClient.leaseTimeToLive({ ID, keys: true });
  return { keys: keys.map(String).sort(), seconds: Number(grantedTTL) };
}

describe("EtcdStore", () => {
  const links = new WeakMap<AbstractStore, EtcdStoreOptions["client"]>();
  storeConformance({
    describe,
    it,
    createStore: options => {
      // With methods of its own, so that it can be broken without the others.
      const link = { kv: Object.create(client.kv), leaseClient: Object.create(client.leaseClient) };
      const store = new EtcdStore({ ...options, client: link });
      links.set(store, link);
      return store;
    },
    capabilities: { maxSessionBytes: MAX_REQUEST_BYTES },
    plant: async (_store, key, text) => {
      await raw.put(key).value(text);
    },
    breakBackend: store => {
      const fail = () => Promise.reject(down);
      const link = links.get(store);
      Object.assign(link?.kv as object, { txn: fail, range: fail, put: fail, deleteRange: fail });
      Object.assign(link?.leaseClient as object, { leaseGrant: fail });
    },
  });
});

describe("client", () => {
  it.each([undefined, null, "localhost:2379", {}, { kv: {} }, { kv: client.kv }])(
    "is refused with a TypeError if it is none of etcd3",
    wrong => {
      const create = () => new EtcdStore({ client: wrong as never });
      expect(create).toThrow(TypeError);
      expect(create).toThrow("Expected `client` to be a client of the package `etcd3`");
    },
  );

  it("is not closed with the store, and serves other stores", async () => {
    const [closed, other] = [open(), open()];
    await closed.set("sid", plain({ user: "ann" }));
    await closed.close();
    expect(await stored(other, "sid")).toEqual({ user: "ann" });
  });
});

describe("prefix", () => {
  it("is what raw keys begin with; the sid follows as it is", async () => {
    await open({ prefix: `${prefix}a:` }).set("Sid_1-x", plain());
    await open({ prefix: `${prefix}a:b:` }).set("Sid_1-x", plain());
    expect(await raw.getAll().prefix(prefix).keys()).toEqual([`${prefix}a:Sid_1-x`, `${prefix}a:b:Sid_1-x`]);
    await open({ prefix: `${prefix}a:` }).clear();
    expect(await raw.getAll().prefix(prefix).keys()).toEqual([`${prefix}a:b:Sid_1-x`]);
  });

  it("is sess: if none is given", () => {
    expect(new EtcdStore({ client }).prefix).toBe("sess:");
  });
});

describe("cost", () => {
  it("is one request for each get, set, touch and destroy when the lease of the window exists", async () => {
    const store = open();
    expect(await traffic.during(() => store.set("sid", plain()))).toEqual(["leaseGrant", "txn"]);
    expect(await traffic.during(() => store.set("sid", plain({ views: 1 })))).toEqual(["txn"]);
    expect(await traffic.during(() => store.get("sid"))).toEqual(["range"]);
    const session = await load(store, "sid");
    session.views = 2;
    expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
    clock.advance(0.001);
    expect(await traffic.during(() => store.touch("sid", session))).toEqual(["txn"]);
    session.views = 3;
    expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
    expect(await traffic.during(() => store.destroy("sid"))).toEqual(["deleteRange"]);
    expect(await traffic.during(() => store.get("sid"))).toEqual(["range"]);
  });

  it("is a lease more once for each window, however many stores use it", async () => {
    const stores = [open(), open()];
    for (const store of stores) await store.set("sid", plain());
    clock.advance(60);
    const requests = await traffic.during(async () => {
      for (const _round of [1, 2, 3]) for (const store of stores) await store.set("sid", plain());
    });
    // The second asks how long the lease of the first has.
    expect(requests.slice(0, 5)).toEqual(["leaseGrant", "txn", "leaseGrant", "leaseTimeToLive", "txn"]);
    expect(requests.slice(5)).toEqual(Array(4).fill("txn"));
  });

  it("is a read more for a touch of a session that this process has not loaded", async () => {
    const store = open();
    await store.set("sid", plain());
    clock.advance(0.001);
    expect(await traffic.during(() => store.touch("sid", plain()))).toEqual(["range", "txn"]);
    expect(await traffic.during(() => store.touch("none", plain()))).toEqual(["range"]);
  });

  it("is one request for 64 operations that wait at the same moment", async () => {
    const store = open();
    const some = sids(64);
    const at = (work: (sid: string, index: number) => Promise<unknown>) =>
      traffic.during(() => Promise.all(some.map(work)));
    expect(await at(sid => store.set(sid, plain()))).toEqual(["leaseGrant", "txn"]);
    expect(await at(sid => store.set(sid, plain({ sid })))).toEqual(["txn"]);
    expect(await at(sid => store.get(sid))).toEqual(["txn"]);
    const sessions = await Promise.all(some.map(sid => load(store, sid)));
    for (const session of sessions) session.views = 1;
    expect(await at((sid, index) => store.set(sid, sessions[index] as never))).toEqual(["txn"]);
    clock.advance(0.001);
    expect(await at((sid, index) => store.touch(sid, sessions[index] as never))).toEqual(["txn"]);
    for (const sid of some) expect(await stored(store, sid)).toEqual({ sid, views: 1 });
    expect(await at(sid => store.destroy(sid))).toEqual(["txn"]);
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
    // Together, then each for itself, then the one that was merged.
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

  it("is (ttl / window + 2) leases and one for each full one at most, with 10,000 sessions touched 10 times in random order", async () => {
    const ttl = 1200;
    const windowSeconds = 60;
    const store = open({ ttl, timeoutMs: 20_000 });
    const all = sids(10_000);
    // Over a whole lifetime: the last session is touched just before the first would have ended.
    const total = 10 * all.length;
    const step = (ttl / total) * 500;
    const requests = await traffic.requestsDuring(async () => {
      const sessions = new Map<string, Awaited<ReturnType<typeof load>>>();
      for (let from = 0; from < all.length; from += 500) {
        const some = all.slice(from, from + 500);
        await Promise.all(some.map(sid => store.set(sid, plain())));
        await Promise.all(some.map(async sid => sessions.set(sid, await load(store, sid))));
        clock.advance(step);
      }
      const touches = shuffled(Array(9).fill(all).flat());
      for (let from = 0; from < touches.length; from += 500) {
        const some = touches.slice(from, from + 500);
        await Promise.all(some.map(sid => store.touch(sid, sessions.get(sid) as never)));
        clock.advance(step);
      }
    });
    const ids = requests.filter(({ name }) => name === "leaseGrant").map(({ input }) => input.ID);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeLessThanOrEqual(ttl / windowSeconds + 2 + total / MAX_LEASE_KEYS);
    expect(ids.length).toBeGreaterThanOrEqual(ttl / windowSeconds - 2);
  });

  it("is 10 leases at most for 10,000 sessions touched 10 times within two windows", async () => {
    const store = open({ timeoutMs: 20_000 });
    const all = sids(10_000);
    const sessions = new Map<string, Awaited<ReturnType<typeof load>>>();
    const requests = await traffic.requestsDuring(async () => {
      await forEach(all, sid => store.set(sid, plain()));
      await forEach(all, async sid => sessions.set(sid, await load(store, sid)));
      for (let round = 0; round < 10; round++) {
        clock.advance(6);
        await forEach(all, sid => store.touch(sid, sessions.get(sid) as never));
      }
    });
    const ids = requests.filter(({ name }) => name === "leaseGrant").map(({ input }) => input.ID);
    expect(ids.length).toBeLessThanOrEqual(10);
    // Not by leaving touches out, nor by keeping sessions on leases that end before them, nor on a few huge ones.
    const written = requests.map(({ name, input }) => (name === "txn" ? input.success.length : 0));
    // 10,000 each for set and get, and ten times that for touches.
    expect(written.reduce((sum, count) => sum + count)).toBe(12 * all.length);
    const leases = await Promise.all(ids.map(lease));
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
  it("on one session all succeed, in order, however long the first takes", async () => {
    const store = open();
    await store.set("sid", plain());
    const order: number[] = [];
    traffic.next("txn", async perform => {
      await sleep(100);
      return perform();
    });
    const requests = await traffic.during(() =>
      Promise.all([1, 2, 3].map(views => store.set("sid", plain({ views })).then(() => order.push(views)))),
    );
    expect(requests).toEqual(["txn", "txn", "txn"]);
    expect(await stored(store, "sid")).toEqual({ views: 3 });
    expect(order).toEqual([1, 2, 3]);
  });

  it("do not fail for one that is bad", async () => {
    const store = open();
    const some = sids(10);
    for (const sid of some) await store.set(sid, plain({ sid }));
    const bad = new Error("3 INVALID_ARGUMENT: etcdserver: something is wrong with one of these");
    const refuse = () => Promise.reject(bad);
    // The request for all of them, then that for the first alone.
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

describe("leases", () => {
  it("last until a minute after the end of the window, and have the keys of the sessions that end in it", async () => {
    const store = open({ ttl: 100 });
    const some = sids(20);
    for (const sid of some) await store.set(sid, plain());
    const ids = new Set(await Promise.all(some.map(leaseOf)));
    expect(ids.size).toBe(1);
    const leases = await Promise.all([...ids].map(lease));
    expect(leases.flatMap(({ keys }) => keys).sort()).toEqual(some.map(sid => prefix + sid).sort());
    for (const { seconds } of leases) {
      expect(seconds).toBeGreaterThanOrEqual(160);
      expect(seconds).toBeLessThanOrEqual(165);
    }
  });

  it("are shared by stores of different processes, whose clocks may differ", async () => {
    const some = sids(20);
    for (const sid of some) await open().set(sid, plain({}, clock.in(1000)));
    const ids = new Set(await Promise.all(some.map(leaseOf)));
    const other = new Clock();
    other.advance(0.5);
    const requests = await traffic.during(async () => {
      const store = open({ now: other.now });
      for (const sid of some) await store.set(sid, plain({}, clock.in(1000)));
    });
    expect(requests).toContain("leaseGrant");
    expect(new Set(await Promise.all(some.map(leaseOf)))).toEqual(ids);
  });

  it("are not shared with a process whose clock is ahead by more than a minute: they would go before their sessions", async () => {
    const expires = clock.in(1000);
    const ahead = new Clock();
    ahead.advance(90);
    await open({ now: ahead.now }).set("theirs", plain({ user: "ann" }, expires));
    const store = open();
    expect(await traffic.during(() => store.set("sid", plain({}, expires)))).toEqual([
      "leaseGrant",
      "leaseTimeToLive",
      "leaseGrant",
      "txn",
    ]);
    const ours = await leaseOf("sid");
    expect(ours).not.toBe(await leaseOf("theirs"));
    expect((await lease(ours)).seconds).toBeGreaterThan(1000);
    // Not asked again, and also a session that is there already leaves the short one.
    const session = await load(store, "theirs");
    session.views = 1;
    expect(await traffic.during(() => store.set("theirs", session))).toEqual(["txn"]);
    expect(await leaseOf("theirs")).toBe(ours);
    // Another whose clock is right comes to the same.
    await open().set("other", plain({}, expires));
    expect(await leaseOf("other")).toBe(ours);
  });

  it("remove the keys of expired sessions", async () => {
    const store = open({ ttl: 1 });
    // Without the grace period, for which a test cannot wait.
    traffic.next("leaseGrant", (perform, input) => {
      input.TTL = 1;
      return perform();
    });
    await store.set("sid", plain());
    expect(await raw.get(`${prefix}sid`)).not.toBeNull();
    while ((await raw.get(`${prefix}sid`)) !== null) await sleep(100);
  });

  it("change with the expiry: a touched or saved session does not go with its old lease", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    const session = await load(store, "sid");
    for (const method of ["touch", "set"] as const) {
      const old = await leaseOf("sid");
      clock.advance(60);
      await store[method]("sid", session);
      expect(await leaseOf("sid")).not.toBe(old);
      await raw.leaseClient.leaseRevoke({ ID: old });
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
    }
  });

  it("that were revoked take their sessions along: a request that had loaded one does not bring it back", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await raw.leaseClient.leaseRevoke({ ID: await leaseOf("sid") });
    const conflicts = eventsOf(store, "conflict");
    session.user = "ann";
    await store.set("sid", session);
    await store.touch("sid", session);
    expect(await store.get("sid")).toBeNull();
    expect(await conflicts()).toMatchObject([{ reason: "gone" }]);
  });

  it("that were revoked are granted again and the write repeated, so that nothing is lost", async () => {
    const store = open();
    await store.set("sid", plain());
    await raw.leaseClient.leaseRevoke({ ID: await leaseOf("sid") });
    const requests = await traffic.during(() => store.set("sid", plain({ user: "ann" })));
    expect(requests).toEqual(["txn", "leaseGrant", "txn"]);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
  });

  it("that were revoked fail none of 64 saves of the same moment, and are granted again once", async () => {
    const store = open();
    const some = sids(64);
    await forEach(some, sid => store.set(sid, plain()));
    await raw.leaseClient.leaseRevoke({ ID: await leaseOf("sid-0") });
    const requests = await traffic.during(() =>
      Promise.all(some.map(sid => store.set(sid, plain({ user: sid })))),
    );
    for (const sid of some) expect(await stored(store, sid)).toEqual({ user: sid });
    expect(requests.filter(name => name === "leaseGrant")).toHaveLength(1);
  });

  it("that cannot be granted fail the save, and are asked for again by the next", async () => {
    const store = open();
    traffic.next("leaseGrant", () => Promise.reject(down));
    const refused = { code: "ERR_STORE_UNAVAILABLE", cause: down };
    await expect(store.set("sid", plain())).rejects.toMatchObject(refused);
    expect(await store.get("sid")).toBeNull();
    expect(await traffic.during(() => store.set("sid", plain()))).toEqual(["leaseGrant", "txn"]);
    await find(store, "sid");
  });
});

describe("a lease for which etcd takes long", () => {
  it("fails nobody but who asked first and has no time left", async () => {
    const store = open({ timeoutMs: 60_000 });
    const asked = gate();
    traffic.next("leaseGrant", async () => {
      await asked.opened;
      throw new Error("4 DEADLINE_EXCEEDED: Deadline exceeded");
    });
    const first = store.set("first", plain());
    const others = sids(10).map(sid => store.set(sid, plain()));
    const requests = await traffic.during(async () => {
      asked.open();
      await expect(first).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
      await Promise.all(others);
    });
    expect(requests).toEqual(["leaseGrant", "txn"]);
  });
});

describe("a touch by another process", () => {
  it("between load and save is not a conflict, though it changes etcd's revision", async () => {
    const store = open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({}, clock.in(100)));
    const session = await load(store, "sid");
    await open().touch("sid", plain({}, clock.in(1000)));
    session.user = "ann";
    // The save keeps the touched expiry, whose lease this store has not used yet, but the other has.
    expect(await traffic.during(() => store.set("sid", session))).toEqual([
      "txn",
      "leaseGrant",
      "leaseTimeToLive",
      "txn",
    ]);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    expect(await storedExpiry(store, "sid")).toBe(clock.in(1000).toISOString());
    expect(await conflicts()).toEqual([]);
  });

  it("between load and touch is not undone by an earlier expiry", async () => {
    const store = open();
    await store.set("sid", plain({}, clock.in(100)));
    const session = await load(store, "sid");
    await open().touch("sid", plain({}, clock.in(1000)));
    session.cookie.expires = clock.in(500);
    await store.touch("sid", session);
    expect(await storedExpiry(store, "sid")).toBe(clock.in(1000).toISOString());
  });

  it("and a save by another both survive a touch that knew neither", async () => {
    const store = open();
    await store.set("sid", plain({}, clock.in(100)));
    const session = await load(store, "sid");
    const other = open();
    const theirs = await load(other, "sid");
    theirs.user = "ann";
    await other.set("sid", theirs);
    session.cookie.expires = clock.in(500);
    await store.touch("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    expect(await storedExpiry(store, "sid")).toBe(clock.in(500).toISOString());
    // The touch has not made this request forget which version it loaded.
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
  });
});

describe("a lost answer", () => {
  it("that the client asks for again is no conflict: a save recognises its own first attempt", async () => {
    const store = open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain());
    const session = await load(store, "sid");
    for (const views of [1, 2]) {
      session.views = views;
      traffic.next("txn", performTwice);
      expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
      expect(await stored(store, "sid")).toEqual({ views });
    }
    expect(await conflicts()).toEqual([]);
  });

  it("that the client asks for again does not undo what another did in between", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", async perform => {
      await perform();
      const other = new EtcdStore({ client: raw, prefix });
      const theirs = await load(other, "sid");
      theirs.views = 1;
      await other.set("sid", theirs);
      return perform();
    });
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    await store.destroy("sid");
    await store.set("sid", session);
    expect(await store.get("sid")).toBeNull();
  });

  it("that the client asks for again does not bring back what was destroyed in between", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", async perform => {
      await perform();
      await raw.delete().key(`${prefix}sid`);
      return perform();
    });
    await store.set("sid", session);
    expect(await store.get("sid")).toBeNull();
  });

  it("that the client asks for again leaves touch and destroy as they are", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }, clock.in(100)));
    const session = await load(store, "sid");
    session.cookie.expires = clock.in(200);
    traffic.next("txn", performTwice);
    await store.touch("sid", session);
    expect(await find(store, "sid")).toMatchObject({
      user: "ann",
      cookie: { expires: clock.in(200).toISOString() },
    });
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    traffic.next("deleteRange", performTwice);
    await store.destroy("sid");
    expect(await store.get("sid")).toBeNull();
  });

  it("is reported, and the next save of the same Session recognises what was written", async () => {
    const store = open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", loseAnswer(lost));
    await expect(store.set("sid", session)).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      cause: lost,
    });
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    expect(await conflicts()).toEqual([]);
  });

  it("of a save does not make the next one undo what another changed meanwhile", async () => {
    const store = open();
    await store.set("sid", plain({ theme: "light" }));
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", loseAnswer(lost));
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    const theirs = await load(store, "sid");
    theirs.theme = "dark";
    await store.set("sid", theirs);
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", theme: "dark", views: 1 });
  });

  it.each([
    ["that the client asks for again", (perform: () => Promise<Message>) => perform()],
    ["that is reported", () => Promise.reject(lost)],
  ])(
    "%s, of a new session, does not bring that back when the first request arrives after its end",
    async (_what, answer) => {
      const store = open();
      let first: () => Promise<Message> = () => Promise.reject();
      traffic.next("txn", async perform => {
        first = perform;
        await perform();
        return answer(perform);
      });
      await store.set("sid", plain({ user: "ann" })).catch(() => store.set("sid", plain({ user: "ann" })));
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
      await store.destroy("sid");
      // It hung in a member of the cluster until now.
      await first();
      expect(await store.get("sid")).toBeNull();
      // And nobody else is held up by that.
      const other = open({ client: raw });
      expect(await traffic.during(() => store.set("sid", plain({ views: 1 })))).toEqual(["txn"]);
      await other.set("other", plain({ views: 2 }));
      expect((await other.all()).map(({ id }) => id).sort()).toEqual(["other", "sid"]);
    },
  );

  describe("of the first save of a session, which arrives late,", () => {
    /** A request that hangs in a member of the cluster: it fails, and arrives when the test says so. */
    function hang(): () => Promise<Message> {
      let arrive: () => Promise<Message> = () => Promise.reject();
      traffic.next("txn", perform => {
        arrive = perform;
        return Promise.reject(lost);
      });
      return () => arrive();
    }
    const refused = { code: "ERR_STORE_UNAVAILABLE", cause: lost };

    it.each<[string, string[], (store: EtcdStore) => Promise<unknown>]>([
      ["destroyed", ["txn"], store => store.destroy("sid")],
      [
        "destroyed beside another",
        ["txn"],
        store => Promise.all([store.destroy("sid"), store.destroy("other")]),
      ],
      ["cleared", ["range", "put"], store => store.clear()],
    ])("does not bring back what was %s meanwhile", async (_what, sent, remove) => {
      const store = open();
      const arrive = hang();
      await expect(store.set("sid", plain({ user: "ann" }))).rejects.toMatchObject(refused);
      expect(await traffic.during(() => remove(store))).toEqual(sent);
      await arrive();
      expect(await store.get("sid")).toBeNull();
      // From then on it is as it was before.
      expect(await traffic.during(() => store.destroy("sid"))).toEqual(["deleteRange"]);
      await store.set("sid", plain({ views: 1 }));
      expect(await stored(store, "sid")).toEqual({ views: 1 });
    });

    it("does not undo a later save", async () => {
      const store = open();
      let arrive: () => Promise<Message> = () => Promise.reject();
      traffic.next("txn", async perform => {
        arrive = perform;
        await perform();
        throw lost;
      });
      await expect(store.set("sid", plain({ user: "ann" }))).rejects.toMatchObject(refused);
      const session = await load(store, "sid");
      session.user = "bob";
      expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
      await arrive();
      expect(await stored(store, "sid")).toEqual({ user: "bob" });
      session.views = 1;
      await store.set("sid", session);
      expect(await stored(store, "sid")).toEqual({ user: "bob", views: 1 });
    });

    it("does not bring it back under its hashed key", async () => {
      await open().set("sid", plain({ user: "ann" }));
      const store = open({ hashIds: true });
      const session = await load(store, "sid");
      session.views = 1;
      let arrive: () => Promise<Message> = () => Promise.reject();
      // The save at the old key, then that at the new one, which the client asks for again.
      traffic.next("txn", perform => perform());
      traffic.next("txn", async perform => {
        arrive = perform;
        await perform();
        return perform();
      });
      await store.set("sid", session);
      expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
      await store.destroy("sid");
      await arrive();
      expect(await store.get("sid")).toBeNull();
    });

    it("is not forgotten when answers to others change places", async () => {
      const store = open();
      hang();
      await expect(store.set("first", plain())).rejects.toMatchObject(refused);
      const [done, overtaken] = [gate(), gate()];
      traffic.next("txn", async perform => {
        const answer = await perform();
        done.open();
        await overtaken.opened;
        return answer;
      });
      const second = store.set("second", plain());
      await done.opened;
      await store.set("third", plain());
      const arrive = hang();
      await expect(store.set("sid", plain({ user: "ann" }))).rejects.toMatchObject(refused);
      overtaken.open();
      await second;
      const requests = await traffic.during(() => store.set("sid", plain({ user: "ann" })));
      expect(requests).toEqual(["txn"]);
      await store.destroy("sid");
      await arrive();
      expect(await store.get("sid")).toBeNull();
    });

    it("does not bring back what was acknowledged after a second attempt and destroyed by another process", async () => {
      const store = open();
      let arrive: () => Promise<Message> = () => Promise.reject();
      traffic.next("txn", async perform => {
        arrive = perform;
        await perform();
        return perform();
      });
      await store.set("sid", plain({ user: "ann" }));
      await open({ client: raw }).destroy("sid");
      await arrive();
      expect(await store.get("sid")).toBeNull();
    });
  });

  it("of a request that did not get through loses nothing either", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", () => Promise.reject(lost));
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    expect(await stored(store, "sid")).toEqual({});
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
  });
});

describe("sizes", () => {
  it("takes a session of just under 1.5 MiB", async () => {
    const store = open();
    const text = "x".repeat(MAX_REQUEST_BYTES - 1024);
    await store.set("sid", plain({ text }));
    expect(await stored(store, "sid")).toEqual({ text });
  });

  it("refuses a larger one before it is sent, and keeps the record", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    const { kvs: before } = await raw.kv.range({ key: Buffer.from(`${prefix}sid`) });
    const session = await load(store, "sid");
    session.text = "x".repeat(MAX_REQUEST_BYTES);
    const requests = await traffic.during(() =>
      expect(store.set("sid", session)).rejects.toMatchObject({
        code: "ERR_SESSION_TOO_LARGE",
        message: expect.stringMatching(/takes 157\d{4} bytes; etcd's limit for a request is 1572864 bytes/),
      }),
    );
    expect(requests).toEqual([]);
    expect((await raw.kv.range({ key: Buffer.from(`${prefix}sid`) })).kvs).toEqual(before);
  });

  describe.each([
    ["etcd", "3 INVALID_ARGUMENT: etcdserver: request is too large"],
    ["gRPC", "8 RESOURCE_EXHAUSTED: grpc: received message larger than max (905050 vs. 626688)"],
  ])("on a server whose limit is lower, says %s,", (_who, message) => {
    it("are refused with the same code", async () => {
      const store = open();
      traffic.next("txn", async (perform, input) => {
        // What etcd3 takes for a passing trouble it asks for again.
        await performTwice(perform, input);
        throw new Error(message);
      });
      await expect(store.set("sid", plain())).rejects.toMatchObject({
        code: "ERR_SESSION_TOO_LARGE",
        message: expect.stringContaining("this server's may be lower"),
      });
      // No attempt is taken for one that may be done later.
      expect(await traffic.during(() => store.destroy("sid"))).toEqual(["deleteRange"]);
    });

    it("are saved one by one if they are too large together, and from then on in requests of half the size", async () => {
      const store = open();
      const some = sids(40);
      const text = "x".repeat(10_000);
      const save = () => Promise.all(some.map(sid => store.set(sid, plain({ text }))));
      traffic.next("txn", () => Promise.reject(new Error(message)));
      await save();
      for (const sid of some) expect(await stored(store, sid)).toEqual({ text });
      const puts = (await traffic.requestsDuring(save)).map(({ input }) => input.success.length);
      expect(Math.max(...puts)).toBeLessThanOrEqual(20);
      expect(puts.length).toBeLessThanOrEqual(3);
      expect(puts.reduce((sum, count) => sum + count)).toBe(40);
    });
  });

  it("puts large sessions of one moment into several requests", async () => {
    const store = open();
    const text = "x".repeat(300_000);
    const some = sids(20);
    const requests = await traffic.requestsDuring(async () => {
      await Promise.all(some.map(sid => store.set(sid, plain({ text }))));
      const sessions = await Promise.all(some.map(sid => stored(store, sid)));
      expect(sessions).toEqual(Array(20).fill({ text }));
    });
    expect(requests.filter(({ error }) => error)).toEqual([]);
  });

  // Answers over 4 MiB fail, and with them everything that the client is asked for in the next 5 seconds.
  describe.each([
    ["by the store that saved them", () => client],
    ["by a process that has seen none of them", etcdClient],
  ])("of 200 to 500 KB, mixed with small ones, are found %s", (_who, clientOf) => {
    it.each<[string, (store: EtcdStore, some: string[]) => Promise<unknown[]>]>([
      ["in a listing", store => store.all()],
      ["by gets of the same moment", (store, some) => Promise.all(some.map(sid => store.get(sid)))],
    ])("%s", async (_how, list) => {
      const some = sids(60);
      const writer = open();
      for (const [index, sid] of some.entries()) {
        const length = index % 3 === 0 ? 200_000 + index * 5000 : 100;
        await writer.set(sid, plain({ text: "x".repeat(length) }));
      }
      const reader = clientOf();
      try {
        const store = reader === client ? writer : open({ client: reader });
        expect(await list(store, some)).toHaveLength(60);
      } finally {
        if (reader !== client) reader.close();
      }
    });
  });

  describe("of 100 KB each, which another process changed since they were loaded,", () => {
    const text = "x".repeat(100_000);
    // More than fit into one answer, and their changes into one request.
    const some = sids(60);
    let store: EtcdStore;
    let sessions: Awaited<ReturnType<typeof load>>[];
    beforeEach(async () => {
      store = open();
      await forEach(some, sid => store.set(sid, plain({ text })));
      sessions = await Promise.all(some.map(sid => load(store, sid)));
      const other = open({ client: raw });
      for (const [index, sid] of some.entries()) {
        await other.set(sid, Object.assign(await load(other, sid), { theirs: 1 }));
        Object.assign(sessions[index] as object, { mine: 1, text: undefined });
      }
    });
    const save = () =>
      Promise.allSettled(sessions.map((session, index) => store.set(some[index] as string, session)));

    it("are merged by saves of the same moment, without an answer that is too large", async () => {
      let saved: PromiseSettledResult<void>[] = [];
      const requests = await traffic.requestsDuring(async () => {
        saved = await save();
      });
      expect(requests.filter(({ error }) => error)).toEqual([]);
      expect(saved).toEqual(some.map(() => ({ status: "fulfilled", value: undefined })));
      for (const sid of some) expect(await stored(store, sid)).toEqual({ mine: 1, theirs: 1 });
    });

    it("are merged also beside others that fail", async () => {
      const refuse = () => Promise.reject(down);
      const bad = () => Promise.reject(new Error("3 INVALID_ARGUMENT: etcdserver: something is wrong"));
      // All together, then a part, of which one is bad, alone too.
      traffic.next("txn", perform => perform());
      traffic.next("txn", bad);
      traffic.next("txn", refuse);
      const [first, ...others] = await save();
      expect(first).toMatchObject({
        status: "rejected",
        reason: { code: "ERR_STORE_UNAVAILABLE", cause: down },
      });
      expect(others).toEqual(some.slice(1).map(() => ({ status: "fulfilled", value: undefined })));
      expect(await stored(store, some[0] as string)).toEqual({ text, theirs: 1 });
      for (const sid of some.slice(1)) expect(await stored(store, sid)).toEqual({ mine: 1, theirs: 1 });
    });
  });

  it("lists, counts and clears 20,000 sessions of 1 KB while other requests go on", async () => {
    const store = open({ timeoutMs: 20_000 });
    const text = "x".repeat(1000);
    const all = sids(20_000);
    await forEach(all, sid => store.set(sid, plain({ text })));
    const other = open({ prefix: `${prefix}other:` });
    await other.set("sid", plain());
    /** What `work` gives, while another session is read again and again, each time within the time limit. */
    const whileReading = async <T>(work: () => Promise<T>): Promise<T> => {
      let working = true;
      let reads = 0;
      const result = work().finally(() => {
        working = false;
      });
      while (working) {
        await find(other, "sid");
        reads += 1;
      }
      expect(reads).toBeGreaterThan(10);
      return result;
    };
    const requests = await traffic.requestsDuring(async () => {
      expect(await whileReading(() => store.length())).toBe(all.length);
      const listed = await whileReading(() => store.all());
      expect(new Set(listed.map(({ id }) => id))).toEqual(new Set(all));
      await whileReading(() => store.clear());
      expect(await store.length()).toBe(0);
    });
    expect(requests.filter(({ error }) => error)).toEqual([]);
  });
});

describe("what is no record", () => {
  it("stays as it is, whatever is read and touched", async () => {
    const store = open();
    await raw.put(`${prefix}sid`).value("{ half a reco");
    const corrupt = eventsOf(store, "corrupt");
    expect(await store.get("sid")).toBeNull();
    expect(await store.all()).toEqual([]);
    await store.touch("sid", plain());
    expect(await raw.get(`${prefix}sid`).string()).toBe("{ half a reco");
    expect(await corrupt()).toHaveLength(2);
  });
});

describe("an etcd of its own", () => {
  let etcd: Awaited<ReturnType<typeof startEtcd>>;
  let own: Etcd3;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  beforeEach(() => {
    own = new Etcd3({ hosts: etcd.endpoint });
  });
  afterEach(() => own.close());
  afterAll(() => etcd.stop());

  it("holds sessions without a prefix beside other keys", async () => {
    await own.put("config/theme").value("dark");
    const store = open({ client: own, prefix: "" });
    await store.set("sid", plain({ user: "ann" }));
    expect(await own.getAll().keys()).toEqual(["config/theme", "sid"]);
    expect(await store.ids()).toEqual(["sid"]);
    await store.clear();
    expect(await own.getAll().keys()).toEqual(["config/theme"]);
  });

  describe("that is full", () => {
    const full = {
      code: "ERR_STORE_UNAVAILABLE",
      cause: { message: expect.stringContaining("database space exceeded") },
    };
    let patient: Etcd3;
    let requests: Traffic;
    let store: EtcdStore;
    const alarm = (action: "Activate" | "Deactivate") =>
      own.maintenance.alarm({ action, memberID: "0", alarm: "Nospace" });
    beforeEach(async () => {
      // Without the circuit breaker, which would refuse everything for 5 s.
      patient = new Etcd3({ hosts: etcd.endpoint, faultHandling: { host: () => noop } });
      requests = trafficOfEtcd(patient);
      store = open({ client: patient });
      await forEach(sids(10), sid => store.set(sid, plain()));
    });
    afterEach(async () => {
      patient.close();
      await alarm("Deactivate");
      await own.delete().prefix(prefix);
    });

    it("removes sessions, also beside saves, which it refuses", async () => {
      await alarm("Activate");
      const [save, ...removals] = await Promise.allSettled([
        store.set("new", plain()),
        store.destroy("sid-0"),
        store.destroy("sid-1"),
      ]);
      expect(save).toMatchObject({ status: "rejected", reason: full });
      expect(removals).toEqual(Array(2).fill({ status: "fulfilled", value: undefined }));
      // What was refused for that is not expected to arrive late.
      expect(await requests.during(() => store.destroy("sid-2"))).toEqual(["deleteRange"]);
      expect(await store.length()).toBe(7);
      await store.clear();
      expect(await store.ids()).toEqual([]);
    });

    it("removes sessions also while a save may arrive late", async () => {
      requests.next("txn", () => Promise.reject(lost));
      await expect(store.set("new", plain())).rejects.toMatchObject({ cause: lost });
      await alarm("Activate");
      await Promise.all([store.destroy("sid-0"), store.destroy("sid-1")]);
      expect(await store.length()).toBe(8);
      await alarm("Deactivate");
      expect(await requests.during(() => store.destroy("sid-2"))).toEqual(["txn"]);
    });
  });

  describe("that does not answer", () => {
    let store: EtcdStore;
    beforeEach(async () => {
      store = open({ client: own, timeoutMs: 300 });
      await store.set("sid", plain());
      process.kill(etcd.pid, "SIGSTOP");
    });
    afterEach(() => {
      process.kill(etcd.pid, "SIGCONT");
    });

    it("lets every call end after timeoutMs", async () => {
      const timedOut = { code: "ERR_STORE_TIMEOUT", message: expect.stringContaining("300 ms") };
      const calls = methodNames.map(method => invoke(store, method));
      // The process is busy with something else before they are sent: timers that begin then are ahead of the others.
      for (const until = performance.now() + 100; performance.now() < until; );
      await Promise.all(calls.map(call => expect(call).rejects.toMatchObject(timedOut)));
    });

    it("lets every call be cancelled, with the reason of the signal", async () => {
      const patient = open({ client: own, timeoutMs: 60_000 });
      const controller = new AbortController();
      const calls = methodNames.map(method => invoke(patient, method, { signal: controller.signal }));
      const reason = new Error("the browser went away");
      setImmediate(() => controller.abort(reason));
      for (const call of calls) await expect(call).rejects.toBe(reason);
    });
  });
});
