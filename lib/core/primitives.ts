import { Store } from "express-session";
import type { Operation } from "./operation.js";
import type {
  ActivityUpdate,
  Awaitable,
  Found,
  RecordWrite,
  Removal,
  ScannedRecord,
  StoredRecord,
  UNREADABLE,
  UserList,
  UserSession,
  WriteResult,
} from "./record.js";

/**
 * The primitives: what a backend implements. They speak of records.
 *
 * Keys are strings that begin with the prefix and have at most 1,538 bytes. Arguments have been validated. Expected
 * outcomes are return values; throw only on failure. A primitive returns its result or a promise of it.
 * `operation.signal` is aborted when the caller no longer waits.
 */
export abstract class StorePrimitives extends Store {
  /** What is stored under a key, also a tombstone; `undefined` if nothing is. */
  protected abstract _read(key: string, operation: Operation): Awaitable<Found | undefined>;

  /**
   * Writes a record if its condition holds ({@link conditionHolds}), checked and written in one atomic step. Otherwise
   * writes nothing and returns what is stored. Resolves once the write is as durable as the backend can make it.
   */
  protected abstract _write(key: string, write: RecordWrite, operation: Operation): Awaitable<WriteResult>;

  /** Moves `activeAt` of a record, in one atomic step, if it may ({@link touchHolds}). Keeps everything else. */
  protected abstract _touch(key: string, touch: ActivityUpdate, operation: Operation): Awaitable<WriteResult>;

  /**
   * Replaces whatever is stored by a tombstone, which may be deleted after `deleteAt`. A no-op if the version of the
   * record contains `removal.id`, which was then created over this tombstone. The stored `activeAt` is added to
   * that of the tombstone ({@link tombstoneOver}), unless the backend compares revisions of its own in conditions.
   */
  protected abstract _remove(key: string, removal: Removal, operation: Operation): Awaitable<void>;

  /**
   * All records whose key begins with `start`, in pages of bounded size, ended ones and tombstones included. A record
   * that is there during the whole scan is in exactly one page. `operation` is renewed for each page.
   */
  protected abstract _scan(start: string, operation: Operation): AsyncIterable<ScannedRecord[]>;

  /**
   * Optional, for the option `user`: the list of a user, and what is stored under the keys of its entries. The list has
   * every entry whose write was acknowledged before. It may have sessions of longer prefixes, as scans have.
   * {@link RecordWrite.entry} and {@link ActivityUpdate.entry} add entries. A backend that derives the lists from the
   * records ignores them.
   */
  protected _listUser?(user: string, operation: Operation): Awaitable<UserList>;

  /** Optional, for the option `user`: removes these entries from the list, and none that was added since. */
  protected _removeEntries?(
    user: string,
    entries: readonly UserSession[],
    operation: Operation,
  ): Awaitable<void>;

  /** For backends: what the keys of the store's sessions begin with. */
  protected abstract get _keyPrefix(): string;

  /** The number of records for which `isLive` is true. Override it where that needs no pages. */
  protected async _count(
    isLive: (record: StoredRecord | typeof UNREADABLE) => boolean,
    pages: () => AsyncIterable<ScannedRecord[]>,
  ): Promise<number> {
    let count = 0;
    for await (const page of pages()) for (const { record } of page) if (isLive(record)) count += 1;
    return count;
  }

  /** Removes the records of a page of keys. Override it where the backend needs fewer requests for that. */
  protected async _removeAll(keys: string[], removal: Removal, operation: Operation): Promise<void> {
    await Promise.all(keys.map(key => this._remove(key, removal, operation)));
  }

  /** Fails if the backend cannot be used. Override it where a read does not tell. */
  protected async _ping(operation: Operation): Promise<void> {
    // No sid has this key.
    await this._read(`${this._keyPrefix}%ping`, operation);
  }

  /** Frees what the store opened itself. Called once. */
  protected async _close(): Promise<void> {}
}
