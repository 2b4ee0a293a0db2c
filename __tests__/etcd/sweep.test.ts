import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Etcd3 } from "etcd3";
import { Clock } from "../../lib/conformance/clock.js";
import { load, plain, sids, stored } from "../../lib/conformance/sessions.js";
import { freePorts, type OwnEtcd, startEtcd } from "../helpers/engines/engines.js";
import { down, forEach, useEtcd } from "./harness.js";

const etcd = useEtcd();
const { open, raw, traffic } = etcd;

/** Longer than a session of the tests and the time that the sweep leaves to its lease. */
const LONG_AFTER = 5000;

/** How long after its end a record is left to its lease. */
const MARGIN = 3600;

async function keys(): Promise<string[]> {
  const all = await raw.getAll().prefix(etcd.prefix).keys();
  return all.map(key => key.slice(etcd.prefix.length));
}

describe("cleanup", () => {
  it("deletes what its lease should have deleted, and nothing that lives", async () => {
    const store = open({ ttl: 100 });
    for (const sid of ["ended", "touched", "destroyed"]) await store.set(sid, plain());
    const touched = await load(store, "touched");
    expect(await store.cleanup()).toBe(0);
    await store.destroy("destroyed");
    etcd.clock.advance(90);
    await store.touch("touched", touched);
    // The grace period of the first session, and a window.
    etcd.clock.advance(MARGIN + 69);
    expect(await store.cleanup()).toBe(0);
    etcd.clock.advance(10);
    expect(await store.cleanup()).toBe(1);
    etcd.clock.advance(90);
    expect(await store.cleanup()).toBe(1);
    expect(await keys()).toEqual(["destroyed"]);
    etcd.clock.advance(3600);
    expect(await store.cleanup()).toBe(1);
    expect(await keys()).toEqual([]);
  });

  it("deletes nothing that lives by the clock of others, if that of this host is an hour ahead", async () => {
    await open({ ttl: 100 }).set("sid", plain({ user: "ann" }));
    const ahead = new Clock();
    ahead.advance(3600);
    expect(await open({ now: ahead.now }).cleanup()).toBe(0);
    expect(await stored(open(), "sid")).toEqual({ user: "ann" });
  });

  it("leaves in place what is no record, and keys of other applications", async () => {
    const store = open({ ttl: 100 });
    await store.set("sid", plain());
    const lease = await etcd.leaseOf("sid");
    await raw.put(`${etcd.prefix}unreadable`).value("{ half a reco").lease(lease);
    await raw.put(`${etcd.prefix}without-lease`).value("2 version 1 1 1\n{}");
    // According to its id, this lease would have ended long ago.
    const { ID } = await raw.leaseClient.leaseGrant({ ID: "1", TTL: 100 });
    await raw.put(`${etcd.prefix}config!`).value("dark").lease(ID);
    etcd.clock.advance(LONG_AFTER);
    expect(await store.cleanup()).toBe(1);
    expect((await keys()).sort()).toEqual(["config!", "unreadable", "without-lease"]);
    await raw.leaseClient.leaseRevoke({ ID });
  });

  it("does not delete a session that is written in the meantime", async () => {
    const store = open({ ttl: 100 });
    await store.set("sid", plain());
    const session = await load(store, "sid");
    etcd.clock.advance(LONG_AFTER);
    traffic.next("txn", async perform => {
      const late = open({ ttl: 2 * LONG_AFTER, client: raw });
      await late.destroy("sid");
      await late.set("sid", plain({ user: "ann" }));
      return perform();
    });
    expect(await store.cleanup()).toBe(0);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    expect(session).not.toHaveProperty("user");
  });

  it("takes several pages, and requests nothing but keys of those that live", async () => {
    const store = open({ ttl: 100 });
    const living = open({ ttl: 100_000 });
    await forEach(sids(250), sid => store.set(`ended-${sid}`, plain()));
    await forEach(sids(2500), sid => living.set(`living-${sid}`, plain()));
    etcd.clock.advance(LONG_AFTER);
    const requests = await traffic.requestsDuring(async () => {
      expect(await store.cleanup()).toBe(250);
    });
    const ranges = requests.filter(({ name }) => name === "range");
    expect(ranges.map(({ input }) => input.keys_only)).toEqual([true, true]);
    expect(await store.length()).toBe(2500);
  });

  it("is closed with the store", async () => {
    const store = open();
    await store.close();
    await expect(store.cleanup()).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
  });
});

describe("cleanupInterval", () => {
  it("is a TypeError if it is no number of seconds", () => {
    expect(() => open({ cleanupInterval: -1 })).toThrow(
      "Expected `cleanupInterval` to be a number of seconds",
    );
  });

  it("cleans up, one store of all in each interval", async () => {
    const stores = [1, 2, 3].map(() => open({ ttl: 100, cleanupInterval: 0.1 }));
    const some = sids(3);
    await Promise.all(stores.map((store, index) => store.set(some[index] as string, plain())));
    const sweeps = async () => {
      const requests = await traffic.requestsDuring(() => sleep(350));
      return requests.filter(({ input }) => input.keys_only).length;
    };
    expect(await sweeps()).toBe(1);
    // Not again, because by the clock of the stores the interval is not over.
    expect(await sweeps()).toBe(0);
    expect(await keys()).toHaveLength(4);
    etcd.clock.advance(LONG_AFTER);
    expect(await sweeps()).toBe(1);
    expect(await keys()).toEqual(["sweep!"]);
    expect(await stores[0]?.ids()).toEqual([]);
    await Promise.all(stores.map(store => store.close()));
    etcd.clock.advance(LONG_AFTER);
    expect(await sweeps()).toBe(0);
  });

  it("does not wait for the claim of a host whose clock was ahead by years", async () => {
    const store = open({ cleanupInterval: 0.1 });
    await store.set("sid", plain());
    await raw.put(`${etcd.prefix}sweep!`).value(String(Date.now() + 1e12));
    const requests = await traffic.requestsDuring(() => sleep(250));
    expect(requests.filter(({ input }) => input.keys_only)).toHaveLength(1);
    await store.close();
  });

  it("reports an error", async () => {
    const store = open({ cleanupInterval: 0.1 });
    await store.set("sid", plain());
    const error = once(store, "error");
    traffic.next("range", () => Promise.reject(down));
    traffic.next("range", () => Promise.reject(down));
    expect(await error).toEqual([down]);
    await once(store, "error");
    await store.close();
  });

  it("of 0 turns it off", async () => {
    const store = open({ cleanupInterval: 0 });
    await store.set("sid", plain());
    expect(await traffic.during(() => sleep(200))).toEqual([]);
  });
});

describe("an etcd that is restarted again and again", () => {
  let folder: string;
  let server: OwnEtcd;
  let client: Etcd3;
  let start: () => Promise<OwnEtcd>;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
    const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
    start = () => startEtcd({ dataDir: folder, clientPort, peerPort });
    server = await start();
    client = new Etcd3({ hosts: server.endpoint });
  });
  afterAll(async () => {
    client.close();
    await server.stop();
    await rm(folder, { recursive: true });
  });

  it("gives leases their whole time again, but two cleanups delete all ended sessions", async () => {
    const store = open({ client, ttl: 1 });
    await forEach(sids(100), sid => store.set(sid, plain()));
    const { kvs } = await client.kv.range({ key: Buffer.from(`${etcd.prefix}sid-0`) });
    const ID = kvs[0]?.lease as string;
    await sleep(3000);
    const { TTL } = await client.leaseClient.leaseTimeToLive({ ID });
    await server.stop();
    server = await start();
    const { TTL: renewed } = await client.leaseClient.leaseTimeToLive({ ID });
    expect(Number(renewed)).toBeGreaterThan(Number(TTL));
    etcd.clock.advance(LONG_AFTER);
    expect(await client.getAll().prefix(etcd.prefix).keys()).toHaveLength(100);
    expect((await store.cleanup()) + (await store.cleanup())).toBe(100);
    expect(await client.getAll().prefix(etcd.prefix).keys()).toEqual([]);
    await store.close();
  });
});
