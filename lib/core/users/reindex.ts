import { deleteAtOf, earliestActivity, GRACE_MS, isGone, shownExpiry } from "../expiry.js";
import type { Operation } from "../operation.js";
import { type Found, ifVersion, isSession, type ScannedRecord } from "../record.js";
import type { StoreParts } from "../store-parts.js";
import { newEntryOf } from "./entry.js";
import type { UserIds } from "./user-ids.js";

/** How far `reindex` has come. */
export interface ReindexProgress {
  /** The sessions that were looked at so far. */
  readonly seen: number;
  /** Those of them that were filed under their user. */
  readonly filed: number;
}

/** Sessions that are filed at the same time. */
const BATCH = 25;

/** Says whether a session is in the list of a user. */
type IsListed = (user: string, key: string) => Promise<boolean>;

/**
 * Files sessions that were saved without the option `user`, or whose entries were lost, under their users. Skips those
 * that are in the list of their user.
 */
export async function* reindex(
  parts: StoreParts,
  users: UserIds,
  pages: AsyncIterable<ScannedRecord[]>,
  operation: Operation,
): AsyncGenerator<ReindexProgress> {
  let seen = 0;
  let filed = 0;
  for await (const page of pages) {
    for (let from = 0; from < page.length; from += BATCH) {
      operation.renew();
      const batch = page.slice(from, from + BATCH);
      const isListed = listReader(parts, operation);
      const results = batch.map(({ key, ...found }) => file(parts, users, isListed, key, found, operation));
      filed += (await operation.withTimeout(Promise.all(results))).filter(Boolean).length;
    }
    seen += page.filter(isSession).length;
    yield { seen, filed };
  }
}

/** Reads each list once. */
function listReader({ backend }: StoreParts, operation: Operation): IsListed {
  const lists = new Map<string, Promise<Set<string>>>();
  const read = async (user: string) => {
    const { sessions } = await backend.listUser(user, operation);
    return new Set(sessions.map(({ key }) => key));
  };
  return async (user, key) => {
    const keys = lists.get(user) ?? read(user);
    lists.set(user, keys);
    return (await keys).has(key);
  };
}

/** Writes the user beside a session, which otherwise stays as it is. Returns whether that was necessary. */
async function file(
  { backend, codec, ids, settings }: StoreParts,
  users: UserIds,
  isListed: IsListed,
  key: string,
  scanned: Found,
  operation: Operation,
): Promise<boolean> {
  const { lifetimes, now } = settings;
  let found: Found | undefined = scanned;
  // Terminates: every rejection means that another write was accepted.
  while (isSession(found) && !isGone(found.record, now(), lifetimes)) {
    operation.throwIfAbandoned();
    const stored = found.record;
    const decoded = await codec.decode(key, stored, shownExpiry(stored, now(), lifetimes));
    const user = decoded === null ? stored.user : users.ofSession(decoded.session)?.[0];
    if (user === stored.user && (user === undefined || (await isListed(user, key)))) return false;
    const id = ids.next();
    const { user: _old, ...rest } = stored;
    const record = { ...rest, version: ids.extend(stored.version, id), ...(user !== undefined && { user }) };
    const activeFrom = earliestActivity(stored, now(), GRACE_MS, lifetimes);
    const write = {
      record,
      condition: ifVersion(found, activeFrom, stored.activeAt),
      deleteAt: deleteAtOf(record, lifetimes),
      entry: user === undefined ? undefined : newEntryOf(user, record, id, lifetimes),
    };
    const result = await backend.write(key, write, operation);
    if (result.written) return true;
    found = result.current;
  }
  return false;
}
