import type { SessionData } from "express-session";
import { deleteAtOf, hasEnded, shownExpiry } from "./expiry.js";
import type { SessionKeys } from "./keys.js";
import type { Listings } from "./listings.js";
import type { Operation } from "./operation.js";
import {
  type FoundRecord,
  ifVersion,
  isTombstone,
  type ScannedRecord,
  type StoredRecord,
  tombstoneOver,
  UNREADABLE,
} from "./record.js";
import { newRemoval } from "./removal.js";
import type { Peeked } from "./store-internals.js";
import type { StoreParts } from "./store-parts.js";

/** What a backend has under the key of a session. The session itself is not decoded. */
export interface SessionRecord {
  readonly state: Exclude<Peeked["state"], "absent">;
  readonly sidHash: string;
  /** The bytes of the serialized session; 0 if there is none. */
  readonly bytes: number;
  /** Only of a live or an ended session, as all that follows. */
  readonly createdAt: number;
  readonly activeAt: number;
  readonly lifetime: number;
  /** When the session ends if it is not used any more. */
  readonly expiresAt: number;
  /** When the backend may delete the record. */
  readonly deleteAt: number;
  /** The user as the backend has it. */
  readonly user: string | undefined;
  /** For {@link SessionRecords}. */
  readonly scanned: ScannedRecord;
}

/** The records of a store's sessions, for code that need not decode them. */
export class SessionRecords {
  readonly #parts: StoreParts;
  readonly #keys: SessionKeys;
  readonly #listings: Listings;

  constructor(parts: StoreParts, keys: SessionKeys, listings: Listings) {
    this.#parts = parts;
    this.#keys = keys;
    this.#listings = listings;
  }

  /** All records of the prefix, page by page, tombstones included. */
  async *pages(operation: Operation, check: () => void): AsyncGenerator<SessionRecord[], void, undefined> {
    for await (const page of this.#listings.pages(operation, check)) {
      yield page.map(scanned => this.#describe(scanned));
    }
  }

  /** The record of a sid, or of an id that listings show in its place. */
  async find(sid: string, operation: Operation): Promise<SessionRecord | undefined> {
    for (const key of [this.#keys.keyOf(sid), this.#keys.keyOfPublicId(sid)]) {
      const found = key === undefined ? undefined : await this.#parts.backend.read(key, operation);
      if (found !== undefined) return this.#describe({ key: key as string, ...found });
    }
    return undefined;
  }

  /** The sid as listings show it; `undefined` if the record should contain it and cannot be read. */
  sidOf({ scanned: { key, record } }: SessionRecord): string | undefined {
    if (record === UNREADABLE) return this.#keys.isDigest(key) ? undefined : this.#keys.sidOf(key);
    return this.#parts.codec.sidOf(key, record);
  }

  /** The session of a live record. Reports a record that cannot be decoded and returns `null`. */
  async decode({ scanned: { key, record }, expiresAt }: SessionRecord): Promise<SessionData | null> {
    if (record === UNREADABLE) return this.#parts.codec.corrupt(key);
    return (await this.#parts.codec.decode(key, record, expiresAt))?.session ?? null;
  }

  /**
   * Destroys the session of a record, unless it was saved or used since the record was read. Returns whether it was
   * destroyed.
   */
  async remove({ scanned }: SessionRecord, operation: Operation): Promise<boolean> {
    const found = scanned as FoundRecord;
    const { tombstone, id, deleteAt } = newRemoval(this.#parts);
    const { activeAt } = found.record;
    const write = {
      record: tombstoneOver(found, tombstone),
      condition: ifVersion(found, activeAt, activeAt),
      deleteAt,
    };
    const result = await this.#parts.backend.write(scanned.key, write, operation);
    if (result.written) return true;
    // An earlier attempt of this removal may have had no response.
    return (result.current as FoundRecord | undefined)?.record.version === id;
  }

  #describe(scanned: ScannedRecord): SessionRecord {
    const { key, record } = scanned;
    const none = { bytes: 0, createdAt: 0, activeAt: 0, lifetime: 0, expiresAt: 0, deleteAt: 0 };
    const base = { sidHash: this.#keys.sidHashOf(key), user: undefined, scanned, ...none };
    if (record === UNREADABLE) return { ...base, state: "unreadable" };
    if (isTombstone(record)) return { ...base, state: "destroyed" };
    return { ...base, ...this.#timesOf(record), bytes: Buffer.byteLength(record.data), user: record.user };
  }

  #timesOf(record: StoredRecord) {
    const { now, lifetimes } = this.#parts.settings;
    const time = now();
    const { createdAt, activeAt, lifetime } = record;
    const state = hasEnded(record, time, lifetimes) ? ("ended" as const) : ("live" as const);
    const expiresAt = shownExpiry(record, time, lifetimes);
    return { state, createdAt, activeAt, lifetime, expiresAt, deleteAt: deleteAtOf(record, lifetimes) };
  }
}
