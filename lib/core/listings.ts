import type { SessionData } from "express-session";
import { EventLoopSlice } from "../support/event-loop-slice.js";
import { hasEnded, shownExpiry } from "./expiry.js";
import { guard } from "./guarded-backend.js";
import type { SessionKeys } from "./keys.js";
import type { Operation } from "./operation.js";
import {
  type FoundRecord,
  isPromise,
  isTombstone,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
} from "./record.js";
import { type SessionTracker, TrackedSession } from "./save/tracked-sessions.js";
import type { StoreParts } from "./store-parts.js";

/** A session of a listing and what the store knows of it. */
export interface ListedEntry {
  readonly sid: string;
  readonly session: SessionData;
  readonly tracked: TrackedSession;
}

/** Iterates over the sessions of one store. */
export class Listings {
  readonly #parts: StoreParts;
  readonly #keys: SessionKeys;
  readonly #tracker: SessionTracker;
  readonly #scan: (start: string, operation: Operation) => AsyncIterable<ScannedRecord[]>;

  constructor(
    parts: StoreParts,
    keys: SessionKeys,
    tracker: SessionTracker,
    scan: (start: string, operation: Operation) => AsyncIterable<ScannedRecord[]>,
  ) {
    this.#parts = parts;
    this.#keys = keys;
    this.#tracker = tracker;
    this.#scan = scan;
  }

  /**
   * The pages of the scan, without the keys of longer prefixes. Each page has the time limit.
   *
   * @param check - throws when the listing must end
   */
  async *pages(operation: Operation, check?: () => void): AsyncGenerator<ScannedRecord[], void, undefined> {
    const pages = this.#scan(this.#keys.keyPrefix, operation)[Symbol.asyncIterator]();
    const slice = new EventLoopSlice();
    try {
      for (;;) {
        check?.();
        operation.renew();
        const next = await operation.withTimeout(Promise.resolve(guard(() => pages.next())));
        if (next.done) return;
        yield next.value.filter(({ key }) => this.#keys.includes(key));
        if (slice.isUsedUp) await slice.yield();
      }
    } finally {
      // Not awaited: a scan that hangs must not hold up its consumer.
      pages.return?.().then(undefined, () => {});
    }
  }

  /** The function that tells whether a record is that of a live session. */
  isLiveNow(): (record: StoredRecord | typeof UNREADABLE) => record is StoredRecord {
    const { lifetimes, now } = this.#parts.settings;
    const time = now();
    return (record): record is StoredRecord =>
      record !== UNREADABLE && !isTombstone(record) && !hasEnded(record, time, lifetimes);
  }

  /** The sids of all live sessions, as listings show them. Decodes no session. */
  async *sids(operation: Operation): AsyncGenerator<string, void, undefined> {
    const isLive = this.isLiveNow();
    for await (const page of this.pages(operation)) {
      for (const { key, record } of page) {
        const sid = isLive(record) ? this.#parts.codec.sidOf(key, record) : undefined;
        if (sid !== undefined) yield sid;
      }
    }
  }

  /** The live sessions. They are tracked as those that `get` returns. */
  async *entries(operation: Operation, check?: () => void): AsyncGenerator<ListedEntry, void, undefined> {
    const { codec } = this.#parts;
    const slice = new EventLoopSlice();
    for await (const page of this.pages(operation, check)) {
      for (const { key, record, token } of page) {
        if (record === UNREADABLE) codec.corrupt(key);
        if (!this.isLiveNow()(record)) continue;
        const sid = codec.sidOf(key, record);
        const entry = await this.#decode(sid, key, { record, token }, operation);
        if (entry === undefined) continue;
        yield entry;
        operation.throwIfCancelled();
        check?.();
        // Not only after each page: large sessions take long to decode.
        if (slice.isUsedUp) await slice.yield();
      }
    }
  }

  async #decode(
    sid: string | undefined,
    key: string,
    found: FoundRecord,
    operation: Operation,
  ): Promise<ListedEntry | undefined> {
    const { codec, settings } = this.#parts;
    const now = settings.now();
    const decoded = codec.decode(key, found.record, shownExpiry(found.record, now, settings.lifetimes));
    operation.renew();
    const result = isPromise(decoded) ? await operation.withTimeout(decoded) : decoded;
    if (result === null || sid === undefined) return undefined;
    const { session } = result;
    const tracked = TrackedSession.ofDecoded(sid, key, now, found, result);
    this.#tracker.track(session, tracked);
    return { sid, session, tracked };
  }
}
