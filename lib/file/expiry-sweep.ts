import { isTombstone, UNREADABLE } from "../core/record.js";
import { EventLoopSlice } from "../support/event-loop-slice.js";
import { decodeEntry, encodeEntry, recordKeyOf, sweepIndexKey, userKey } from "./entry.js";
import type { LmdbFile } from "./lmdb-file.js";

/** How many records are looked at before the sweep waits for its writes. */
const BATCH_RECORDS = 100;

/**
 * Deletes the records whose `deleteAt` has come. Reads only what the sweep index says is due, and moves the records
 * that live longer by now to a later place in the index. Several processes may sweep at the same time.
 *
 * @param onDeleted - called with the key of each deleted session, not with those of tombstones
 */
export async function sweep(
  file: LmdbFile,
  now: () => number,
  onDeleted: (key: string) => void,
): Promise<void> {
  file.clearStaleReaders();
  const slice = new EventLoopSlice();
  for (;;) {
    const time = now();
    const due = file.indexKeys(sweepIndexKey(time + 1, ""), BATCH_RECORDS);
    if (due.length === 0) return;
    const deleted = await Promise.all(due.map(indexKey => sweepOne(file, indexKey, time)));
    for (const key of deleted) if (key !== undefined) onDeleted(key);
    if (slice.isUsedUp) await slice.yield();
  }
}

/**
 * Looks at the record of one index key. Returns the key of the session if this deleted one. If another write changes
 * the record in the meantime, nothing is done, and the next round looks at it again.
 */
async function sweepOne(file: LmdbFile, indexKey: string, now: number): Promise<string | undefined> {
  const key = recordKeyOf(indexKey);
  const stored = file.get(key);
  const entry = stored === undefined ? UNREADABLE : decodeEntry(stored.value);
  if (stored === undefined || entry === UNREADABLE || sweepIndexKey(entry.sweepAt, key) !== indexKey) {
    // A stale index key: its record is gone, has another index key, or cannot be read and stays.
    await file.removeIndexKey(indexKey);
    return undefined;
  }
  const { record, deleteAt } = entry;
  if (deleteAt > now) {
    const text = encodeEntry({ record, deleteAt, sweepAt: deleteAt });
    const move = { add: sweepIndexKey(deleteAt, key), remove: indexKey };
    await file.put(key, text, stored.version, move);
    return undefined;
  }
  const listed = record.user === undefined ? undefined : userKey(record.user, key);
  const isDeleted = await file.remove(key, stored.version, indexKey, listed);
  return isDeleted && !isTombstone(record) ? key : undefined;
}
