import { randomUUID } from "node:crypto";
import { type Etcd3, GRPCUnavailableError } from "etcd3";
import { Clock } from "../../lib/conformance/clock.js";
import { leaseEnd } from "../../lib/etcd/lease-pool.js";
import type { EtcdStoreOptions } from "../../lib/etcd/options.js";
import { EtcdStore } from "../../lib/etcd/store.js";
import { etcdClient } from "../helpers/engines/engines.js";
import { type Message, type Traffic, trafficOfEtcd } from "../helpers/stores/counting.js";

/** The errors of etcd3 if it reaches no member, and if a connection ends before the response. */
export const down = new GRPCUnavailableError("14 UNAVAILABLE: No connection established");
export const lost = new GRPCUnavailableError("14 UNAVAILABLE: Connection dropped");

/** The error of gRPC in this process for a response above its limit. */
export const responseTooLarge = new Error(
  "8 RESOURCE_EXHAUSTED: Received message larger than max (5000000 vs 4194304)",
);

/** A prefix and a clock for each test of a file, and functions to inspect etcd. */
export interface EtcdHarness {
  /** The client of the stores. */
  readonly client: Etcd3;
  readonly traffic: Traffic;
  /** The client of the tests. */
  readonly raw: Etcd3;
  prefix: string;
  clock: Clock;
  open(options?: Partial<EtcdStoreOptions>): EtcdStore;
  /** Returns the lease of the session's key. */
  leaseOf(sid: string): Promise<string>;
  /** Returns the keys of a lease, and its seconds. */
  lease(id: string): Promise<{ keys: string[]; seconds: number; endsAt: number }>;
  /** Returns the value of the session's key, or `undefined` if there is none. */
  valueOf(sid: string): Promise<string | undefined>;
}

/** Sets up the harness. Call it once in a file, outside of tests. */
export function useEtcd(): EtcdHarness {
  const client = etcdClient();
  const raw = etcdClient();
  const kvOf = async (sid: string) => (await raw.kv.range({ key: Buffer.from(harness.prefix + sid) })).kvs[0];
  const harness: EtcdHarness = {
    client,
    traffic: trafficOfEtcd(client),
    raw,
    prefix: "",
    clock: new Clock(),
    open: options =>
      new EtcdStore({ client, prefix: harness.prefix, now: harness.clock.now, touchAfter: 0, ...options }),
    leaseOf: async sid => String((await kvOf(sid))?.lease),
    lease: async ID => {
      const { keys, grantedTTL } = await raw.leaseClient.leaseTimeToLive({ ID, keys: true });
      return { keys: keys.map(String).sort(), seconds: Number(grantedTTL), endsAt: leaseEnd(ID) };
    },
    valueOf: async sid => (await kvOf(sid))?.value.toString(),
  };
  beforeEach(() => {
    harness.prefix = `etcd-test-${randomUUID()}:`;
    harness.clock = new Clock();
  });
  afterEach(async () => {
    await raw.delete().prefix(harness.prefix);
    expect(harness.traffic.forgetAwaited()).toEqual([]);
  });
  afterAll(() => {
    client.close();
    raw.close();
  });
  return harness;
}

/** Does something for many sids, with as many in parallel as on a busy server. */
export async function forEach(all: string[], work: (sid: string) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < all.length; from += 1000)
    await Promise.all(all.slice(from, from + 1000).map(work));
}

/** A gate at which one part of a test waits until another part opens it. */
export function gate(): { opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>(resolve => {
    open = resolve;
  });
  return { opened, open };
}

/** Makes the next transaction hang in a member of the cluster. It fails, and arrives when the test calls the result. */
export function hangNext(traffic: Traffic): () => Promise<Message> {
  let arrive: () => Promise<Message> = () => Promise.reject();
  traffic.next("txn", perform => {
    arrive = perform;
    return Promise.reject(lost);
  });
  return () => arrive();
}
