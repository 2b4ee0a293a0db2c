import { types } from "node:util";
import type { SessionData } from "express-session";
import type { Decoded } from "../codec.js";
import { cookieOf } from "../cookie.js";
import { type FoundRecord, touchedRecord } from "../record.js";
import type { UserForms } from "../users/user-ids.js";
import { objectNotes } from "./object-notes.js";

/**
 * What a session object is to the store:
 * - `loaded`: it was loaded from the store, or has been saved;
 * - `new`: a request's `Session` that has not been saved;
 * - `copy`: a copy of a `Session` that the store does not know;
 * - `moved`: a session of another store, for a key under which no live session is;
 * - `mirrored`: a session that a request has loaded from another store, when nothing was stored in this one;
 * - `plain`: data that somebody else put together.
 */
export type Origin = "loaded" | "new" | "copy" | "moved" | "mirrored" | "plain";

/** A write whose response has not arrived. */
export interface InDoubtWrite {
  readonly id: string;
  /** The session as it was written, serialized: the merge base if the write took place. */
  readonly text: string;
}

/** A session as a request holds it. */
export interface RequestedSession {
  /** The session, serialized. */
  readonly text: string;
  readonly lifetime: number;
  /** The expiry in its cookie. */
  readonly expires: number | undefined;
}

/** More writes in doubt than this are of no use, and each holds the text of a session. */
const MAX_IN_DOUBT = 4;

const NONE: readonly InDoubtWrite[] = [];

/** What the store knows of one session object: what it was loaded from, so that saves are conditional and merge. */
export class TrackedSession {
  readonly sid: string;
  readonly key: string;
  /** When the session was loaded or, if it is new, seen for the first time. */
  readonly seenAt: number;
  /** For an object of `all()`, which sets its `id`: the `id` that it had, if it had one. */
  ownId: { id?: unknown } | undefined;

  /** Whether the request has a new session by now: the cookie and the request say nothing of this one any more. */
  isReplaced = false;

  // Only the methods below write these fields.
  origin: Origin;
  /** The record that is stored, as far as is known, and the serialized session in it. */
  stored: FoundRecord | undefined;
  storedText = "";
  /** The serialized session as it was loaded or last saved. Differences from it are this request's changes. */
  baseText: string | undefined;
  /** The lifetime, and the expiry in the cookie, at that time. Other ones are this request's doing. */
  lifetime: number | undefined;
  shownExpires: number | undefined;
  inDoubt = NONE;
  /** A save is none of this session's business if it has another user by now. For changes by an administrator. */
  onlyUser: UserForms | undefined;

  constructor(sid: string, key: string, origin: Origin, seenAt: number) {
    this.sid = sid;
    this.key = key;
    this.origin = origin;
    this.seenAt = seenAt;
  }

  /** What is known of a session that was just decoded. */
  static ofDecoded(
    sid: string,
    key: string,
    now: number,
    found: FoundRecord,
    { text, cookieExpires }: Decoded,
  ): TrackedSession {
    const tracked = new TrackedSession(sid, key, "loaded", now);
    tracked.loaded(found, text, cookieExpires);
    return tracked;
  }

  /** The object holds what was read from this record. */
  loaded(stored: FoundRecord, text: string, shownExpires: number | undefined): void {
    this.origin = "loaded";
    this.stored = stored;
    this.storedText = text;
    this.baseText = text;
    this.lifetime = stored.record.lifetime;
    this.shownExpires = shownExpires;
  }

  /** The object was loaded from another store, with this expiry in its cookie. */
  shownElsewhere(expires: number | undefined): void {
    this.shownExpires = expires;
  }

  /** A save took place. `storedText` is what was written, `own` what the request holds. */
  saved(stored: FoundRecord, storedText: string, own: RequestedSession): void {
    this.loaded(stored, storedText, own.expires);
    this.baseText = own.text;
    this.lifetime = own.lifetime;
    this.inDoubt = NONE;
  }

  /** A touch took place. */
  touched(from: FoundRecord, activeAt: number, token: unknown): void {
    const record = this.stored?.record;
    if (record?.version !== from.record.version || record.activeAt >= activeAt) return;
    this.stored = { record: touchedRecord(record, activeAt), token };
  }

  /** A write was sent. It is in doubt until {@link saved} or {@link rejected}. */
  sent(id: string, text: string): void {
    this.inDoubt = [...this.inDoubt.slice(1 - MAX_IN_DOUBT), { id, text }];
  }

  /** It is known that a write did not take place. */
  rejected(id: string): void {
    this.inDoubt = this.inDoubt.filter(write => write.id !== id);
  }

  /** A copy for another object that was made of this one. */
  clone(): TrackedSession {
    return Object.assign(new TrackedSession(this.sid, this.key, this.origin, this.seenAt), this);
  }
}

/** What a store knows of the session objects in use. */
export class SessionTracker {
  readonly #tracked = objectNotes<TrackedSession>();

  /**
   * Finds what is known of an object, or of the object that it is a copy or a proxy of.
   *
   * @param sid - if given, only what is known under this sid
   */
  find(session: RequestSession, sid?: string): TrackedSession | undefined {
    const own = this.#get(session, sid);
    if (own !== undefined) return own;
    // A spread has the cookie of its original. So has a proxy, or else a proxy of it: then it has the same request.
    const ofCookie = this.#get(cookieOf(session), sid);
    const shared = ofCookie ?? (types.isProxy(session) ? this.#get(session.req, sid) : undefined);
    return shared?.isReplaced ? undefined : shared;
  }

  #get(object: unknown, sid: string | undefined): TrackedSession | undefined {
    const tracked = isObject(object) ? this.#tracked.get(object) : undefined;
    return sid === undefined || tracked?.sid === sid ? tracked : undefined;
  }

  /** Notes what is known of an object, and of what its copies and proxies share with it. */
  track(session: RequestSession, tracked: TrackedSession): void {
    const cookie = cookieOf(session);
    const { req } = session;
    this.#tracked.set(session, tracked);
    if (cookie !== undefined) this.#tracked.set(cookie, tracked);
    if (isObject(req)) this.#tracked.set(req, tracked);
  }

  /** Whether it is known what an object is, under whatever sid. */
  knows(session: SessionData): boolean {
    return this.#tracked.get(session) !== undefined;
  }

  /**
   * What is known of an object, for one that is made of it. Call the function that it returns with the new object.
   * express-session replaces the cookie of the first one in between.
   */
  carryOver(from: SessionData): (to: SessionData) => void {
    const tracked = this.find(from)?.clone();
    return to => {
      if (tracked !== undefined) this.track(to, tracked);
    };
  }

  /** A request gets a new session, which may have the cookie object of the old one, and the same sid. */
  replaceSession(req: object): void {
    const tracked = this.#tracked.get(req);
    if (tracked !== undefined) tracked.isReplaced = true;
  }
}

/** A session that may be the one of a request. */
type RequestSession = SessionData & { req?: unknown };

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
