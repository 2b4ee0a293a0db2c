import type { Etcd3 } from "etcd3";
import { type Rule, rules } from "../core/options.js";
import type { StoreOptions } from "../core/store-options.js";

/** The options of {@link EtcdStore}. */
export interface EtcdStoreOptions extends StoreOptions {
  /** A client of the package `etcd3`. The store does not close it. */
  client: Pick<Etcd3, "kv" | "leaseClient">;
  /**
   * Seconds between cleanups, of which one process does each; 0 turns them off. Leases delete ended sessions without a
   * cleanup, but not in a cluster that changes its leader again and again. @defaultValue `3600`
   */
  cleanupInterval?: number | undefined;
}

export const DEFAULT_CLEANUP_SECONDS = 3600;

/** What the options of a store must be, without the shared ones. */
export const etcdRules: Record<keyof Omit<EtcdStoreOptions, keyof StoreOptions>, Rule> = {
  client: {
    test: isEtcd3,
    required: true,
    expected:
      "a client of the package `etcd3` (npm install etcd3), new Etcd3(...), and not a namespace of one: that is what `prefix` is for",
  },
  cleanupInterval: rules.interval,
};

function isEtcd3(value: unknown): boolean {
  const client = value as (Partial<Etcd3> & { prefix?: Buffer }) | null | undefined;
  const hasServices =
    typeof client?.kv?.txn === "function" && typeof client.leaseClient?.leaseGrant === "function";
  // A namespace has the services of its client, but only its own methods add the prefix.
  return hasServices && !client?.prefix?.length;
}
