import { setTimeout as sleep } from "node:timers/promises";
import { eventsOf } from "../../lib/conformance/observe.js";
import { find, load, plain, requestSession, sids, stored } from "../../lib/conformance/sessions.js";
import { performTwice } from "../helpers/stores/counting.js";
import { down, forEach, gate, useEtcd } from "./harness.js";

const etcd = useEtcd();
const { open, raw, traffic } = etcd;

describe("leases", () => {
  it("last until a minute after the end of the window, and have the keys of the sessions that end in it", async () => {
    const store = open({ ttl: 100 });
    const some = sids(20);
    for (const sid of some) await store.set(sid, plain());
    const ids = new Set(await Promise.all(some.map(etcd.leaseOf)));
    expect(ids.size).toBe(1);
    const leases = await Promise.all([...ids].map(etcd.lease));
    expect(leases.flatMap(({ keys }) => keys).sort()).toEqual(some.map(sid => etcd.prefix + sid).sort());
    for (const { seconds } of leases) {
      expect(seconds).toBeGreaterThanOrEqual(160);
      // A window, and the offset that separates the leases of different processes.
      expect(seconds).toBeLessThanOrEqual(165 + 60);
    }
  });

  it("are longer than the sessions although the clock was two hours ahead when they were granted", async () => {
    const store = open({ ttl: 3 * 3600 });
    etcd.clock.advance(2 * 3600);
    await store.set("ahead", plain({}));
    etcd.clock.advance(-2 * 3600);
    const session = requestSession(store, "sid", plain());
    // Ends at the time at which the other session would have ended with a correct clock.
    session.cookie.maxAge = 5 * 3600 * 1000;
    await store.set("sid", session);
    const id = await etcd.leaseOf("sid");
    expect(id).not.toBe(await etcd.leaseOf("ahead"));
    expect((await etcd.lease(id)).seconds).toBeGreaterThanOrEqual(5 * 3600);
  });

  it("are not those of a process whose clock is ahead, if they would end before the session", async () => {
    const store = open();
    // The other process chose the same id, by chance or because of a repeated request.
    traffic.next("leaseGrant", async (perform, input) => {
      await raw.leaseClient.leaseGrant({ ID: input.ID, TTL: 1000 });
      return perform();
    });
    const requests = await traffic.during(() => store.set("sid", plain()));
    expect(requests).toEqual(["leaseGrant", "leaseTimeToLive", "leaseGrant", "txn"]);
    expect((await etcd.lease(await etcd.leaseOf("sid"))).seconds).toBeGreaterThan(86_400);
  });

  it("are used if an earlier attempt of the same request granted them", async () => {
    const store = open();
    traffic.next("leaseGrant", performTwice);
    const requests = await traffic.during(() => store.set("sid", plain()));
    expect(requests).toEqual(["leaseGrant", "leaseTimeToLive", "txn"]);
  });

  it("have tombstones until an hour after the removal", async () => {
    const store = open({ ttl: 100 });
    await store.set("sid", plain());
    await store.destroy("sid");
    const { keys, seconds } = await etcd.lease(await etcd.leaseOf("sid"));
    expect(keys).toEqual([`${etcd.prefix}sid`]);
    expect(seconds).toBeGreaterThanOrEqual(3600);
    expect(seconds).toBeLessThanOrEqual(3660 + 60);
  });

  it("remove the keys of expired sessions", async () => {
    const store = open({ ttl: 1 });
    // Without the grace period, because a test cannot wait for it.
    traffic.next("leaseGrant", (perform, input) => {
      input.TTL = 1;
      return perform();
    });
    await store.set("sid", plain());
    expect(await raw.get(`${etcd.prefix}sid`)).not.toBeNull();
    while ((await raw.get(`${etcd.prefix}sid`)) !== null) await sleep(100);
  });

  it("change with the expiry: a touched or saved session does not go with its old lease", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    const session = await load(store, "sid");
    for (const method of ["touch", "set"] as const) {
      const old = await etcd.leaseOf("sid");
      etcd.clock.advance(60);
      await store[method]("sid", session);
      expect(await etcd.leaseOf("sid")).not.toBe(old);
      await raw.leaseClient.leaseRevoke({ ID: old });
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
    }
  });

  it("that were revoked take their sessions along: a request that had loaded one does not bring it back", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await raw.leaseClient.leaseRevoke({ ID: await etcd.leaseOf("sid") });
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
    await raw.leaseClient.leaseRevoke({ ID: await etcd.leaseOf("sid") });
    const session = requestSession(store, "sid", plain({ user: "ann" }));
    const requests = await traffic.during(() => store.set("sid", session));
    expect(requests).toEqual(["txn", "leaseGrant", "txn"]);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
  });

  it("that were revoked fail none of 64 saves of the same moment, and are granted again once", async () => {
    const store = open();
    const some = sids(64);
    await forEach(some, sid => store.set(sid, plain()));
    await raw.leaseClient.leaseRevoke({ ID: await etcd.leaseOf("sid-0") });
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
  it("fails only the first caller, which has no time left", async () => {
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
