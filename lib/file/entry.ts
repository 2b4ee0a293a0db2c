import { decodeRecord, encodeRecord, type StoredRecord, UNREADABLE } from "../core/record.js";

/** What the file holds under the key of a session. */
export interface Entry {
  readonly record: StoredRecord;
  /** When the sweep may delete the record. */
  readonly deleteAt: number;
  /**
   * When the sweep next looks at the record: the time in the record's key of the sweep index. Never later than
   * `deleteAt`. Writes that move `deleteAt` later leave `sweepAt` as it is, so that a touch is one write.
   */
  readonly sweepAt: number;
}

/** Enough for epoch milliseconds up to the last time that a Date can represent. */
const TIME_DIGITS = 16;

/** The key that is before all others. Appended to a key, it makes the next key. */
export const MIN_KEY = "\0";

/** The entry as a text: two times, then the encoded record. */
export function encodeEntry({ record, deleteAt, sweepAt }: Entry): string {
  return `${sweepAt} ${deleteAt} ${encodeRecord(record)}`;
}

/** Reverses {@link encodeEntry}. Returns `UNREADABLE` for any other text, such as the entries of version 0.1. */
export function decodeEntry(text: string): Entry | typeof UNREADABLE {
  const sweepAtEnd = text.indexOf(" ");
  const deleteAtEnd = text.indexOf(" ", sweepAtEnd + 1);
  const sweepAt = Number(text.slice(0, sweepAtEnd));
  const deleteAt = Number(text.slice(sweepAtEnd + 1, deleteAtEnd));
  const record = decodeRecord(text.slice(deleteAtEnd + 1));
  const isEntry = Number.isSafeInteger(sweepAt) && Number.isSafeInteger(deleteAt) && record !== UNREADABLE;
  return isEntry ? { record, deleteAt, sweepAt } : UNREADABLE;
}

/** The key of a session in the list of a user. A user has no line breaks. */
export function userKey(user: string, key: string): string {
  return `${user}\n${key}`;
}

/** The key of a record in the sweep index, which is in the order of the times. Times before 1970 count as 1970. */
export function sweepIndexKey(sweepAt: number, key: string): string {
  return String(Math.max(0, sweepAt)).padStart(TIME_DIGITS, "0") + key;
}

/** The key of the record that a key of the sweep index belongs to. */
export function recordKeyOf(indexKey: string): string {
  return indexKey.slice(TIME_DIGITS);
}
