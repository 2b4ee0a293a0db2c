import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import type { ConflictPolicy } from "../../../lib/index.js";
import { mergeSessions, type SessionJson } from "./merging.js";

/*
 * The contract of the stores as a model, in the simplest code possible, without a backend and without any code of lib.
 * Sessions are JSON. Options are in seconds, times in milliseconds.
 */

export interface Rules {
  ttl: number | ((session: object) => number);
  /** `undefined`: the smaller of 60 s and 5 % of the session's lifetime. */
  touchAfter: number | undefined;
  absoluteTimeout: number | undefined;
  conflict: ConflictPolicy;
  disableTouch: boolean;
}

/** The stored record of a session. */
export interface Entry {
  readonly data: SessionJson;
  /** The number of its life. A session that is destroyed and created again has another life. */
  readonly life: number;
  /** The number of its last write. A touch does not count as a write. */
  readonly write: number;
  readonly lifetime: number;
  readonly activeAt: number;
  readonly createdAt: number;
  /** When the session was last used, by the true time, even if no write recorded that use. */
  readonly usedAt: number;
}

interface Tombstone {
  readonly destroyedAt: number;
}

/** The records that all stores with one prefix share. */
export class ModelBackend {
  readonly stored = new Map<string, Entry | Tombstone>();
  #writes = 0;

  nextWrite(): number {
    this.#writes += 1;
    return this.#writes;
  }
}

/** The clock of a store: the true time, and how far the clock is ahead. */
export interface ModelClock {
  readonly trueNow: () => number;
  readonly ahead: number;
  /** The largest difference between the clocks of the stores. */
  readonly spread: number;
}

/** What a store remembers about a session object. */
export interface Held {
  readonly sid: string;
  /** When the store first saw the object, by its own clock. */
  seenAt: number | undefined;
  /**
   * The stored record as far as the object's request has seen it. `undefined` before the first save of a new session.
   */
  entry: Entry | undefined;
  /** The merge base: the session as it was loaded or last saved, with the expiry in its cookie. */
  base: SessionJson;
  shownExpires: number | undefined;
  /** Whether the base is what is stored, and not the outcome of a merge. */
  isStored: boolean;
  /** The lifetime that the session had when it was loaded, or was last given. */
  lifetime: number | undefined;
  /** For an object of `all()`, which sets its `id`: the `id` that it had, if it had one. */
  ownId?: { id?: unknown };
}

/** The kind of a session object that the store does not recognize. */
export type Unknown = "plain" | "copy";

export interface Conflict {
  reason: "gone" | "merged" | "untracked";
  keys: string[];
}

export type Saved = "done" | "refused";

/** How long a running request can still save an ended session. */
const GRACE = 60_000;
const TOMBSTONE = 60 * 60_000;

/** What is remembered about a request's new session before its first save. */
export function newHeld(sid: string): Held {
  const times = { seenAt: undefined, shownExpires: undefined, lifetime: undefined };
  return { sid, entry: undefined, base: { cookie: {} }, isStored: false, ...times };
}

/** One store of a process. */
export class ModelStore {
  readonly #backend: ModelBackend;
  readonly #rules: Rules;
  readonly #clock: ModelClock;
  readonly #onConflict: (conflict: Conflict) => void;
  /** The last touch that this process wrote for each life. */
  readonly #touched = new Map<number, number>();

  constructor(
    backend: ModelBackend,
    rules: Rules,
    clock: ModelClock,
    onConflict: (conflict: Conflict) => void,
  ) {
    this.#backend = backend;
    this.#rules = rules;
    this.#clock = clock;
    this.#onConflict = onConflict;
  }

  /** The time by the clock of this store. */
  get now(): number {
    return this.#clock.trueNow() + this.#clock.ahead;
  }

  get(sid: string): SessionJson | null {
    const entry = this.#live(sid);
    return entry === undefined ? null : this.#shown(entry);
  }

  /** Loads a session for a request. Returns what the store remembers about it. */
  load(sid: string): Held | null {
    const entry = this.#live(sid);
    if (entry === undefined) return null;
    const base = this.#shown(entry);
    const { lifetime } = entry;
    const times = { seenAt: this.now, shownExpires: timesOf(base).expires, lifetime };
    return { sid, entry, base, isStored: true, ...times };
  }

  /** The live sessions, in any order. */
  list(): [sid: string, session: SessionJson][] {
    return [...this.#backend.stored.keys()]
      .map(sid => [sid, this.get(sid)] as const)
      .filter((found): found is [string, SessionJson] => found[1] !== null);
  }

  set(
    sid: string,
    session: SessionJson,
    holder: Held | Unknown,
    conflict: Rules["conflict"] = this.#rules.conflict,
  ): Saved {
    const held = typeof holder === "object" ? holder : undefined;
    if (held !== undefined) held.seenAt ??= this.now;
    const isLoaded = held?.entry !== undefined;
    const stored = this.#backend.stored.get(sid);
    const lifetime = this.#lifetimeAskedFor(session, held);
    const isEnd = lifetime <= 0 || this.#setsExpiryIntoPast(session, holder);

    if (
      stored === undefined ||
      isTombstone(stored) ||
      this.#isGone(stored) ||
      this.#isOverFor(holder, stored)
    ) {
      if (isLoaded || (holder === "copy" && stored !== undefined)) return this.#gone();
      if (isEnd) {
        const canBeSaved = stored !== undefined && !isTombstone(stored) && !this.#isGone(stored);
        if (canBeSaved) this.destroy(sid);
        return "done";
      }
      const created = { life: this.#backend.nextWrite(), createdAt: held?.seenAt ?? this.now };
      this.#write(sid, held, session, { ...created, data: session, lifetime, activeAt: 0, usedAt: 0 });
      return "done";
    }

    if (isLoaded && held?.entry?.life !== stored.life) return this.#gone();
    const isChanged = holder !== "plain" && held?.entry?.write !== stored.write;
    if (isChanged && conflict === "error") return "refused";
    if (isEnd) {
      this.#backend.stored.set(sid, { destroyedAt: this.now });
      return "done";
    }
    if (holder === "plain" || conflict !== "merge" || (!isChanged && held?.isStored)) {
      this.#write(sid, held, session, { ...stored, data: session, lifetime });
      return "done";
    }
    const setsExpiry = setsExpiryAlone(session, held);
    const merged = mergeSessions(isLoaded ? held?.base : undefined, session, this.#shown(stored), setsExpiry);
    const isReported = isChanged || merged.keys.length > 0;
    if (isReported) this.#onConflict({ reason: isLoaded ? "merged" : "untracked", keys: merged.keys });
    this.#write(sid, held, session, {
      ...stored,
      data: merged.data,
      lifetime: this.#mergedLifetime(merged.data, setsExpiry ? lifetime : stored.lifetime),
    });
    return "done";
  }

  touch(sid: string, session: SessionJson, held?: Held): Saved {
    if (this.#rules.disableTouch) return "done";
    const known = held?.entry;
    if (known !== undefined && this.#lifetimeAskedFor(session, held) !== held?.lifetime) {
      // Only the cookie, because express-session touches a session of which nothing else was changed.
      const asked = { ...(held as Held).base, cookie: session.cookie };
      const { conflict } = this.#rules;
      return this.set(sid, asked, held as Held, conflict === "overwrite" ? "merge" : conflict);
    }
    const usedAt = this.#lastUse(session, held);
    const stored = this.#aliveWhenUsed(sid, usedAt);
    if (stored === undefined) return "done";
    const used = { ...stored, usedAt: Math.max(stored.usedAt, usedAt - this.#clock.ahead) };
    const isDue =
      this.#isDue(known ?? stored, usedAt) &&
      usedAt > stored.activeAt &&
      (this.#canMove(known ?? stored, stored) || this.#isDue(stored, usedAt));
    if (!isDue) {
      this.#backend.stored.set(sid, used);
      return "done";
    }
    this.#backend.stored.set(sid, { ...used, activeAt: usedAt });
    this.#touched.set(stored.life, usedAt);
    if (held !== undefined && known?.write === stored.write && known.activeAt < usedAt) {
      held.entry = { ...known, activeAt: usedAt };
    }
    return "done";
  }

  destroy(sid: string): void {
    this.#backend.stored.set(sid, { destroyedAt: this.now });
  }

  clear(): void {
    for (const [sid, stored] of this.#backend.stored) if (!isTombstone(stored)) this.destroy(sid);
  }

  /** Deletes sessions that ended at least a minute ago and old tombstones. Returns how many sessions it deleted. */
  cleanup(now: number): number {
    let deleted = 0;
    for (const [sid, stored] of this.#backend.stored) {
      const deleteAt = isTombstone(stored) ? stored.destroyedAt + TOMBSTONE : this.#endOf(stored) + GRACE;
      if (deleteAt > now) continue;
      this.#backend.stored.delete(sid);
      if (!isTombstone(stored)) deleted += 1;
    }
    return deleted;
  }

  /** The times, by the clock of this store, at which something happens to the stored sessions. */
  boundaries(): number[] {
    return [...this.#backend.stored.values()].flatMap(stored => {
      if (isTombstone(stored)) return [stored.destroyedAt + TOMBSTONE];
      const end = this.#endOf(stored);
      return [this.#expiryOf(stored), end, end + GRACE, this.#absoluteEnd(stored)].filter(Number.isFinite);
    });
  }

  #gone(): Saved {
    this.#onConflict({ reason: "gone", keys: [] });
    return "done";
  }

  #write(sid: string, held: Held | undefined, session: SessionJson, content: Omit<Entry, "write">): void {
    const activeAt = this.#lastUse(session, held);
    const lifetime = this.#lifetimeAskedFor(session, held);
    const entry = {
      ...content,
      activeAt: Math.max(this.#coveredUse(sid, content), activeAt),
      usedAt: Math.max(content.usedAt, activeAt - this.#clock.ahead),
      write: this.#backend.nextWrite(),
    };
    this.#backend.stored.set(sid, entry);
    if (held === undefined) return;
    const isStored = isDeepStrictEqual(content.data, session);
    Object.assign(held, { entry, base: session, isStored, shownExpires: timesOf(session).expires, lifetime });
  }

  /** Skipped touches, which the longer lifetime of the stored session covered, are covered by a later use. */
  #coveredUse(sid: string, { life, activeAt, lifetime }: Omit<Entry, "write">): number {
    const stored = this.#backend.stored.get(sid);
    if (stored === undefined || isTombstone(stored) || stored.life !== life) return activeAt;
    const lost = this.#touchAfter(stored.lifetime) - this.#touchAfter(lifetime);
    return lost <= 0 ? activeAt : Math.max(activeAt, Math.min(this.now, activeAt + lost));
  }

  /**
   * The lifetime that the session requests. A cookie with only the expiry that it was given keeps the known lifetime.
   */
  #lifetimeAskedFor(session: SessionJson, held: Held | undefined): number {
    const { maxAge, expires } = timesOf(session);
    if (maxAge !== undefined) return Math.ceil(maxAge);
    if (expires === undefined) return this.#ttl(session);
    return expires === held?.shownExpires && held.lifetime !== undefined
      ? held.lifetime
      : Math.ceil(expires - this.now);
  }

  #mergedLifetime(session: SessionJson, ofExpiry: number): number {
    const { maxAge, expires } = timesOf(session);
    if (maxAge !== undefined) return Math.ceil(maxAge);
    // A lifetime that nobody requested must not end a session with changes of other requests.
    return expires === undefined ? Math.max(1, this.#ttl(session)) : ofExpiry;
  }

  #ttl(session: SessionJson): number {
    const { ttl } = this.#rules;
    return seconds(typeof ttl === "function" ? ttl(session) : ttl);
  }

  /** Whether the application set the cookie's expiry into the past. Otherwise the response just took that long. */
  #setsExpiryIntoPast(session: SessionJson, holder: Held | Unknown): boolean {
    const { expires } = timesOf(session);
    if (expires === undefined || expires > this.now) return false;
    if (typeof holder !== "object") return holder === "plain";
    const { entry, shownExpires, seenAt } = holder;
    return entry !== undefined && expires !== shownExpires && expires < (seenAt as number);
  }

  /** When the request used the session: when its cookie was renewed, or else now. */
  #lastUse(session: SessionJson, held: Held | undefined): number {
    const { maxAge, expires } = timesOf(session);
    const isRenewed = maxAge !== undefined && expires !== undefined && expires !== held?.shownExpires;
    return isRenewed ? Math.min(this.now, Math.floor(expires - maxAge)) : this.now;
  }

  /** Whether the use is late enough for a write, according to the known record. */
  #isDue(known: Entry, usedAt: number): boolean {
    const moved = usedAt - Math.max(known.activeAt, this.#touched.get(known.life) ?? known.activeAt);
    return moved > 0 && moved >= this.#touchAfter(known.lifetime);
  }

  /** Whether a touch that is based on the known record can move the stored session, even by less than `touchAfter`. */
  #canMove(known: Entry, stored: Entry): boolean {
    const isCapped = this.#rules.absoluteTimeout !== undefined;
    return known.lifetime === stored.lifetime && (!isCapped || known.createdAt === stored.createdAt);
  }

  /** The live session. Checks that its end matches its last use. */
  #live(sid: string): Entry | undefined {
    const stored = this.#backend.stored.get(sid);
    if (stored === undefined || isTombstone(stored)) return undefined;
    const isLive = this.now < this.#endOf(stored);
    const { trueNow, spread } = this.#clock;
    const latest = stored.usedAt + stored.lifetime + this.#touchAfter(stored.lifetime);
    if (isLive) assert.ok(trueNow() < latest + spread, "the session is found too late");
    const isCapped = this.#absoluteEnd(stored) <= this.now;
    const earliest = stored.usedAt + stored.lifetime;
    if (!isLive && !isCapped) assert.ok(trueNow() >= earliest - spread, "the session has ended too early");
    return isLive ? stored : undefined;
  }

  /** Whether an object that was not made of the session replaces it by another one. */
  #isOverFor(holder: Held | Unknown, stored: Entry): boolean {
    if (holder === "plain") return this.#absoluteEnd(stored) <= this.now;
    return typeof holder === "object" && holder.entry === undefined && this.#endOf(stored) <= this.now;
  }

  /** The session if it was alive at that time and ended less than a grace period ago. */
  #aliveWhenUsed(sid: string, usedAt: number): Entry | undefined {
    const live = this.#live(sid);
    const stored = this.#backend.stored.get(sid);
    if (live !== undefined || stored === undefined || isTombstone(stored)) return live;
    return usedAt < this.#endOf(stored) && !this.#isGone(stored) ? stored : undefined;
  }

  /** The session with its current expiry in the cookie, if the cookie has an expiry. */
  #shown(entry: Entry): SessionJson {
    const expiry = this.#expiryOf(entry);
    const shown = expiry > this.now ? expiry : this.#endOf(entry);
    const { expires } = timesOf(entry.data);
    if (expires === undefined || expires === shown) return entry.data;
    return { ...entry.data, cookie: { ...entry.data.cookie, expires: new Date(shown).toISOString() } };
  }

  #expiryOf(entry: Entry): number {
    return Math.min(entry.activeAt + entry.lifetime, this.#absoluteEnd(entry));
  }

  #endOf(entry: Entry): number {
    const { activeAt, lifetime } = entry;
    return Math.min(activeAt + lifetime + this.#touchAfter(lifetime), this.#absoluteEnd(entry));
  }

  #isGone(entry: Entry): boolean {
    return this.#endOf(entry) + GRACE <= this.now;
  }

  #absoluteEnd({ createdAt }: Entry): number {
    const { absoluteTimeout } = this.#rules;
    return absoluteTimeout === undefined ? Number.POSITIVE_INFINITY : createdAt + seconds(absoluteTimeout);
  }

  #touchAfter(lifetime: number): number {
    const { touchAfter, disableTouch } = this.#rules;
    if (disableTouch) return 0;
    return touchAfter === undefined ? Math.floor(Math.min(60_000, lifetime * 0.05)) : seconds(touchAfter);
  }
}

function isTombstone(stored: Entry | Tombstone): stored is Tombstone {
  return "destroyedAt" in stored;
}

/** Whether a request changed the expiry of a cookie that has no `maxAge`. */
function setsExpiryAlone(session: SessionJson, held: Held | undefined): boolean {
  const { maxAge, expires } = timesOf(session);
  return maxAge === undefined && (held?.entry === undefined || expires !== held.shownExpires);
}

function timesOf({ cookie }: SessionJson): { maxAge: number | undefined; expires: number | undefined } {
  const { originalMaxAge } = cookie;
  const expires = cookie.expires ?? cookie._expires;
  return {
    maxAge: typeof originalMaxAge === "number" ? originalMaxAge : undefined,
    expires: typeof expires === "string" ? Date.parse(expires) : undefined,
  };
}

function seconds(count: number): number {
  return Math.ceil(count * 1000);
}
