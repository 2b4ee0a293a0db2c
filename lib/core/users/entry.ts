import { absoluteEnd, GRACE_MS, type LifetimePolicy, MAX_TIME, touchAfterMs } from "../expiry.js";
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
  if (user === undefined) return undefined;
  const deleteAt = entryEndOf(record, policy);
  const isListed = over?.user === user && entryEndOf(over, policy) >= deleteAt;
  return isListed ? undefined : { user, id, deleteAt };
}

/**
 * Until when a session with this record has an entry. A session's time is divided into periods of its lifetime. An entry
 * lasts for a whole period more than the one of the last use, so it is renewed once per period, not by each touch.
 */
function entryEndOf(record: StoredRecord, policy: LifetimePolicy): number {
  const { lifetime, activeAt, createdAt } = record;
  const period = Math.max(lifetime, MIN_PERIOD_MS);
  const periods = Math.floor(Math.max(0, activeAt - createdAt) / period) + 1;
  const end = createdAt + periods * period + lifetime + touchAfterMs(lifetime, policy);
  return Math.min(end, absoluteEnd(record, policy), MAX_TIME - GRACE_MS) + GRACE_MS;
}
