import { GRACE_MS, isGone } from "../expiry.js";
import type { Operation } from "../operation.js";
import { type FoundRecord, isSession, type StoredRecord, UNREADABLE, type UserSession } from "../record.js";
import type { StoreSettings } from "../store-options.js";
import type { StoreParts } from "../store-parts.js";
import type { UserForms } from "./user-ids.js";

/** An entry, and the form of the user in whose list it is. */
export interface ListedEntry extends UserSession {
  readonly user: string;
}

/** An entry whose session is stored, and not past saving. */
export interface PossibleSession extends ListedEntry {
  readonly found: FoundRecord;
}

/** The entries of a user, in all forms, and the token of the list of the current form. */
export async function readList(
  { backend }: StoreParts,
  forms: UserForms,
  operation: Operation,
): Promise<{ entries: ListedEntry[]; token: unknown }> {
  const lists = await Promise.all(forms.map(user => backend.listUser(user, operation)));
  const entries = lists.flatMap(({ sessions }, index) =>
    sessions.map(session => ({ ...session, user: forms[index] as string })),
  );
  return { entries, token: lists[0]?.token };
}

/** The sessions that are live or may be saved again by a slow request, each of them once. */
export function possibleSessionsOf(
  entries: readonly ListedEntry[],
  forms: UserForms,
  settings: StoreSettings,
): PossibleSession[] {
  const now = settings.now();
  const byKey = new Map<string, PossibleSession>();
  for (const entry of entries) {
    if (isPossible(entry, forms, now, settings)) byKey.set(entry.key, entry as PossibleSession);
  }
  return [...byKey.values()];
}

/** The entries that lead to no session of this user and never will again. What cannot be read may be a session. */
export function garbageOf(
  entries: readonly ListedEntry[],
  forms: UserForms,
  settings: StoreSettings,
): ListedEntry[] {
  const now = settings.now();
  return entries.filter(
    entry => entry.found?.record !== UNREADABLE && !isPossible(entry, forms, now, settings),
  );
}

/** Removes entries. They are garbage, which does no harm if it stays: a failure is not the caller's concern. */
export async function removeEntries(
  { backend }: StoreParts,
  entries: readonly ListedEntry[],
  operation: Operation,
): Promise<void> {
  for (const user of new Set(entries.map(entry => entry.user))) {
    const own = entries.filter(entry => entry.user === user);
    try {
      await backend.removeEntries(user, own, operation);
    } catch {
      // The next listing tries again.
    }
  }
}

/**
 * Any form of the user will do: between the reads of two lists, a save may have moved the session from one to the other.
 * Twice the grace period: the request may be on a host whose clock is behind this one.
 */
function isPossible(
  { found }: ListedEntry,
  forms: UserForms,
  now: number,
  { lifetimes }: StoreSettings,
): boolean {
  return (
    isSession(found) && isOfUser(found.record, forms) && !isGone(found.record, now - GRACE_MS, lifetimes)
  );
}

/** Whether a session belongs to a user, in whatever form the record has it. */
export function isOfUser({ user }: StoredRecord, forms: readonly string[]): boolean {
  return user !== undefined && forms.includes(user);
}
