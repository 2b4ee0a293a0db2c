import type { SessionData } from "express-session";
import { StoreError } from "../../errors.js";
import { hasEnded, shownExpiry } from "../expiry.js";
import type { SessionKeys } from "../keys.js";
import type { Operation } from "../operation.js";
import { invalidArgument } from "../options.js";
import { UNREADABLE } from "../record.js";
import { TrackedSession } from "../save/tracked-sessions.js";
import { incarnationOf } from "../save/write-ids.js";
import type { StoreParts } from "../store-parts.js";
import { endSession } from "./end-session.js";
import type { UserForms, UserIds } from "./user-ids.js";
import {
  garbageOf,
  type ListedEntry,
  type PossibleSession,
  possibleSessionsOf,
  readList,
  removeEntries,
} from "./user-list.js";

/** A session of a user, as `findByUser` yields it. */
export interface UserSessionInfo {
  /**
   * Names the session among those of its user, for as long as it lives. No credential: it gives nobody access to the
   * session, and is safe in a page.
   */
  readonly handle: string;
  readonly session: SessionData;
  readonly createdAt: Date;
  /** When it was last used, except for a use shortly after that which was not written (option `touchAfter`). */
  readonly activeAt: Date;
  /** When it ends if it is not used any more. */
  readonly expiresAt: Date;
  /** Whether it is the session of the sid that was given as `current`. */
  readonly isCurrent: boolean;
}

/**
 * Changes a session of a user. Returns `false`, or a promise of it, to leave the session as it is.
 *
 * @param session - to be changed in place
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a function without a return statement is one
export type SessionChange = (session: SessionData) => void | boolean | PromiseLike<void | boolean>;

/** A session that was decoded, and what the store knows of it. */
export interface DecodedSession {
  readonly session: SessionData;
  readonly tracked: TrackedSession;
}

/** Sessions that are ended at the same time. */
const BATCH = 100;

/** Finds, changes and ends the sessions of users. */
export class UserSessions {
  readonly #parts: StoreParts;
  readonly #keys: SessionKeys;
  readonly #users: UserIds;
  readonly #track: (session: SessionData, tracked: TrackedSession) => void;
  readonly #save: (decoded: DecodedSession, operation: Operation) => Promise<boolean>;

  /**
   * @param track - notes what is known of a session object
   * @param save - saves a session; resolves with whether that was done
   */
  constructor(
    parts: StoreParts,
    keys: SessionKeys,
    users: UserIds,
    track: (session: SessionData, tracked: TrackedSession) => void,
    save: (decoded: DecodedSession, operation: Operation) => Promise<boolean>,
  ) {
    this.#parts = parts;
    this.#keys = keys;
    this.#users = users;
    this.#track = track;
    this.#save = save;
  }

  /** The live sessions of a user, the last used first. */
  async *find(user: unknown, current: unknown, operation: Operation): AsyncGenerator<UserSessionInfo> {
    const currentKey = current === undefined ? undefined : this.#keys.keyOf(current);
    const { lifetimes, now } = this.#parts.settings;
    const forms = this.#users.ofArgument(user);
    const listed = await operation.withTimeout(this.#list(forms, operation));
    for (const entry of listed.sort((a, b) => b.found.record.activeAt - a.found.record.activeAt)) {
      const { record } = entry.found;
      // The consumer may have taken long for the sessions before it.
      if (hasEnded(record, now(), lifetimes)) continue;
      const decoded = await this.#decode(forms, entry);
      if (decoded === undefined) continue;
      yield {
        handle: incarnationOf(record.version),
        session: decoded.session,
        createdAt: new Date(record.createdAt),
        activeAt: new Date(record.activeAt),
        expiresAt: new Date(shownExpiry(record, now(), lifetimes)),
        isCurrent: entry.key === currentKey,
      };
      operation.throwIfCancelled();
    }
  }

  async count(user: unknown, operation: Operation): Promise<number> {
    return (await operation.withTimeout(this.#list(this.#users.ofArgument(user), operation))).length;
  }

  /**
   * @param except - a sid or a handle
   * @param onEnded - called with the number of live sessions that were destroyed since the last call
   * @returns how many live sessions were destroyed
   */
  async destroy(
    user: unknown,
    except: unknown,
    operation: Operation,
    onEnded?: (count: number) => void,
  ): Promise<number> {
    const forms = this.#users.ofArgument(user);
    if (except !== undefined && (typeof except !== "string" || except === "")) {
      throw invalidArgument(
        "except",
        "a sid or a handle",
        typeof except === "string" ? except : typeof except,
      );
    }
    const { entries } = await operation.withTimeout(readList(this.#parts, forms, operation));
    // Also those that have ended: a slow request could save them once more.
    const possible = possibleSessionsOf(entries, forms, this.#parts.settings);
    const spared = except === undefined ? undefined : this.#named(possible, except);
    const ended = await this.#endAll(
      forms,
      possible.filter(session => session !== spared),
      operation,
      onEnded,
    );
    const garbage = entries.filter(({ key, found }) => key !== spared?.key && found?.record !== UNREADABLE);
    operation.renew();
    await operation.withTimeout(removeEntries(this.#parts, garbage, operation));
    return ended;
  }

  async destroyHandle(user: unknown, handle: unknown, operation: Operation): Promise<void> {
    const forms = this.#users.ofArgument(user);
    if (typeof handle !== "string") throw invalidArgument("handle", "a handle", typeof handle);
    const listed = await operation.withTimeout(this.#list(forms, operation));
    const session = listed.find(({ found }) => incarnationOf(found.record.version) === handle);
    if (session === undefined) throw notFound("handle");
    operation.renew();
    const ended = endSession(this.#parts, forms, session.key, session.found, operation);
    // It has ended or got another user since it was listed.
    if (!(await operation.withTimeout(ended))) throw notFound("handle");
    await operation.withTimeout(removeEntries(this.#parts, [session], operation));
  }

  /** Returns how many sessions were changed. */
  async update(user: unknown, change: unknown, operation: Operation): Promise<number> {
    if (typeof change !== "function") throw invalidArgument("change", "a function of a session", change);
    const forms = this.#users.ofArgument(user);
    const listed = await operation.withTimeout(this.#list(forms, operation));
    let changed = 0;
    for (const entry of listed) {
      if (await this.#change(forms, entry, change as SessionChange, operation)) changed += 1;
    }
    return changed;
  }

  async #change(
    forms: UserForms,
    entry: PossibleSession,
    change: SessionChange,
    operation: Operation,
  ): Promise<boolean> {
    let current = entry;
    for (;;) {
      operation.renew();
      const decoded = await this.#decode(forms, current);
      if (decoded === undefined || (await change(decoded.session)) === false) return false;
      operation.renew();
      try {
        return await operation.withTimeout(this.#save(decoded, operation));
      } catch (error) {
        if ((error as StoreError).code !== "ERR_SESSION_CONFLICT") throw error;
      }
      // With `conflict: "error"`: the change is made again to what is stored now.
      const found = await operation.withTimeout(
        Promise.resolve(this.#parts.backend.read(entry.key, operation)),
      );
      const [live] = this.#live([{ ...entry, found }], forms);
      if (live === undefined) return false;
      current = live;
    }
  }

  async #endAll(
    forms: UserForms,
    sessions: PossibleSession[],
    operation: Operation,
    onEnded?: (count: number) => void,
  ): Promise<number> {
    const { lifetimes, now } = this.#parts.settings;
    let ended = 0;
    for (let from = 0; from < sessions.length; from += BATCH) {
      operation.renew();
      const results = sessions.slice(from, from + BATCH).map(async ({ key, found }) => {
        const isLive = !hasEnded(found.record, now(), lifetimes);
        return (await endSession(this.#parts, forms, key, found, operation)) && isLive;
      });
      const count = (await operation.withTimeout(Promise.all(results))).filter(Boolean).length;
      ended += count;
      onEnded?.(count);
    }
    return ended;
  }

  /** The live sessions of a user. Removes the garbage among the entries. */
  async #list(forms: UserForms, operation: Operation): Promise<PossibleSession[]> {
    const { entries } = await readList(this.#parts, forms, operation);
    await removeEntries(this.#parts, garbageOf(entries, forms, this.#parts.settings), operation);
    return this.#live(entries, forms);
  }

  #live(entries: readonly ListedEntry[], forms: UserForms): PossibleSession[] {
    const { settings } = this.#parts;
    const now = settings.now();
    return possibleSessionsOf(entries, forms, settings).filter(
      ({ found }) => !hasEnded(found.record, now, settings.lifetimes),
    );
  }

  #named(sessions: PossibleSession[], name: string): PossibleSession {
    const keys = [this.#keys.keyOf(name), this.#keys.keyOfPublicId(name)];
    const named = sessions.find(
      ({ key, found }) => keys.includes(key) || incarnationOf(found.record.version) === name,
    );
    if (named === undefined) throw notFound("except");
    return named;
  }

  /** `undefined` for what cannot be decoded, or turns out to be the session of another user. */
  async #decode(forms: UserForms, { key, found }: PossibleSession): Promise<DecodedSession | undefined> {
    const { codec, settings } = this.#parts;
    const now = settings.now();
    const { record } = found;
    const decoded = await codec.decode(key, record, shownExpiry(record, now, settings.lifetimes));
    if (decoded === null) return undefined;
    if (this.#users.ofSession(decoded.session)?.[0] !== forms[0]) {
      // What is encrypted cannot be changed by others, but the user beside it can.
      if (settings.encryption) codec.corrupt(key, new Error("The session is filed under another user"));
      return undefined;
    }
    const sid = codec.sidOf(key, record);
    if (sid === undefined) return undefined;
    const tracked = TrackedSession.ofDecoded(sid, key, now, found, decoded);
    tracked.onlyUser = forms;
    this.#track(decoded.session, tracked);
    return { session: decoded.session, tracked };
  }
}

function notFound(name: string): StoreError {
  return new StoreError(
    "ERR_SESSION_NOT_FOUND",
    `\`${name}\` names no live session of this user: it has ended, or it is another user's. Nothing was changed.`,
  );
}
