import type { EventEmitter } from "node:events";
import type { SessionData } from "express-session";
import { cookieExpiryOf, cookieTimesOf } from "./cookie.js";
import { emitLater } from "./events.js";
import { hasEnded, shownExpiry } from "./expiry.js";
import type { SessionKeys } from "./keys.js";
import type { Operation } from "./operation.js";
import {
  type Awaitable,
  chain,
  type Found,
  type FoundRecord,
  isPromise,
  isTombstone,
  UNREADABLE,
} from "./record.js";
import { newRemoval } from "./removal.js";
import { SaveOperation, type SaveOutcome } from "./save/save.js";
import { assertSession, originOf, withoutListedId } from "./save/session-objects.js";
import { SessionTracker, TrackedSession } from "./save/tracked-sessions.js";
import { WriteQueue } from "./save/write-queue.js";
import type { Peeked } from "./store-internals.js";
import type { ConflictPolicy, StoreSettings } from "./store-options.js";
import type { StoreParts } from "./store-parts.js";
import { Toucher } from "./touch.js";

/** What a store does with one session, on the records of its backend. */
export class Sessions {
  readonly tracker = new SessionTracker();
  readonly #parts: StoreParts;
  readonly #keys: SessionKeys;
  readonly #emitter: EventEmitter;
  readonly #settings: StoreSettings;
  readonly #toucher: Toucher;
  readonly #writes = new WriteQueue();

  /** @param emitter - emits the events of the sessions */
  constructor(parts: StoreParts, keys: SessionKeys, emitter: EventEmitter) {
    this.#parts = parts;
    this.#keys = keys;
    this.#emitter = emitter;
    this.#settings = parts.settings;
    this.#toucher = new Toucher(parts);
  }

  get(sid: string, operation: Operation): Awaitable<SessionData | null> {
    const key = this.#keys.keyOf(sid);
    return chain(this.#parts.backend.read(key, operation), found => this.#toSession(sid, key, found));
  }

  #toSession(sid: string, key: string, found: Found | undefined): Awaitable<SessionData | null> {
    if (found === undefined) return null;
    const { codec } = this.#parts;
    const { record } = found;
    if (record === UNREADABLE) return codec.corrupt(key);
    if (isTombstone(record)) return null;
    const { lifetimes } = this.#settings;
    const now = this.#settings.now();
    if (hasEnded(record, now, lifetimes)) {
      emitLater(this.#emitter, "expired", () => ({
        reason: "found" as const,
        sidHash: this.#keys.sidHashOf(key),
      }));
      return null;
    }
    return chain(codec.decode(key, record, shownExpiry(record, now, lifetimes)), decoded => {
      if (decoded === null) return null;
      const tracked = TrackedSession.ofDecoded(sid, key, now, found as FoundRecord, decoded);
      this.tracker.track(decoded.session, tracked);
      return decoded.session;
    });
  }

  set(sid: string, session: SessionData, operation: Operation): Awaitable<void> {
    assertSession(session);
    const now = this.#settings.now();
    const tracked = this.tracker.find(session, sid) ?? this.#trackNew(sid, session, now);
    return this.save(tracked, withoutListedId(session, tracked), operation, now);
  }

  #trackNew(sid: string, session: SessionData, now: number): TrackedSession {
    const origin = originOf(session);
    const tracked = new TrackedSession(sid, this.#keys.keyOf(sid), origin, now);
    // Its next save must not bring it back if it is destroyed in between. An object that is known under another sid
    // stays the session with that sid.
    if (origin !== "plain" && !this.tracker.knows(session)) this.tracker.track(session, tracked);
    return tracked;
  }

  save(
    tracked: TrackedSession,
    session: SessionData,
    operation: Operation,
    now: number = this.#settings.now(),
    conflict: ConflictPolicy = this.#settings.conflict,
  ): Awaitable<void> {
    const save = new SaveOperation(this.#parts, operation, tracked, session, now, conflict);
    const outcome = this.#writes.run(tracked.key, operation, latest => save.run(latest));
    return isPromise(outcome)
      ? outcome.then(settled => this.#report(tracked, settled, operation))
      : this.#report(tracked, outcome, operation);
  }

  #report(tracked: TrackedSession, { reason, keys }: SaveOutcome, operation: Operation): void {
    operation.end(reason === "untracked" ? "merged" : reason);
    if (reason === "written" || reason === "removed") return;
    emitLater(this.#emitter, "conflict", () => ({
      reason,
      keys: [...keys],
      sidHash: this.#keys.sidHashOf(tracked.key),
    }));
  }

  destroy(sid: string, operation: Operation): Awaitable<void> {
    const key = this.#keys.keyOf(sid);
    const listedKey = this.#keys.keyOfPublicId(sid);
    const remove = (each: string) => {
      operation.throwIfAbandoned();
      return this.#parts.backend.remove(each, newRemoval(this.#parts), operation) as Awaitable<undefined>;
    };
    const removed = this.#writes.run(key, operation, () => remove(key));
    return listedKey === undefined ? removed : chain(removed, () => remove(listedKey));
  }

  touch(sid: string, session: SessionData, operation: Operation): Awaitable<void> {
    assertSession(session);
    const tracked = this.tracker.find(session, sid);
    const key = tracked === undefined ? this.#keys.keyOf(sid) : tracked.key;
    if (this.#settings.disableTouch) return operation.end("skipped");
    const known = tracked?.stored === undefined ? undefined : tracked;
    const times = cookieTimesOf(session);
    const now = this.#settings.now();
    if (known !== undefined && this.#toucher.changesLifetime(session, times, known, now)) {
      return chain(this.#changeLifetime(session, known, operation), () => operation.end("extended"));
    }
    const outcome = this.#toucher.touch(key, times, known, now, operation);
    return isPromise(outcome) ? outcome.then(settled => operation.end(settled)) : operation.end(outcome);
  }

  /** express-session only touches a session if its cookie is all that the request has changed. */
  #changeLifetime(session: SessionData, tracked: TrackedSession, operation: Operation): Awaitable<void> {
    const { cookie } = session;
    const { conflict, now } = this.#settings;
    // A touch overwrites nothing but the lifetime.
    const merging = conflict === "overwrite" ? "merge" : conflict;
    return chain(this.#parts.codec.parse(tracked.baseText as string), fields =>
      this.save(tracked, { ...fields, cookie }, operation, now(), merging),
    );
  }

  async peek(sid: string, key: string, operation: Operation): Promise<Peeked> {
    const found = await this.#parts.backend.read(key, operation);
    if (found === undefined) return { state: "absent" };
    const session = await this.#toSession(sid, key, found);
    if (session !== null) return { state: "live", session, version: (found as FoundRecord).record.version };
    if (found.record === UNREADABLE) return { state: "unreadable" };
    if (isTombstone(found.record)) return { state: "destroyed" };
    return {
      state: hasEnded(found.record, this.#settings.now(), this.#settings.lifetimes) ? "ended" : "unreadable",
    };
  }

  adopt(sid: string, session: SessionData, peeked: Peeked): void {
    const tracked = this.#trackedAs(sid, peeked);
    tracked.shownElsewhere(cookieExpiryOf(session));
    this.tracker.track(session, tracked);
  }

  rebase(sid: string, session: SessionData, peeked: Peeked): void {
    const known = this.tracker.find(session, sid);
    const tracked = this.#trackedAs(sid, peeked);
    if (known !== undefined) tracked.shownElsewhere(known.shownExpires);
    this.tracker.track(session, tracked);
  }

  #trackedAs(sid: string, peeked: Peeked): TrackedSession {
    if (peeked.state === "live") return (this.tracker.find(peeked.session) as TrackedSession).clone();
    const origin = peeked.state === "absent" ? "mirrored" : "moved";
    return new TrackedSession(sid, this.#keys.keyOf(sid), origin, this.#settings.now());
  }

  async insert(sid: string, session: SessionData, operation: Operation): Promise<boolean> {
    assertSession(session);
    const tracked = new TrackedSession(sid, this.#keys.keyOf(sid), "moved", this.#settings.now());
    const { now, conflict } = this.#settings;
    const save = new SaveOperation(this.#parts, operation, tracked, session, now(), conflict);
    const { reason } = await this.#writes.run(tracked.key, operation, latest => save.run(latest));
    return reason === "written";
  }
}
