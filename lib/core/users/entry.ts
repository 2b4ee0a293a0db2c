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
  if (user === undefined) return undefined;
  const entry = newEntryOf(user, record, id, policy);
  const isListed = over?.user === user && entryEndOf(over, policy) >= entry.deleteAt;
  return isListed ? undefined : entry;
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

/**
 * Until when a session with this record has an entry. A session's time is divided into periods of its lifetime. An entry
 * lasts for a whole period more than that of the last use. So it is renewed once per period, not by each touch.
 *
 * And for another one, because a request may have loaded the session before it got its user. In the next period, that
 * request may touch the session, and treats the entry as one of the user that it loaded. Leaves out `absoluteTimeout`,
 * because the next save may come from a process with a longer one.
 */
function entryEndOf(record: StoredRecord, policy: LifetimePolicy): number {
  const { lifetime, activeAt, createdAt } = record;
  const period = Math.max(lifetime, MIN_PERIOD_MS);
  const periods = Math.floor(Math.max(0, activeAt - createdAt) / period) + 1;
  const end = createdAt + (periods + 1) * period + lifetime + touchAfterMs(lifetime, policy);
  return Math.min(end, MAX_TIME - GRACE_MS) + GRACE_MS;
}
