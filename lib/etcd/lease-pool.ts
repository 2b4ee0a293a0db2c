import type { Etcd3 } from "etcd3";
import { GRACE_MS } from "../core/expiry.js";
import type { Operation } from "../core/operation.js";
import { runInBackground } from "../support/background.js";
import { AttemptDeadlines } from "./attempt-deadline.js";
import { isLeaseGranted } from "./errors.js";

/*
 * A lease for each session would make etcd slow (etcd-io/etcd #9360, #9496). Instead, all records that end within the
 * same window share a lease, as in Kubernetes' lease manager (k8s.io/apiserver, storage/etcd3/lease_manager.go).
 * The id of a lease is computed, so that a grant can be repeated: a lease that exists already counts as granted.
 */

/** Window sizes to choose from, in seconds: few, so that sessions of about the same lifetime share windows. */
const WINDOW_SECONDS = [60, 30, 15, 5, 2, 1] as const;
const WINDOW_SHARE_OF_LIFETIME = 0.05;

/**
 * Keys that a process puts on one lease before it uses the next shard of the window. etcd does not respond while it
 * revokes a lease: measured on one member, 23 ms for 10,000 keys, 132 ms for 40,000.
 */
export const MAX_LEASE_KEYS = 5000;

/** etcd rejects longer leases (`lease.MaxLeaseTTL`). */
const MAX_LEASE_SECONDS = 9_000_000_000;

/** A lease with this much time left ends too soon for no record, because etcd grants hardly more. */
const ALWAYS_ENOUGH_MS = (MAX_LEASE_SECONDS / 2) * 1000;

/** An id has 63 bits: the second in which the window ends, then the shard. */
const SHARD_BITS = 20;

/** The shards of a window end in different seconds: all together they would stop etcd for as long as one large lease. */
const SPREAD_SECONDS = 60;

/** A lease, and what this process knows of it. */
export interface Lease {
  /** A positive 63-bit integer, as a decimal. */
  readonly id: string;
  /** The end of the window, in epoch milliseconds. */
  readonly endsAt: number;
  /** Until when it is granted: the end of the window or up to a minute later. */
  readonly grantedUntil: number;
  /** How many keys this process has put on it. */
  keys: number;
  /** Set while it is being granted, and then for as long as it exists as far as this process knows. */
  grant: Grant | undefined;
}

interface Grant {
  readonly granted: Promise<void>;
  /** When etcd revokes the lease, on the clock of `performance.now()`. `undefined` until it is granted. */
  revokedAt: number | undefined;
}

/** Grants a lease, and returns the seconds that it has. */
type GrantLease = (id: string, seconds: number, operation: Operation) => Promise<number>;

/** Seconds for which to grant a lease. At least 1. */
export function leaseSeconds(grantedUntil: number, now: number): number {
  return Math.min(MAX_LEASE_SECONDS, Math.max(1, Math.ceil((grantedUntil - now) / 1000)));
}

/** When the window of a lease ends, in epoch milliseconds. Meaningless for a lease of another application. */
export function leaseEnd(id: string): number {
  return Number(BigInt(id) >> BigInt(SHARD_BITS)) * 1000;
}

function leaseId(endsAt: number, shard: number): string {
  return String((BigInt(endsAt / 1000) << BigInt(SHARD_BITS)) | BigInt(shard));
}

/** Grants leases of etcd. A lease that exists already counts as granted. */
export function leaseGranter({ leaseClient }: Pick<Etcd3, "leaseClient">): GrantLease {
  return async (ID, TTL, operation) => {
    try {
      await leaseClient.leaseGrant({ ID, TTL }, new AttemptDeadlines([operation]).callOptions);
      return TTL;
    } catch (error) {
      if (!isLeaseGranted(error)) throw error;
    }
    const { callOptions } = new AttemptDeadlines([operation]);
    return Number((await leaseClient.leaseTimeToLive({ ID }, callOptions)).TTL);
  };
}

/** Chooses a lease for each record, and grants leases before they are used. */
export class LeasePool {
  readonly #grant: GrantLease;
  /**
   * Random, because processes that all began with the same shard would put their keys on one lease. Prefixes need no
   * part in the id, because it does no harm if two of them share a lease.
   */
  readonly #firstShard = Math.floor(Math.random() * 2 ** SHARD_BITS);
  /** The leases of each window that is not over, by the id of the window. */
  readonly #windows = new Map<number, [Lease, ...Lease[]]>();

  /** @param grant - grants a lease, and resolves with the seconds that it has; one that exists counts as granted */
  constructor(grant: GrantLease) {
    this.#grant = grant;
  }

  /**
   * A lease for a record, as {@link select} returns it. It exists as far as this process knows, and etcd revokes it at
   * `deleteAt` or later. Clocks may differ by the grace period.
   */
  acquire(
    deleteAt: number,
    now: number,
    current: string | undefined,
    operation: Operation,
  ): Lease | Promise<Lease> {
    const lease = this.select(deleteAt, now, current);
    const granted = this.#granted(lease, now, operation);
    if (granted === undefined) return lease;
    return granted.then(() =>
      endsTooSoon(lease, deleteAt, now) ? this.acquire(deleteAt, now, current, operation) : lease,
    );
  }

  /**
   * The lease for a record that may be deleted at `deleteAt`.
   *
   * @param current - the id of the lease that the key is on, if that is known: the key stays there if possible
   */
  select(deleteAt: number, now: number, current?: string): Lease {
    const share = ((deleteAt - now) / 1000) * WINDOW_SHARE_OF_LIFETIME;
    const found = WINDOW_SECONDS.findIndex(size => size <= share);
    const sizeIndex = found < 0 ? WINDOW_SECONDS.length - 1 : found;
    const windowMs = (WINDOW_SECONDS[sizeIndex] as number) * 1000;
    const windowIndex = Math.ceil(deleteAt / windowMs);
    const windowId = windowIndex * WINDOW_SECONDS.length + sizeIndex;
    const endsAt = windowIndex * windowMs;
    let leases = this.#windows.get(windowId);
    if (leases === undefined) {
      this.#forgetPast(now);
      leases = [this.#newLease(endsAt, 0)];
      this.#windows.set(windowId, leases);
    }
    if (current !== undefined) {
      const same = leases.find(({ id }) => id === current);
      if (same !== undefined && !endsTooSoon(same, deleteAt, now)) return same;
    }
    let last = leases.at(-1) as Lease;
    if (last.keys >= MAX_LEASE_KEYS || endsTooSoon(last, deleteAt, now)) {
      last = this.#newLease(endsAt, leases.length);
      leases.push(last);
    }
    last.keys += 1;
    return last;
  }

  /** Call it if a lease does not exist, so that it is granted again, unless it has been already. */
  forget(lease: Lease, grant: Lease["grant"]): void {
    if (lease.grant === grant) lease.grant = undefined;
  }

  #newLease(endsAt: number, index: number): Lease {
    const shard = (this.#firstShard + index) % 2 ** SHARD_BITS;
    const grantedUntil = endsAt + (shard % SPREAD_SECONDS) * 1000;
    return { id: leaseId(endsAt, shard), endsAt, grantedUntil, keys: 0, grant: undefined };
  }

  /** Resolves when the lease exists, as far as this process knows; `undefined` if it does already. */
  #granted(lease: Lease, now: number, operation: Operation): Promise<void> | undefined {
    if (lease.grant === undefined) return this.#begin(lease, now, operation);
    if (lease.grant.revokedAt !== undefined) return undefined;
    // The grant has the time limit of the operation that began it. If that fails it, this operation's own is used.
    return lease.grant.granted.catch(error => {
      if (operation.isAbandoned) throw error;
      return lease.grant === undefined ? this.#begin(lease, now, operation) : lease.grant.granted;
    });
  }

  #begin(lease: Lease, now: number, operation: Operation): Promise<void> {
    const sentAt = performance.now();
    const seconds = leaseSeconds(lease.grantedUntil, now);
    const granted = runInBackground(() => this.#grant(lease.id, seconds, operation)).then(
      secondsLeft => {
        grant.revokedAt = sentAt + secondsLeft * 1000;
      },
      error => {
        this.forget(lease, grant);
        throw error;
      },
    );
    const grant: Grant = { granted, revokedAt: undefined };
    lease.grant = grant;
    return granted;
  }

  #forgetPast(now: number): void {
    for (const [windowId, [{ endsAt }]] of this.#windows) if (endsAt <= now) this.#windows.delete(windowId);
  }
}

/**
 * Whether etcd revokes the lease before the session ends: it was granted while this or another host's clock was ahead.
 * Leases run on a clock that is never set, so the time left is compared and not the end.
 */
function endsTooSoon({ grant }: Lease, deleteAt: number, now: number): boolean {
  if (grant?.revokedAt === undefined) return false;
  const neededMs = Math.min(deleteAt - GRACE_MS - now, ALWAYS_ENOUGH_MS);
  return grant.revokedAt - performance.now() < neededMs;
}
