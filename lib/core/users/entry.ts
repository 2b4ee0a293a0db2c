import { GRACE_MS, type LifetimePolicy, MAX_TIME, touchAfterMs } from "../expiry.js";
import type { StoredRecord, UserEntry } from "../record.js";

/** Sessions with shorter lifetimes need a new entry once in this time, not once per lifetime. */
const MIN_PERIOD_MS = 60 * 60_000;

/**
 * The entry that a write must add, if it must: the session has got a user, or outlives the entry that it has. It follows
 * from the records alone when that is, so no request has to read entries.
 *
 * @param over - the record that the session has so far, if it has one
 */
export function entryOf(
  over: StoredRecord | undefined,
  record: StoredRecord,
  id: string,
  policy: LifetimePolicy,
): UserEntry | undefined {
  const { user } = record;
  const isListed = over !== undefined && over.user === user && !outlivesEntry(over, record, policy);
  return user === undefined || isListed ? undefined : newEntryOf(user, record, id, policy);
}

/** An entry for a session, whether it has one or not. */
export function newEntryOf(
  user: string,
  record: StoredRecord,
  id: string,
  policy: LifetimePolicy,
): UserEntry {
  return { user, id, deleteAt: entryEndOf(record, policy) };
}

/** Whether a session that becomes `record` lives longer than the entry that a user of the record `over` has. */
export function outlivesEntry(over: StoredRecord, record: StoredRecord, policy: LifetimePolicy): boolean {
  return entryEndOf(record, policy) > entryEndOf(over, policy);
}

/**
 * Until when a session with this record has an entry. A session's time is divided into periods of its lifetime. An entry
 * outlasts the session that is used until the end of a period, so it is renewed once per period, not by each touch.
 *
 * Leaves out `absoluteTimeout`, and has room for any `touchAfter` of up to a period: the entry may have been written by
 * a process that was given other ones.
 */
function entryEndOf(record: StoredRecord, policy: LifetimePolicy): number {
  const { lifetime, activeAt, createdAt } = record;
  const period = Math.max(lifetime, MIN_PERIOD_MS);
  const periods = Math.floor(Math.max(0, activeAt - createdAt) / period) + 1;
  const end = createdAt + periods * period + lifetime + Math.max(period, touchAfterMs(lifetime, policy));
  return Math.min(end, MAX_TIME - GRACE_MS) + GRACE_MS;
}
