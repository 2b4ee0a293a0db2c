import { isTombstone, type StoredRecord } from "./record.js";

/** The options that limit how long a session lives. Durations in milliseconds. */
export interface LifetimePolicy {
  /** `undefined`: the smaller of 60 s and 5 % of the session's lifetime. */
  touchAfterMs: number | undefined;
  absoluteTimeoutMs: number | undefined;
  /** How long a tombstone stays. */
  tombstoneMs: number;
}

/** How long an ended session can still be saved by a request that was running when it ended. */
export const GRACE_MS = 60_000;

/** How long a tombstone stays at least. A repeated request that arrives later than this is not guarded against. */
export const TOMBSTONE_MS = 60 * 60_000;

const MAX_AUTO_TOUCH_AFTER_MS = 60_000;
const AUTO_TOUCH_AFTER_SHARE = 0.05;

/** The last time that a Date can represent. */
export const MAX_TIME = 8.64e15;

/** A touch that would move `activeAt` by less than this is not written. */
export function touchAfterMs(lifetime: number, { touchAfterMs: fixed }: LifetimePolicy): number {
  return fixed ?? Math.floor(Math.min(MAX_AUTO_TOUCH_AFTER_MS, lifetime * AUTO_TOUCH_AFTER_SHARE));
}

/** The time that no use of the session moves. */
export function absoluteEnd({ createdAt }: StoredRecord, { absoluteTimeoutMs }: LifetimePolicy): number {
  return absoluteTimeoutMs === undefined ? MAX_TIME : Math.min(createdAt + absoluteTimeoutMs, MAX_TIME);
}

/** When the session expires: its lifetime after its last use that was written. */
export function expiryOf(record: StoredRecord, policy: LifetimePolicy): number {
  return Math.min(record.activeAt + record.lifetime, absoluteEnd(record, policy));
}

/**
 * From when on the session is not found: `touchAfter` later than its expiry, since a later use of that much may not
 * have been written.
 */
export function endOf(record: StoredRecord, policy: LifetimePolicy): number {
  const coverMs = touchAfterMs(record.lifetime, policy);
  return Math.min(record.activeAt + record.lifetime + coverMs, absoluteEnd(record, policy));
}

/**
 * The last use to be stored when a session gets another lifetime. Later touches may have been skipped, which the old
 * lifetime covers. A shorter one covers less, so that the last use counts as later by the difference.
 */
export function useToKeep(
  { activeAt, lifetime }: StoredRecord,
  newLifetime: number,
  { now, lifetimes }: { now(): number; lifetimes: LifetimePolicy },
): number {
  const lost = touchAfterMs(lifetime, lifetimes) - touchAfterMs(newLifetime, lifetimes);
  return lost <= 0 ? activeAt : Math.max(activeAt, Math.min(now(), activeAt + lost));
}

/** The expiry that the session's cookie shows: never one that is past while the session is still found. */
export function shownExpiry(record: StoredRecord, now: number, policy: LifetimePolicy): number {
  const expiry = expiryOf(record, policy);
  return expiry > now ? expiry : endOf(record, policy);
}

/** Whether the session is not found any more. */
export function hasEnded(record: StoredRecord, now: number, policy: LifetimePolicy): boolean {
  return endOf(record, policy) <= now;
}

/** Whether the session ended so long ago that no save brings it back. */
export function isGone(record: StoredRecord, now: number, policy: LifetimePolicy): boolean {
  return endOf(record, policy) + GRACE_MS <= now;
}

/**
 * The earliest `activeAt` with which a record of this lifetime has not ended `graceMs` ago: the form in which backends
 * can check it in the condition of a write. Past the absolute end there is none.
 */
export function earliestActivity(
  record: StoredRecord,
  now: number,
  graceMs: number,
  policy: LifetimePolicy,
): number {
  const { lifetime } = record;
  if (absoluteEnd(record, policy) + graceMs <= now) return MAX_TIME;
  return now - lifetime - touchAfterMs(lifetime, policy) - graceMs + 1;
}

/** When the backend may delete the record. */
export function deleteAtOf(record: StoredRecord, policy: LifetimePolicy): number {
  return isTombstone(record) ? record.createdAt + policy.tombstoneMs : endOf(record, policy) + GRACE_MS;
}
