import { isDeepStrictEqual } from "node:util";
import type { ConflictPolicy } from "../../lib/index.js";

/*
 * The contract of the stores as a model: what a store does, in the plainest code there is, without a backend and
 * without anything of lib. Sessions are what JSON makes of them. Options are in seconds, times in milliseconds.
 */

/** A session as JSON has it. */
export type SessionJson = Record<string, unknown> & { cookie: Record<string, unknown> };

export interface Rules {
  ttl: number;
  /** `undefined`: the smaller of 60 s and 5 % of the session's lifetime. */
  touchAfter: number | undefined;
  absoluteTimeout: number | undefined;
  conflict: ConflictPolicy;
  disableTouch: boolean;
}

interface Expiry {
  /** When the session ends for its owner: what its cookie says. */
  shown: number;
  /** When the store ends it: later, so that touches can be skipped. */
  end: number;
}

/** What is stored of a session. */
interface Entry {
  data: SessionJson;
  /** A session that is removed and created again has another life. */
  life: number;
  /** Names the last write. A touch is none. */
  write: number;
  created: number;
  expiry: Expiry;
}

/** What is known of a session that a request holds. */
export interface Held {
  readonly sid: string;
  /** What was stored when it was loaded or last saved; `undefined` for a new one before its first save. */
  entry: Entry | undefined;
  /** The end that is known from then, or from a touch by this request. */
  knownEnd: number;
  /** The session as the request had it then, and the end in its cookie. */
  data: SessionJson;
  cookieEnd: number | undefined;
}

/** What is known of a new session before its first save. */
export function newHeld(sid: string): Held {
  return { sid, entry: undefined, knownEnd: 0, data: { cookie: {} }, cookieEnd: undefined };
}

export interface Conflict {
  reason: "gone" | "merged";
  keys: string[];
}

export type Saved = "done" | "refused";

/** Expired sessions stay for this long: a request that was running can still save its own. */
const GRACE = 60_000;

/** The sessions of one prefix. */
export class ModelStore {
  readonly entries = new Map<string, Entry>();
  readonly #rules: Rules;
  readonly #now: () => number;
  readonly #onConflict: (conflict: Conflict) => void;
  #writes = 0;

  constructor(rules: Rules, now: () => number, onConflict: (conflict: Conflict) => void) {
    this.#rules = rules;
    this.#now = now;
    this.#onConflict = onConflict;
  }

  get(sid: string): SessionJson | null {
    const entry = this.#live(sid);
    return entry === undefined ? null : shownData(entry);
  }

  /** What a request that loads a session knows of it from then on. */
  load(sid: string): Held | null {
    const entry = this.#live(sid);
    if (entry === undefined) return null;
    const { end, shown } = entry.expiry;
    return { sid, entry, knownEnd: end, data: entry.data, cookieEnd: shown };
  }

  /** The live sessions, in no order. */
  list(): [sid: string, session: SessionJson][] {
    return [...this.entries.keys()]
      .map(sid => [sid, this.get(sid)] as const)
      .filter((found): found is [string, SessionJson] => found[1] !== null);
  }

  /** Saves a session that a request holds, or one of which nothing is known. */
  set(sid: string, session: SessionJson, held?: Held): Saved {
    const now = this.#now();
    const loaded = held?.entry;
    const own = this.#expiry(session, loaded?.created ?? now);
    const cookieEnd = endOfCookie(session.cookie);
    // A cookie that says what it said when the session was loaded, or a later end, is a keep-alive at most.
    const known = loaded === undefined ? undefined : held?.cookieEnd;
    const wants = known === undefined || cookieEnd === undefined || cookieEnd < known;
    if (wants && own.shown <= now) {
      this.entries.delete(sid);
      return "done";
    }
    if (held === undefined || loaded === undefined) {
      const entry = this.#put(sid, { data: session, life: ++this.#writes, created: now, expiry: own });
      if (held !== undefined) remember(held, entry, session, cookieEnd);
      return "done";
    }
    const stored = this.entries.get(sid);
    if (stored === undefined || stored.life !== loaded.life) {
      this.#onConflict({ reason: "gone", keys: [] });
      return "done";
    }
    const changed = stored.write !== loaded.write;
    const { conflict } = this.#rules;
    if (changed && conflict === "error") return "refused";
    const merged = merge(held.data, session, stored.data);
    if (changed && conflict === "merge") this.#onConflict({ reason: "merged", keys: merged.keys });
    // Of keep-alives, and of what two requests want, the later end stays.
    const decides = wants && (!changed || conflict !== "merge");
    const expiry = decides || own.shown > stored.expiry.shown ? own : stored.expiry;
    const alone = !changed && isDeepStrictEqual(held.data, stored.data);
    const ownCookie = alone || decides || own.shown >= stored.expiry.shown;
    const cookie = ownCookie ? session.cookie : shownData(stored).cookie;
    const data = changed && conflict === "overwrite" ? session : { ...merged.data, cookie };
    const entry = this.#put(sid, { data, life: stored.life, created: stored.created, expiry });
    remember(held, entry, session, cookieEnd);
    return "done";
  }

  touch(sid: string, session: SessionJson, held?: Held): void {
    if (this.#rules.disableTouch) return;
    const stored = this.entries.get(sid);
    const loaded = held?.entry;
    const created = loaded?.created ?? stored?.created;
    if (created === undefined) return;
    const own = this.#expiry(session, created);
    if (own.end <= this.#now()) return;
    if (held !== undefined && loaded !== undefined) {
      const moved = own.end - held.knownEnd;
      // Skipped where it is too little; but not if the session would then end before its cookie says.
      if (moved < 0 || (moved < own.touchAfter && own.shown <= held.knownEnd)) return;
    }
    if (stored === undefined || stored.expiry.end <= this.#now() || stored.expiry.end >= own.end) return;
    this.entries.set(sid, { ...stored, expiry: own });
    if (held !== undefined) held.knownEnd = Math.max(held.knownEnd, own.end);
  }

  destroy(sid: string): void {
    this.entries.delete(sid);
  }

  clear(): void {
    this.entries.clear();
  }

  /** Removes what expired long enough ago, and tells how many that were. */
  cleanup(): number {
    const over = [...this.entries].filter(([, { expiry }]) => expiry.end + GRACE <= this.#now());
    for (const [sid] of over) this.entries.delete(sid);
    return over.length;
  }

  /** The times at which something happens to the stored sessions. */
  boundaries(): number[] {
    return [...this.entries.values()].flatMap(({ expiry: { shown, end }, created }) => [
      shown,
      end,
      end + GRACE,
      created + seconds(this.#rules.absoluteTimeout ?? 0),
    ]);
  }

  #live(sid: string): Entry | undefined {
    const entry = this.entries.get(sid);
    return entry !== undefined && this.#now() < entry.expiry.end ? entry : undefined;
  }

  #put(sid: string, entry: Omit<Entry, "write">): Entry {
    const written = { ...entry, write: ++this.#writes };
    this.entries.set(sid, written);
    return written;
  }

  #expiry(session: SessionJson, created: number): Expiry & { touchAfter: number } {
    const { ttl, touchAfter: chosen, absoluteTimeout, disableTouch } = this.#rules;
    const now = this.#now();
    const wanted = endOfCookie(session.cookie) ?? now + seconds(ttl);
    const latest =
      absoluteTimeout === undefined ? Number.POSITIVE_INFINITY : created + seconds(absoluteTimeout);
    const automatic = Math.floor(Math.max(0, Math.min(60_000, (wanted - now) * 0.05)));
    const touchAfter = disableTouch ? 0 : chosen === undefined ? automatic : seconds(chosen);
    const shown = Math.min(wanted, latest);
    return { shown, end: shown <= now ? shown : Math.min(wanted + touchAfter, latest), touchAfter };
  }
}

function remember(held: Held, entry: Entry, data: SessionJson, cookieEnd: number | undefined): void {
  Object.assign(held, { entry, knownEnd: entry.expiry.end, data, cookieEnd });
}

/** What a request changed since `base`, done to `theirs`. Not the cookie: its expiry decides on that. */
function merge(
  base: SessionJson,
  mine: SessionJson,
  theirs: SessionJson,
): { data: SessionJson; keys: string[] } {
  const data = new Map(Object.entries(theirs));
  const changed = changedKeys(base, mine).filter(key => key !== "cookie");
  const changedByOthers = changedKeys(base, theirs);
  for (const key of changed) {
    if (Object.hasOwn(mine, key)) data.set(key, mine[key]);
    else data.delete(key);
  }
  const disputed = changedKeys(mine, theirs);
  const keys = changed.filter(key => changedByOthers.includes(key) && disputed.includes(key));
  return { data: Object.fromEntries(data) as SessionJson, keys };
}

function changedKeys(before: SessionJson, after: SessionJson): string[] {
  const field = (session: SessionJson, key: string) => (Object.hasOwn(session, key) ? [session[key]] : []);
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    key => !isDeepStrictEqual(field(before, key), field(after, key)),
  );
}

/** The session with its current end in the cookie, if the cookie has one at all. */
function shownData({ data, expiry }: Entry): SessionJson {
  const end = endOfCookie(data.cookie);
  if (end === undefined || end === expiry.shown) return data;
  return { ...data, cookie: { ...data.cookie, expires: new Date(expiry.shown).toISOString() } };
}

function endOfCookie({ expires }: Record<string, unknown>): number | undefined {
  return typeof expires === "string" ? Date.parse(expires) : undefined;
}

function seconds(count: number): number {
  return Math.ceil(count * 1000);
}
