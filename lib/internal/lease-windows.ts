import { createHash } from "node:crypto";
import { GRACE_MS } from "./expiry.js";
import type { Operation } from "./operation.js";

/*
 * A lease for each session is what makes etcd slow (etcd-io/etcd #9360, #9496). Here all sessions that end within the
 * same window share a lease, as Kubernetes' lease manager does it (k8s.io/apiserver, storage/etcd3/lease_manager.go:
 * reuse within min(60 s, 5 % of the ttl)). The lease's id is computed from prefix and window, so processes share
 * leases without talking to each other: granting one that exists already is success.
 */

/** Window sizes to choose from, in seconds: a few fixed ones, so that sessions of about the same lifetime share. */
const WINDOW_SECONDS = [60, 30, 15, 5, 2, 1] as const;
const WINDOW_SHARE_OF_LIFETIME = 0.05;

/** Leases of one window: revoking a lease with very many keys holds up the server. */
export const LEASE_SHARDS = 4;

/** etcd refuses longer leases (`lease.MaxLeaseTTL`). */
const MAX_LEASE_SECONDS = 9_000_000_000;

/** A lease and when it may go, in epoch milliseconds. */
export interface LeaseWindow {
  /** A positive 63-bit integer, as a decimal. */
  id: string;
  endsAt: number;
}

/** The lease of a key that expires at `expiresAt`. The window ends at or after the expiry, by a window at most. */
export function leaseWindowOf(start: string, key: string, expiresAt: number, now: number): LeaseWindow {
  const share = ((expiresAt - now) / 1000) * WINDOW_SHARE_OF_LIFETIME;
  const seconds = WINDOW_SECONDS.find(size => size <= share) ?? 1;
  const index = Math.ceil(expiresAt / (seconds * 1000));
  return {
    id: leaseId(`${start}\n${seconds}\n${index}\n${shardOf(key)}`),
    endsAt: index * seconds * 1000,
  };
}

/** Seconds for which to grant a lease that is needed until the grace period after its window. At least 1. */
export function leaseSeconds(endsAt: number, now: number): number {
  return Math.min(MAX_LEASE_SECONDS, Math.max(1, Math.ceil((endsAt + GRACE_MS - now) / 1000)));
}

function leaseId(name: string): string {
  const hash = createHash("sha256").update(name).digest().readBigUInt64BE();
  // 0 would let etcd choose an id.
  return String(BigInt.asUintN(63, hash) || 1n);
}

function shardOf(key: string): number {
  let hash = 0;
  for (let index = 0; index < key.length; index++) hash = (hash * 31 + key.charCodeAt(index)) | 0;
  return (hash >>> 0) % LEASE_SHARDS;
}

/** A lease that was granted, or is being granted. */
export interface LeaseGrant {
  readonly endsAt: number;
  readonly granted: Promise<void>;
}

/** Makes sure that leases exist before they are used: grants each once, however many ask at the same moment. */
export class LeaseWindows {
  readonly #grant: (id: string, seconds: number, operation: Operation) => Promise<void>;
  readonly #grants = new Map<string, LeaseGrant>();

  /** @param grant - grants a lease; one that exists already counts as granted */
  constructor(grant: (id: string, seconds: number, operation: Operation) => Promise<void>) {
    this.#grant = grant;
  }

  /** Resolves when the lease exists, as far as this process knows. */
  async ensure(window: LeaseWindow, now: number, operation: Operation): Promise<LeaseGrant> {
    let grant = this.#grants.get(window.id);
    if (grant === undefined) {
      this.#forgetPast(now);
      const granted = this.#grant(window.id, leaseSeconds(window.endsAt, now), operation);
      grant = { endsAt: window.endsAt, granted };
      this.#grants.set(window.id, grant);
    }
    try {
      await grant.granted;
    } catch (error) {
      this.forget(window, grant);
      throw error;
    }
    return grant;
  }

  /** Says that a lease turned out to be missing, so that it is granted again, unless somebody else has done so. */
  forget(window: LeaseWindow, grant: LeaseGrant): void {
    if (this.#grants.get(window.id) === grant) this.#grants.delete(window.id);
  }

  #forgetPast(now: number): void {
    for (const [id, { endsAt }] of this.#grants) if (endsAt <= now) this.#grants.delete(id);
  }
}
