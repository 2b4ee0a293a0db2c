import { deleteAtOf, MAX_TIME } from "../expiry.js";
import type { Operation } from "../operation.js";
import { type Found, type FoundRecord, ifVersion, isSession, tombstoneOf, tombstoneOver } from "../record.js";
import { incarnationOf } from "../save/write-ids.js";
import type { StoreParts } from "../store-parts.js";
import type { UserForms } from "./user-ids.js";
import { isOfUser } from "./user-list.js";

/**
 * Destroys a session of a user, unless it has become the session of another user, or another session, in the meantime.
 * Returns whether this destroyed it.
 */
export async function endSession(
  { backend, ids, settings }: StoreParts,
  user: UserForms,
  key: string,
  seen: FoundRecord,
  operation: Operation,
): Promise<boolean> {
  const { version } = seen.record;
  const id = ids.nextRemoval();
  const deleteAt = deleteAtOf(tombstoneOf(id, settings.now()), settings.lifetimes);
  let found: Found | undefined = seen;
  // Terminates: every rejection means that another write was accepted.
  while (isSession(found) && isOfUser(found.record, user) && isSameSession(found.record.version, version)) {
    operation.throwIfAbandoned();
    const record = tombstoneOver(found, tombstoneOf(id, settings.now()));
    const condition = ifVersion(found, -MAX_TIME, MAX_TIME);
    const result = await backend.write(key, { record, condition, deleteAt }, operation);
    if (result.written) return true;
    found = result.current;
  }
  // An earlier attempt of this removal may have had no response.
  return found?.record !== undefined && (found as FoundRecord).record.version === id;
}

function isSameSession(version: string, other: string): boolean {
  return incarnationOf(version) === incarnationOf(other);
}
