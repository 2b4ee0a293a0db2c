import {
  conditionHolds,
  type Found,
  type StoredRecord,
  UNREADABLE,
  type UserEntry,
  type WriteCondition,
} from "../core/record.js";
import { decodeEntry, encodeEntry, sweepIndexKey, userKey } from "./entry.js";
import type { LmdbFile } from "./lmdb-file.js";

/** What a conditional write has to know of what it replaces. */
interface Place {
  /** `null` if nothing is stored. */
  readonly revision: number | null;
  readonly sweepAt?: number;
  readonly record?: Found["record"];
}

export const EMPTY_PLACE: Place = { revision: null };

/** The record with its place, so that a condition can be evaluated for the record that the token stands for. */
type Token = Place & Pick<Found, "record">;

export function findRecord(file: LmdbFile, key: string): (Found & { readonly token: Token }) | undefined {
  const stored = file.get(key);
  if (stored === undefined) return undefined;
  const { value, version: revision } = stored;
  const entry = decodeEntry(value);
  if (entry === UNREADABLE) return { record: UNREADABLE, token: { record: UNREADABLE, revision } };
  const { record, sweepAt } = entry;
  return { record, token: { record, revision, sweepAt } };
}

/** The place that a condition expects, if it is known without reading. */
export function knownPlace(condition: WriteCondition): Place | undefined {
  if (condition.absent) return EMPTY_PLACE;
  const token = condition.token as Token | undefined;
  return conditionHolds(token, condition) ? token : undefined;
}

/** What a write puts in place of what it found. */
export interface Replacement {
  readonly record: StoredRecord;
  readonly deleteAt: number;
  /** Written to the list of the user, even if it should be there. */
  readonly entry?: UserEntry | undefined;
}

/** Writes an entry in place of another. Returns whether that was still there. */
export function putRecord(
  file: LmdbFile,
  key: string,
  { record, deleteAt, entry }: Replacement,
  { revision, sweepAt, record: replaced }: Place,
): Promise<boolean> {
  const userMove = userMoveOf(key, replaced, record, entry !== undefined);
  // The index may lead the sweep to a record too early, but not too late.
  if (sweepAt !== undefined && sweepAt <= deleteAt) {
    return file.put(key, encodeEntry({ record, deleteAt, sweepAt }), revision, undefined, userMove);
  }
  const outdated = sweepAt === undefined ? undefined : sweepIndexKey(sweepAt, key);
  const move = { add: sweepIndexKey(deleteAt, key), remove: outdated };
  return file.put(key, encodeEntry({ record, deleteAt, sweepAt: deleteAt }), revision, move, userMove);
}

/** How the lists of users change with a record, if they do. */
function userMoveOf(
  key: string,
  replaced: Found["record"] | undefined,
  record: StoredRecord,
  isEntryNew: boolean,
) {
  const from = replaced === undefined || replaced === UNREADABLE ? undefined : replaced.user;
  const to = record.user;
  if (from === to && !isEntryNew) return undefined;
  return {
    add: to === undefined ? undefined : userKey(to, key),
    remove: from === undefined || from === to ? undefined : userKey(from, key),
  };
}
