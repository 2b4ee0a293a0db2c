import { createHash } from "node:crypto";
import { GRACE_MS } from "../core/expiry.js";
import type { Operation } from "../core/operation.js";

/*
 * A lease for each session is what makes etcd slow (etcd-io/etcd #9360, #9496). Here all sessions that end within the
 * same window share a lease, as Kubernetes' lease manager does it (k8s.io/apiserver, storage/etcd3/lease_manager.go:
 * reuse within min(60 s, 5 % of the ttl)). The lease's id is computed from prefix and window, so processes share
 * leases without talking to each other: granting one that exists already is success. How long it has is up to the clock
 * of who granted it: if that is not long enough, the next lease of the window is used.
 */

/** Window sizes to choose from, in seconds: a few fixed ones, so that sessions of about the same lifetime share. */
const WINDOW_SECONDS = [60, 30, 15, 5, 2, 1] as const;
const WINDOW_SHARE_OF_LIFETIME = 0.05;

/**
 * Keys that a process puts on one lease; further ones go on the next lease of the same window. etcd answers nothing
 * while it revokes a lease, which takes 2 to 3 us for each key: 23 ms for 10,000 keys, 132 ms for 40,000.
 */
export const MAX_LEASE_KEYS = 5000;

/** etcd refuses longer leases (`lease.MaxLeaseTTL`). */
const MAX_LEASE_SECONDS = 9_000_000_000;

/** A lease that has this much is not too short for any session: it could not be granted for much more. */
const ALWAYS_ENOUGH_SECONDS = MAX_LEASE_SECONDS / 2;

/** A lease, and what this process knows of it. */
export interface Lease {
  /** A positive 63-bit integer, as a decimal. */
  readonly id: string;
  /** When it may go, in epoch milliseconds: at or after the expiry of its keys, by a window at most. */
  readonly endsAt: number;
  /** How many keys this process has put on it. */
  keys: number;
  /** It goes before the end of its window: granted by a process whose clock is ahead. */
  tooShort: boolean;
  /** Set while it is being granted, and then for as long as it is there as far as this process knows. */
  grant: { readonly granted: Promise<void>; done: boolean } | undefined;
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

/** Chooses leases, and makes sure that they exist before they are used. */
export class LeaseWindows {
  readonly #start: string;
  readonly #grant: (id: string, seconds: number, operation: Operation) => Promise<number>;
  /** The leases of each window that is not over, by the number of the window. */
  readonly #windows = new Map<number, [Lease, ...Lease[]]>();

  /**
   * @param start - what tells the leases of this store from those of others
   * @param grant - grants a lease, and resolves with the seconds that it has; one that exists counts as granted
   */
  constructor(start: string, grant: (id: string, seconds: number, operation: Operation) => Promise<number>) {
    this.#start = start;
    this.#grant = grant;
  }

  /** A lease as `leaseOf` gives it, once it exists as far as this process knows, and lasts as long as it must. */
  ready(
    expiresAt: number,
    now: number,
    current: string | undefined,
    operation: Operation,
  ): Lease | Promise<Lease> {
    const lease = this.leaseOf(expiresAt, now, current);
    const granted = this.#ensure(lease, now, operation);
    if (granted === undefined) return lease;
    return granted.then(() => (lease.tooShort ? this.ready(expiresAt, now, current, operation) : lease));
  }

  /**
   * The lease for a key that expires at `expiresAt`.
   *
   * @param current - the id of the lease that the key is on, if that is known: it stays there if that will do
   */
  leaseOf(expiresAt: number, now: number, current?: string): Lease {
    const share = ((expiresAt - now) / 1000) * WINDOW_SHARE_OF_LIFETIME;
    const found = WINDOW_SECONDS.findIndex(size => size <= share);
    const kind = found < 0 ? WINDOW_SECONDS.length - 1 : found;
    const seconds = WINDOW_SECONDS[kind] as number;
    const index = Math.ceil(expiresAt / (seconds * 1000));
    const number = index * WINDOW_SECONDS.length + kind;
    let leases = this.#windows.get(number);
    const another = (shard: number): Lease => ({
      id: leaseId(`${this.#start}\n${seconds}\n${index}\n${shard}`),
      endsAt: index * seconds * 1000,
      keys: 0,
      tooShort: false,
      grant: undefined,
    });
    if (leases === undefined) {
      this.#forgetPast(now);
      leases = [another(0)];
      this.#windows.set(number, leases);
    }
    if (current !== undefined) {
      const same = leases.find(({ id, tooShort }) => id === current && !tooShort);
      if (same !== undefined) return same;
    }
    let last = leases.at(-1) as Lease;
    if (last.keys >= MAX_LEASE_KEYS || last.tooShort) {
      last = another(leases.length);
      leases.push(last);
    }
    last.keys += 1;
    return last;
  }

  /** Resolves when the lease exists, as far as this process knows; `undefined` if it does already. */
  #ensure(lease: Lease, now: number, operation: Operation): Promise<void> | undefined {
    if (lease.grant === undefined) return this.#begin(lease, now, operation);
    if (lease.grant.done) return undefined;
    // It has the time of the operation that asked first, which may be nearly over: once more with that of this one.
    return lease.grant.granted.catch(error => {
      if (operation.ended) throw error;
      return lease.grant === undefined ? this.#begin(lease, now, operation) : lease.grant.granted;
    });
  }

  #begin(lease: Lease, now: number, operation: Operation): Promise<void> {
    const granted = this.#grant(lease.id, leaseSeconds(lease.endsAt, now), operation).then(
      seconds => {
        // Without the grace period, so that clocks may differ by as much.
        lease.tooShort = seconds < Math.min((lease.endsAt - now) / 1000, ALWAYS_ENOUGH_SECONDS);
        grant.done = true;
      },
      error => {
        this.forget(lease, grant);
        throw error;
      },
    );
    const grant = { granted, done: false };
    lease.grant = grant;
    return granted;
  }

  /** Says that a lease turned out to be missing, so that it is granted again, unless somebody else has done so. */
  forget(lease: Lease, grant: Lease["grant"]): void {
    if (lease.grant === grant) lease.grant = undefined;
  }

  #forgetPast(now: number): void {
    for (const [number, [{ endsAt }]] of this.#windows) if (endsAt <= now) this.#windows.delete(number);
  }
}
