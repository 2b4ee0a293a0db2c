import type { ICompare, IKeyValue } from "etcd3";
import { decodeRecord, encodeRecord, type Found, type StoredRecord, UNREADABLE } from "../core/record.js";

/*
 * A value is an encoded record. The id of a removal precedes its tombstone and all records that are written over it.
 * etcd compares values byte by byte, so a transaction can check whether a value begins with an id: a late or repeated
 * removal must not destroy the session that was created over its own tombstone.
 */

/** Begins a value with the id of a removal. All other records begin with a digit, which is less. */
const REMOVAL_MARK = "~";

/** The token of a record: what is stored under a key, and what it takes to write it again. */
export interface KeyState {
  readonly record: StoredRecord;
  readonly revision: string;
  readonly lease: string;
  /** The id of the last removal of this key, if there was one. */
  readonly removalId: string | undefined;
}

export function encodeValue(record: StoredRecord, removalId: string | undefined): Buffer {
  const text = encodeRecord(record);
  return Buffer.from(removalId === undefined ? text : `${REMOVAL_MARK}${removalId} ${text}`);
}

/** The record of a key, with its token. */
export function foundIn({ value, mod_revision: revision, lease }: IKeyValue): Found {
  const text = value.toString();
  const start = text.startsWith(REMOVAL_MARK) ? text.indexOf(" ") + 1 : 0;
  const removalId = start === 0 ? undefined : text.slice(REMOVAL_MARK.length, start - 1);
  const record = decodeRecord(text.slice(start));
  return record === UNREADABLE ? { record } : foundBy({ record, revision, lease, removalId });
}

export function foundBy(token: KeyState): Found {
  return { record: token.record, token };
}

/** True for a value that this removal wrote, or that was written over what it wrote. */
export function isRemovedBy(key: Buffer, id: string): ICompare[] {
  const isRemoved = { key, target: "Value" } as const;
  return [
    { ...isRemoved, result: "Greater", value: Buffer.from(`${REMOVAL_MARK}${id} `) },
    { ...isRemoved, result: "Less", value: Buffer.from(`${REMOVAL_MARK}${id}!`) },
  ];
}

/** True for a record that no removal precedes. Also false if nothing is stored, because etcd compares values only. */
export function isNeverRemoved(key: Buffer): ICompare {
  return { key, target: "Value", result: "Less", value: Buffer.from(REMOVAL_MARK) };
}
