import type { SessionData } from "express-session";
import type { Peeked, StoreInternals } from "../core/store-internals.js";
import { StoreError } from "../errors.js";
import { dropOldest } from "../support/drop-oldest.js";
import { differingKeys } from "./differing-keys.js";
import type { OldStore } from "./old-store.js";

/**
 * Which store is read and written. The stages are passed in this order, or back. Neighbors may run side by side.
 *
 * - `"from"`: the old store alone, except that sign-outs leave a tombstone in the new one, which is looked for.
 * - `"from-first"`: the old store is read, both are written.
 * - `"to-first"`: the new store is read, and what is missing is moved from the old one. Both are written.
 * - `"to"`: the new store alone.
 */
export type Stage = "from" | "from-first" | "to-first" | "to";

export const STAGES: readonly Stage[] = ["from", "from-first", "to-first", "to"];

/** What a stage notes of a session. */
interface StageEvents {
  moved(sid: string): void;
  /** The values of these keys differ between the stores. */
  mismatch(sid: string, keys: string[]): void;
  readFrom(store: "from" | "to"): void;
}

/** Bounds what a process remembers of sessions. */
const MAX_NOTED = 50_000;

/** More often than requests change one session while it is written once. */
const MAX_ROUNDS = 100;

type LiveSession = Extract<Peeked, { state: "live" }>;

/** What a migrating store does in one stage. */
export interface StageOperations {
  get(sid: string): Promise<SessionData | null>;
  set(sid: string, session: SessionData): Promise<void>;
  touch(sid: string, session: SessionData): Promise<void>;
  destroy(sid: string): Promise<void>;
}

/** The two stores, and whom to tell. */
export interface Migration {
  readonly from: OldStore;
  readonly to: StoreInternals & { destroy(sid: string): Promise<void> };
  readonly events: StageEvents;
}

export function operationsOf(stage: Stage, migration: Migration): StageOperations {
  switch (stage) {
    case "from":
      return new FromStage(migration);
    case "from-first":
      return new FromFirstStage(migration);
    case "to-first":
      return new ToFirstStage(migration);
    case "to":
      return new ToStage(migration);
  }
}

class FromStage implements StageOperations {
  protected readonly from: OldStore;
  protected readonly to: Migration["to"];
  protected readonly events: StageEvents;

  /** Sessions that were found in the new store too. */
  readonly #inBoth = new Map<string, true>();

  constructor({ from, to, events }: Migration) {
    this.from = from;
    this.to = to;
    this.events = events;
  }

  /** The new store is needed for sign-outs alone: a read does without it if it fails. */
  async get(sid: string): Promise<SessionData | null> {
    const [session, peeked] = await Promise.all([
      this.from.get(sid),
      this.to.peek(sid).catch(() => undefined),
    ]);
    if (session === null) return null;
    if (peeked?.state === "destroyed") return await this.destroyAgain(sid);
    if (peeked?.state === "live") noteSome(this.#inBoth, sid, true);
    this.to.adopt(sid, session, peeked ?? { state: "absent" });
    this.events.readFrom("from");
    return session;
  }

  /** A copy that another stage has written to the new store follows, or the next stages would find an old one. */
  async set(sid: string, session: SessionData): Promise<void> {
    // Fails before anything is written: what is known of sign-outs must be known.
    await this.to.peek(sid);
    await this.from.set(sid, session);
    const peeked = await this.to.peek(sid);
    if (peeked.state === "live") {
      this.to.rebase(sid, session, peeked);
      await this.saveToNewStore(sid, session);
    } else if (peeked.state === "destroyed") await this.#saveOverSignOut(sid, session);
  }

  /** Only a session that is new is written over a sign-out: its id is used again. */
  async #saveOverSignOut(sid: string, session: SessionData): Promise<void> {
    try {
      await this.saveToNewStore(sid, session);
    } catch (error) {
      await this.destroyAgain(sid);
      throw error;
    }
  }

  async touch(sid: string, session: SessionData): Promise<void> {
    await this.from.touch(sid, session);
    if (this.#inBoth.has(sid)) await this.to.touch(sid, session);
  }

  protected async saveToNewStore(sid: string, session: SessionData): Promise<void> {
    const outcome = await this.to.save(sid, session);
    if (outcome === "removed") await this.from.destroy(sid);
    else if (outcome === "gone") await this.destroyIfDestroyed(sid);
    // The new store has kept what another request has changed, such as one at the next stage.
    else if (outcome === "merged") await this.copyToOldStore(sid, await this.to.peek(sid));
  }

  /**
   * Writes to the old store what the new one has. Repeats that if the session was changed in the meantime: the last
   * request to end has then written the latest state. Returns what was written, or `undefined` if there is nothing.
   */
  protected async copyToOldStore(sid: string, peeked: Peeked): Promise<LiveSession | undefined> {
    let latest = peeked;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      // A process that cannot read the session, perhaps for want of a key, does not know that it has ended.
      if (latest.state === "unreadable") return undefined;
      if (latest.state !== "live") {
        await this.from.destroy(sid);
        return undefined;
      }
      const copied = latest;
      await this.from.set(sid, copied.session);
      latest = await this.to.peek(sid);
      if (latest.state === "live" && latest.version === copied.version) return latest;
    }
    throw new StoreError(
      "ERR_STORE_UNAVAILABLE",
      "The new store's session changed with each write to the old store. If both are on one backend, give them different prefixes.",
    );
  }

  /** The old store may still have what was destroyed, or has ended, in the new one. */
  protected async destroyAgain(sid: string): Promise<null> {
    await this.from.destroy(sid);
    return null;
  }

  /** The request has written to the old store what was destroyed in the meantime. */
  protected async destroyIfDestroyed(sid: string): Promise<void> {
    if ((await this.to.peek(sid)).state === "destroyed") await this.from.destroy(sid);
  }

  /** The tombstone first: from then on no process moves the session into the new store. */
  async destroy(sid: string): Promise<void> {
    await this.to.destroy(sid);
    await this.from.destroy(sid);
  }
}

class FromFirstStage extends FromStage {
  override async get(sid: string): Promise<SessionData | null> {
    const [session, peeked] = await Promise.all([this.from.get(sid), this.to.peek(sid)]);
    if (peeked.state === "destroyed") return session === null ? null : await this.destroyAgain(sid);
    if (session === null) return await this.#onlyInNewStore(sid, peeked);
    this.events.readFrom("from");
    if (peeked.state === "live") {
      const keys = differingKeys(session, peeked.session);
      if (keys.length > 0) this.events.mismatch(sid, keys);
    }
    this.to.adopt(sid, session, peeked);
    return session;
  }

  /** It was created in a later stage, and not saved since the way back began. */
  async #onlyInNewStore(sid: string, peeked: Peeked): Promise<SessionData | null> {
    if (peeked.state !== "live") return null;
    this.events.readFrom("to");
    return (await this.copyToOldStore(sid, peeked))?.session ?? null;
  }

  override async set(sid: string, session: SessionData): Promise<void> {
    await this.from.set(sid, session);
    await this.saveToNewStore(sid, session);
  }

  override async touch(sid: string, session: SessionData): Promise<void> {
    await this.from.touch(sid, session);
    const outcome = await this.to.touch(sid, session);
    if (outcome === "none" || outcome === "gone") await this.destroyIfDestroyed(sid);
  }
}

export class ToFirstStage extends FromStage {
  /** The versions that this process has written to the old store, by sid. */
  readonly #copied = new Map<string, string>();

  override async get(sid: string): Promise<SessionData | null> {
    const peeked = await this.to.peek(sid);
    if (peeked.state === "live") {
      this.events.readFrom("to");
      if (this.#copied.get(sid) !== peeked.version) this.#copied.delete(sid);
      return peeked.session;
    }
    if (peeked.state === "destroyed" || peeked.state === "ended") return await this.destroyAgain(sid);
    if (peeked.state !== "absent") return null;
    const old = await this.from.get(sid);
    if (old === null) return null;
    this.events.readFrom("from");
    if (await this.to.insert(sid, usedNow(old, this.to.now()))) this.events.moved(sid);
    // Another process may have moved it first, or destroyed it.
    const moved = await this.to.peek(sid);
    return moved.state === "live" ? moved.session : null;
  }

  override async set(sid: string, session: SessionData): Promise<void> {
    await this.to.save(sid, session);
    await this.copyBack(sid);
  }

  override async touch(sid: string, session: SessionData): Promise<void> {
    const outcome = await this.to.touch(sid, session);
    if (outcome === "skipped" && this.#copied.has(sid)) return;
    // Not by a touch: what was saved at "to" is not in the old store.
    await this.copyBack(sid);
  }

  /** Writes to the old store what the new one has, so that the way back is open. */
  async copyBack(sid: string): Promise<void> {
    const copied = await this.copyToOldStore(sid, await this.to.peek(sid));
    if (copied !== undefined) noteSome(this.#copied, sid, copied.version);
  }
}

/**
 * A session as it is after a use. If a store's touch moves only the expiry of its own record, then the store returns the
 * cookie of the last save. That cookie may say that the session has ended.
 */
function usedNow(session: SessionData, now: number): SessionData {
  const { cookie } = session;
  if (typeof cookie?.originalMaxAge !== "number") return session;
  return { ...session, cookie: { ...cookie, expires: new Date(now + cookie.originalMaxAge) } };
}

class ToStage extends FromStage {
  override async get(sid: string): Promise<SessionData | null> {
    const peeked = await this.to.peek(sid);
    if (peeked.state !== "live") return null;
    this.events.readFrom("to");
    return peeked.session;
  }

  override async set(sid: string, session: SessionData): Promise<void> {
    await this.to.save(sid, session);
  }

  override async touch(sid: string, session: SessionData): Promise<void> {
    await this.to.touch(sid, session);
  }

  override async destroy(sid: string): Promise<void> {
    await this.to.destroy(sid);
  }
}

/** Forgets the oldest notes when there are too many. */
function noteSome<Note>(notes: Map<string, Note>, sid: string, note: Note): void {
  notes.set(sid, note);
  if (notes.size > MAX_NOTED) dropOldest(notes, MAX_NOTED / 10);
}
