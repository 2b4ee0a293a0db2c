import type { Etcd3 } from "etcd3";
import { Operation } from "../core/operation.js";
import { AttemptDeadlines } from "./attempt-deadline.js";
import { leaseEnd } from "./lease-pool.js";
import { keyPagesOf } from "./pages.js";
import type { Transactions } from "./transactions.js";
import { isUserEntry } from "./user-entries.js";
import { foundIn } from "./value.js";

/*
 * Leases can outlive their time: a new leader gives each lease its whole time again. Where leaders change more often
 * than sessions end, no lease ever ends, and only a sweep deletes the records.
 *
 * The id of a lease says when its window ends. So a sweep lists keys without values, and reads few records.
 */

/** Records that are read and deleted together. */
const BATCH_KEYS = 100;

/** A pause after each step bounds a sweep to about 40,000 keys and 2,000 deletes a second. */
const PAUSE_MS = 50;

const REQUEST_TIMEOUT_MS = 10_000;

/** How long after its end a record is left to its lease. So long may the clock of this host be wrong. */
const MARGIN_MS = 60 * 60_000;

/** Follows the prefix in the key of the claim. No key of a session ends like this. */
const CLAIM = "sweep!";

export interface SweepOptions {
  readonly kv: Etcd3["kv"];
  readonly transactions: Transactions;
  readonly prefix: string;
  now(): number;
  /** Whether the store was closed, so that a sweep must end. */
  isClosed(): boolean;
}

/** Sweeps if no other process has done so, or does, in this interval. */
export async function sweepInTurn(options: SweepOptions, intervalMs: number): Promise<void> {
  const isOurs = await claimSweep(options, intervalMs);
  if (isOurs && !options.isClosed()) await sweep(options);
}

/** Deletes the records whose leases should have ended long ago. Returns how many. */
export async function sweep({ kv, transactions, prefix, now, isClosed }: SweepOptions): Promise<number> {
  let deleted = 0;
  const pages = keyPagesOf(prefix, range => {
    const { callOptions } = new AttemptDeadlines([new Operation(REQUEST_TIMEOUT_MS)]);
    return kv.range(range, callOptions);
  });
  for await (const page of pages) {
    const ended = page.filter(({ lease }) => hasEnded(lease, now())).map(({ key }) => key.toString());
    for (let from = 0; from < ended.length && !isClosed(); from += BATCH_KEYS) {
      const batch = ended.slice(from, from + BATCH_KEYS);
      const results = await Promise.all(batch.map(key => deleteEnded(key, transactions, now)));
      deleted += results.filter(Boolean).length;
      await pause();
    }
    await pause();
    if (isClosed()) break;
  }
  return deleted;
}

/**
 * Deletes a record or an entry of a user if it is still on a lease that should have ended. Returns whether it has
 * deleted a record. Keys of other applications are left in place.
 */
async function deleteEnded(key: string, transactions: Transactions, now: () => number): Promise<boolean> {
  const operation = new Operation(REQUEST_TIMEOUT_MS);
  const kv = await transactions.read(key, operation);
  if (kv === undefined || !hasEnded(kv.lease, now())) return false;
  const isRecord = foundIn(kv).token !== undefined;
  if (!isRecord && !isUserEntry(kv)) return false;
  const { isDone } = await transactions.write({ key, revision: kv.mod_revision, operation });
  return isDone && isRecord;
}

/**
 * Claims the sweep of this interval, so that one of all processes sweeps. The claim is a time and not a lease, because
 * it must end where leases do not.
 */
async function claimSweep({ transactions, prefix, now }: SweepOptions, ms: number): Promise<boolean> {
  const key = prefix + CLAIM;
  const operation = new Operation(REQUEST_TIMEOUT_MS);
  const claim = await transactions.read(key, operation);
  const endsAt = Number(claim?.value);
  // A claim that lasts longer than an interval comes from a host whose clock was ahead.
  if (endsAt > now() && endsAt <= now() + ms) return false;
  const value = Buffer.from(String(now() + ms));
  return (await transactions.write({ key, value, revision: claim?.mod_revision, operation })).isDone;
}

function hasEnded(lease: string, now: number): boolean {
  return lease !== "0" && leaseEnd(lease) + MARGIN_MS <= now;
}

function pause(): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, PAUSE_MS);
  });
}
