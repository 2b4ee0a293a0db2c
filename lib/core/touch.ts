import type { SessionData } from "express-session";
import { dropOldest } from "../support/drop-oldest.js";
import { type CookieTimes, isShorterByStep } from "./cookie.js";
import { deleteAtOf, earliestActivity, GRACE_MS, touchAfterMs } from "./expiry.js";
import type { Operation } from "./operation.js";
import {
  type Awaitable,
  type Found,
  type FoundRecord,
  isPromise,
  isSession,
  type StoredRecord,
  touchedRecord,
  type WriteResult,
} from "./record.js";
import { lastUse, requestedLifetime } from "./save/requested-lifetime.js";
import type { TrackedSession } from "./save/tracked-sessions.js";
import { incarnationOf } from "./save/write-ids.js";
import type { StoreParts } from "./store-parts.js";
import { entryOf } from "./users/entry.js";

/** How a touch ended: `skipped` if it would move too little, `none` if there is no session to touch. */
export type TouchOutcome = "extended" | "skipped" | "none";

/** Bounds what is remembered of touches: the requests of a burst follow each other closely. */
const MAX_RECENT = 1000;
/** How many are dropped together when there are more. */
const DROPPED_RECENT = 100;

/** A touch that has been sent. */
interface PendingTouch {
  readonly activeAt: number;
  readonly lifetime: number;
  readonly operation: Operation;
  readonly result: PromiseLike<WriteResult>;
}

/** Moves the last use of sessions. Of the touches that arrive together for one session, one is written. */
export class Toucher {
  readonly #parts: StoreParts;
  readonly #pending = new Map<string, PendingTouch>();
  /** The `activeAt` that this process wrote last, by incarnation: another session may get the same sid. */
  readonly #recent = new Map<string, number>();

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /** Whether the request has changed the lifetime, so that a touch is not enough. */
  changesLifetime(session: SessionData, times: CookieTimes, tracked: TrackedSession, now: number): boolean {
    const requested = requestedLifetime(session, times, tracked, now, this.#parts.settings);
    const isSame = requested === tracked.lifetime || isShorterByStep(tracked.lifetime, requested);
    return requested <= 0 || !isSame;
  }

  /** @param tracked - what is known of the session; without it the record is read first */
  touch(
    key: string,
    times: CookieTimes,
    tracked: TrackedSession | undefined,
    now: number,
    operation: Operation,
  ): Awaitable<TouchOutcome> {
    const activeAt = lastUse(times, tracked, now);
    const { stored } = tracked ?? {};
    if (stored === undefined) return this.#touchUnknown(key, activeAt, operation);
    if (!this.#isDue(stored.record, activeAt)) return "skipped";
    const result = this.#send(key, stored, activeAt, operation);
    return isPromise(result)
      ? result.then(settled => this.#settle(key, stored, activeAt, settled, tracked, operation))
      : this.#settle(key, stored, activeAt, result, tracked, operation);
  }

  async #touchUnknown(key: string, activeAt: number, operation: Operation): Promise<TouchOutcome> {
    const found = await this.#parts.backend.read(key, operation);
    return await this.#touchFound(key, found, activeAt, undefined, operation);
  }

  /** Terminates: every rejection means that somebody else changed the record. */
  async #touchFound(
    key: string,
    found: Found | undefined,
    activeAt: number,
    tracked: TrackedSession | undefined,
    operation: Operation,
  ): Promise<TouchOutcome> {
    operation.throwIfAbandoned();
    if (!this.#wasAlive(found, activeAt)) return "none";
    if (!this.#isDue(found.record, activeAt)) return "skipped";
    const result = await this.#send(key, found, activeAt, operation);
    return await this.#settle(key, found, activeAt, result, tracked, operation);
  }

  #settle(
    key: string,
    seen: FoundRecord,
    activeAt: number,
    result: WriteResult,
    tracked: TrackedSession | undefined,
    operation: Operation,
  ): Awaitable<TouchOutcome> {
    if (!result.written) return this.#touchFound(key, result.current, activeAt, tracked, operation);
    // A touch that has joined another one has moved the record no further than that one.
    const movedTo = Math.min(activeAt, this.#recentOf(seen.record) ?? activeAt);
    tracked?.touched(seen, movedTo, result.token);
    return "extended";
  }

  /** Whether the session was alive when it was used. The response may have taken longer than that. */
  #wasAlive(found: Found | undefined, activeAt: number): found is FoundRecord {
    return isSession(found) && found.record.activeAt >= this.#activeFrom(found.record, activeAt);
  }

  /** The earliest `activeAt` with which the session was alive, and has not ended a grace period ago. */
  #activeFrom(record: StoredRecord, activeAt: number): number {
    const { now, lifetimes } = this.#parts.settings;
    return Math.max(
      earliestActivity(record, activeAt, 0, lifetimes),
      earliestActivity(record, now(), GRACE_MS, lifetimes),
    );
  }

  /** Whether a touch of this record is worth a write. */
  #isDue(record: StoredRecord, activeAt: number): boolean {
    const { lifetimes } = this.#parts.settings;
    const moved = activeAt - Math.max(record.activeAt, this.#recentOf(record) ?? record.activeAt);
    return moved > 0 && moved >= touchAfterMs(record.lifetime, lifetimes);
  }

  /** Sends a touch, or joins one in flight that moves the record far enough. */
  #send(key: string, seen: FoundRecord, activeAt: number, operation: Operation): Awaitable<WriteResult> {
    const { backend, ids, settings } = this.#parts;
    const { record } = seen;
    const coverMs = touchAfterMs(record.lifetime, settings.lifetimes);
    const pending = this.#pending.get(key);
    if (pending?.lifetime === record.lifetime && activeAt - pending.activeAt < Math.max(1, coverMs)) {
      // If it fails or its own caller's time is up, this one is sent on its own.
      return pending.operation.withTimeout(pending.result).catch(() => {
        this.#settled(key, pending);
        return this.#send(key, seen, activeAt, operation);
      });
    }
    operation.throwIfAbandoned();
    const touched = touchedRecord(record, activeAt);
    const touch = {
      activeAt,
      lifetime: record.lifetime,
      createdAt: settings.lifetimes.absoluteTimeoutMs === undefined ? undefined : record.createdAt,
      activeFrom: this.#activeFrom(record, activeAt),
      deleteAt: deleteAtOf(touched, settings.lifetimes),
      seen,
      entry: record.user === undefined ? undefined : entryOf(record, touched, ids.next(), settings.lifetimes),
    };
    const result = backend.touch(key, touch, operation);
    if (!isPromise(result)) return this.#noted(record, activeAt, result);
    const sent: PendingTouch = {
      activeAt,
      lifetime: record.lifetime,
      operation,
      result: result.then(
        settled => {
          this.#settled(key, sent);
          return this.#noted(record, activeAt, settled);
        },
        error => {
          this.#settled(key, sent);
          throw error;
        },
      ),
    };
    this.#pending.set(key, sent);
    return sent.result;
  }

  #settled(key: string, sent: PendingTouch): void {
    if (this.#pending.get(key) === sent) this.#pending.delete(key);
  }

  #recentOf({ version }: StoredRecord): number | undefined {
    // The incarnation is a new string: it is not made where every touch is written and none is remembered.
    return this.#recent.size === 0 ? undefined : this.#recent.get(incarnationOf(version));
  }

  /** Remembers a touch, so that requests that loaded the session before it do not write another. */
  #noted(record: StoredRecord, activeAt: number, result: WriteResult): WriteResult {
    if (!result.written || this.#parts.settings.lifetimes.touchAfterMs === 0) return result;
    const incarnation = incarnationOf(record.version);
    this.#recent.delete(incarnation);
    this.#recent.set(incarnation, activeAt);
    if (this.#recent.size > MAX_RECENT) dropOldest(this.#recent, DROPPED_RECENT);
    return result;
  }
}
