import type { SessionData, Store } from "express-session";
import { Calls } from "./call.js";
import { type Callback, type CallOptions, callbackify, signalOfOptions } from "./callbacks.js";
import { SessionCodec } from "./codec.js";
import { emitLater, type Listener, type StoreEvents } from "./events.js";
import { GuardedBackend, guard } from "./guarded-backend.js";
import { SessionKeys } from "./keys.js";
import { Listings } from "./listings.js";
import type { Operation } from "./operation.js";
import { invalidArgument, type Rule } from "./options.js";
import { StorePrimitives } from "./primitives.js";
import { type Awaitable, chain, isTombstone, UNREADABLE, type UserList } from "./record.js";
import { newRemoval } from "./removal.js";
import type { TrackedSession } from "./save/tracked-sessions.js";
import { WriteIds } from "./save/write-ids.js";
import { WriteQueue } from "./save/write-queue.js";
import { Sessions } from "./sessions.js";
import { createInternals, type StoreInternals } from "./store-internals.js";
import { type StoreOptions, type StoreSettings, settingsOf } from "./store-options.js";
import type { StoreParts } from "./store-parts.js";
import { type ReindexProgress, reindex } from "./users/reindex.js";
import type { UserIds } from "./users/user-ids.js";
import { type SessionChange, type UserSessionInfo, UserSessions } from "./users/user-sessions.js";

/** The options of `destroyByUser`. */
export interface DestroyByUserOptions extends CallOptions {
  /** The sid or the handle of a session of the user that stays. */
  except?: string | undefined;
}

/** A session as `all()` lists it. */
export type ListedSession = SessionData & { id: string };

/** For the package's own code. */
export let internalsOf: (store: AbstractStore) => StoreInternals;

/**
 * The contract of the stores. The public methods speak of sessions. A backend implements the primitives
 * ({@link StorePrimitives}), which speak of records.
 *
 * Every method accepts a callback or, without one, returns a promise. A callback is called once and never
 * synchronously. Wrong arguments cause a `TypeError`, any other failure a {@link StoreError}.
 *
 * Emits `conflict`, `corrupt`, `expired` and, if there is a listener, `error` for failed background work
 * ({@link StoreEvents}). The outcome and duration of every call are published on the channel
 * `express-session-stores:operation` of node:diagnostics_channel ({@link OperationMessage}).
 */
export abstract class AbstractStore extends StorePrimitives {
  /** The default of the option `touchAfter` in seconds; `undefined` makes it depend on the session's lifetime. */
  static readonly defaultTouchAfter: number | undefined = undefined;

  /** Begins every key, as it was given. */
  readonly prefix: string;

  static {
    internalsOf = store => store.#internals();
  }

  readonly #settings: StoreSettings;
  readonly #keys: SessionKeys;
  readonly #calls: Calls;
  readonly #parts: StoreParts;
  readonly #listings: Listings;
  readonly #sessions: Sessions;
  readonly #userSessions: UserSessions | undefined;

  /**
   * @param options - the shared options and those of the backend
   * @param ownRules - what the backend's own options must be
   * @throws TypeError for an unknown or ill-typed option
   */
  protected constructor(options: StoreOptions, ownRules: Record<string, Rule> = {}) {
    super();
    const settings = settingsOf(new.target.name, options, ownRules, new.target.defaultTouchAfter);
    const keys = new SessionKeys(settings.prefix, settings.hashing);
    const { serializer, encryption } = settings;
    const codec = new SessionCodec(serializer, keys, encryption, (key, cause) =>
      emitLater(this, "corrupt", () => ({ sidHash: keys.sidHashOf(key), cause })),
    );
    const backend = new GuardedBackend({
      read: (key, operation) => this._read(key, operation),
      write: (key, write, operation) => this._write(key, write, operation),
      touch: (key, touch, operation) => this._touch(key, touch, operation),
      remove: (key, removal, operation) => this._remove(key, removal, operation),
      // Only called with the option `user`, which a store without these primitives rejects.
      listUser: (user, operation) =>
        chain(this._listUser?.(user, operation) as Awaitable<UserList>, ({ sessions, token }) => ({
          sessions: sessions.filter(({ key }) => keys.includes(key)),
          token,
        })),
      removeEntries: (user, entries, operation) => this._removeEntries?.(user, entries, operation),
    });
    this.prefix = settings.prefix;
    this.#settings = settings;
    this.#keys = keys;
    this.#calls = new Calls(this, keys, settings.timeoutMs);
    this.#parts = { backend, codec, settings, ids: new WriteIds(), signIns: new WriteQueue() };
    this.#sessions = new Sessions(this.#parts, keys, this);
    const scan = (start: string, operation: Operation) => this._scan(start, operation);
    this.#listings = new Listings(this.#parts, keys, this.#sessions.tracker, scan);
    if (settings.users === undefined) return;
    if (this._listUser === undefined) {
      throw new TypeError(`\`user\` cannot be used with ${new.target.name}, which keeps no lists of users`);
    }
    const track = (session: SessionData, tracked: TrackedSession) =>
      this.#sessions.tracker.track(session, tracked);
    this.#userSessions = new UserSessions(
      this.#parts,
      keys,
      settings.users,
      track,
      async (decoded, operation) => {
        await this.#sessions.save(decoded.tracked, decoded.session, operation);
        return operation.outcome !== "gone";
      },
    );
  }

  /** The session of `sid`. `null` if there is none, if it has ended, or if its record cannot be read. */
  override get(sid: string, callback: Callback<SessionData | null>): void;
  override get(sid: string, options?: CallOptions): Promise<SessionData | null>;
  override get(sid: string, last?: CallOptions | Callback<SessionData | null>): unknown {
    return this.#calls.run("get", sid, last, operation => this.#sessions.get(sid, operation));
  }

  /**
   * Saves a session, conditionally. A session that was loaded from this store is not saved if it was destroyed or ended
   * in the meantime. It is merged if it was changed (option `conflict`). A new session creates a record. Plain data
   * replaces what is stored. A session whose `cookie.maxAge` is 0 or less is removed.
   */
  override set(sid: string, session: SessionData, callback: Callback<void>): void;
  override set(sid: string, session: SessionData, options?: CallOptions): Promise<void>;
  override set(sid: string, session: SessionData, last?: CallOptions | Callback<void>): unknown {
    return this.#calls.run("set", sid, last, operation => this.#sessions.set(sid, session, operation));
  }

  /** Destroys a session. No request brings it back. Destroying one that does not exist is a no-op. */
  override destroy(sid: string, callback: Callback<void>): void;
  override destroy(sid: string, options?: CallOptions): Promise<void>;
  override destroy(sid: string, last?: CallOptions | Callback<void>): unknown {
    return this.#calls.run("destroy", sid, last, operation => this.#sessions.destroy(sid, operation));
  }

  /**
   * Notes that a session was used, so that it lives on. Changes nothing else, unless the request has changed the
   * lifetime in the cookie. A no-op for a session that has ended, unless its response began before the end and lasted
   * longer.
   */
  override touch(sid: string, session: SessionData, callback: Callback<void>): void;
  override touch(sid: string, session: SessionData, options?: CallOptions): Promise<void>;
  override touch(sid: string, session: SessionData, last?: CallOptions | Callback<void>): unknown {
    return this.#calls.run("touch", sid, last, operation => this.#sessions.touch(sid, session, operation));
  }

  /** All live sessions, each with its `id`. Holds them all in memory, which `entries()` does not. */
  override all(callback: Callback<ListedSession[]>): void;
  override all(options?: CallOptions): Promise<ListedSession[]>;
  override all(last?: CallOptions | Callback<ListedSession[]>): unknown {
    return this.#calls.runListing("all", last, async operation => {
      const sessions: ListedSession[] = [];
      for await (const { sid, session, tracked } of this.#listings.entries(operation)) {
        tracked.ownId = Object.hasOwn(session, "id") ? { id: (session as { id?: unknown }).id } : {};
        sessions.push(Object.assign(session, { id: sid }));
      }
      return sessions;
    });
  }

  /** The ids of all live sessions. Does not decode the sessions. */
  ids(callback: Callback<string[]>): void;
  ids(options?: CallOptions): Promise<string[]>;
  ids(last?: CallOptions | Callback<string[]>): unknown {
    return this.#calls.runListing("ids", last, async operation => {
      const sids: string[] = [];
      for await (const sid of this.#listings.sids(operation)) sids.push(sid);
      return sids;
    });
  }

  /** The number of live sessions. Does not decode the sessions. */
  override length(callback: Callback<number>): void;
  override length(options?: CallOptions): Promise<number>;
  override length(last?: CallOptions | Callback<number>): unknown {
    return this.#calls.runListing("length", last, async operation => {
      const isLive = this.#listings.isLiveNow();
      const count = await this._count(isLive, () => this.#listings.pages(operation));
      operation.throwIfCancelled();
      return count;
    });
  }

  /** Destroys every session of this prefix, and of no other. */
  override clear(callback: Callback<void>): void;
  override clear(options?: CallOptions): Promise<void>;
  override clear(last?: CallOptions | Callback<void>): unknown {
    return this.#calls.runListing("clear", last, operation => this.#clear(operation));
  }

  /** The live sessions as `[sid, session]`, page by page, in bounded memory. */
  async *entries(options?: CallOptions): AsyncGenerator<[string, SessionData], void, undefined> {
    yield* this.#calls.follow("entries", this.#entries(signalOfOptions(options)));
  }

  /**
   * The live sessions of a user, the last used first. Needs the option `user`, as all methods for users do.
   *
   * @param options - `current`: the sid of the session to be marked by `isCurrent`
   */
  async *findByUser(
    user: string,
    options?: CallOptions & { current?: string | undefined },
  ): AsyncGenerator<UserSessionInfo, void, undefined> {
    const sessions = this.#users().find(
      user,
      options?.current,
      this.#calls.operation(signalOfOptions(options)),
    );
    yield* this.#calls.follow("findByUser", this.#checked(sessions));
  }

  /** The number of a user's live sessions. */
  countByUser(user: string, callback: Callback<number>): void;
  countByUser(user: string, options?: CallOptions): Promise<number>;
  countByUser(user: string, last?: CallOptions | Callback<number>): unknown {
    return this.#calls.runListing("countByUser", last, async operation =>
      this.#users().count(user, operation),
    );
  }

  /**
   * Destroys all sessions of a user whose sign-in was acknowledged before this call: no request brings them back. A
   * sign-in at the same time is destroyed too, or is listed afterwards. Gives the number of live sessions destroyed.
   *
   * @param options - `except`: the sid or the handle of a session of this user that stays
   * @throws StoreError `ERR_SESSION_NOT_FOUND` if `except` names no live session of this user
   */
  destroyByUser(user: string, callback: Callback<number>): void;
  destroyByUser(user: string, options?: DestroyByUserOptions): Promise<number>;
  destroyByUser(user: string, options: DestroyByUserOptions, callback: Callback<number>): void;
  destroyByUser(
    user: string,
    options?: DestroyByUserOptions | Callback<number>,
    callback?: Callback<number>,
  ): unknown {
    const { except } = typeof options === "object" && options !== null ? options : {};
    return this.#calls.runListing(
      "destroyByUser",
      options,
      async operation => this.#users().destroy(user, except, operation),
      callback,
    );
  }

  /**
   * Changes all live sessions of a user, without ending them: each is saved as a request would save it. Gives the number
   * of sessions changed.
   *
   * @param change - changes a session in place; returns `false` to leave it as it is
   */
  updateByUser(user: string, change: SessionChange, callback: Callback<number>): void;
  updateByUser(user: string, change: SessionChange, options?: CallOptions): Promise<number>;
  updateByUser(user: string, change: SessionChange, last?: CallOptions | Callback<number>): unknown {
    return this.#calls.runListing("updateByUser", last, async operation =>
      this.#users().update(user, change, operation),
    );
  }

  /**
   * Destroys the session of a user that has this handle.
   *
   * @throws StoreError `ERR_SESSION_NOT_FOUND` if the user has no live session with this handle
   */
  destroyByHandle(user: string, handle: string, callback: Callback<void>): void;
  destroyByHandle(user: string, handle: string, options?: CallOptions): Promise<void>;
  destroyByHandle(user: string, handle: string, last?: CallOptions | Callback<void>): unknown {
    return this.#calls.runListing("destroyByHandle", last, async operation =>
      this.#users().destroyHandle(user, handle, operation),
    );
  }

  /**
   * Files the sessions that were saved without the option `user` under their users, page by page, while the site runs.
   * Also repairs lists that were lost or damaged. May be interrupted and called again: it skips what is listed. Does not
   * apply `maxSessionsPerUser`.
   */
  async *reindex(options?: CallOptions): AsyncGenerator<ReindexProgress, void, undefined> {
    this.#users();
    const operation = this.#calls.operation(signalOfOptions(options));
    const pages = this.#listings.pages(operation, () => this.#calls.assertOpen());
    const { users } = this.#settings;
    yield* this.#calls.follow("reindex", reindex(this.#parts, users as UserIds, pages, operation));
  }

  /** Succeeds if the backend can be reached and used. */
  ping(callback: Callback<void>): void;
  ping(options?: CallOptions): Promise<void>;
  ping(last?: CallOptions | Callback<void>): unknown {
    return this.#calls.run("ping", undefined, last, operation => guard(() => this._ping(operation)));
  }

  /**
   * Waits for the operations in flight, then frees what the store opened itself. An injected client stays open. Later
   * calls fail with `ERR_STORE_CLOSED`; a second `close()` is a no-op.
   */
  close(callback: Callback<void>): void;
  close(): Promise<void>;
  close(callback?: Callback<void>): unknown {
    if (callback !== undefined && callback !== null && typeof callback !== "function") {
      return callbackify(Promise.reject(invalidArgument("callback", "a function", callback)), undefined);
    }
    return callbackify(
      this.#calls.close(() => this._close()),
      callback ?? undefined,
    );
  }

  /** Creates the `Session` of a request. Called by express-session with what `get` returned. */
  override createSession(
    req: Parameters<Store["createSession"]>[0],
    data: SessionData,
  ): ReturnType<Store["createSession"]> {
    const carryOver = this.#sessions.tracker.carryOver(data);
    const session = super.createSession(req, data);
    carryOver(session);
    return session;
  }

  /** Destroys the session of a request and creates another one. Called by express-session. */
  override regenerate(...[req, callback]: Parameters<Store["regenerate"]>): void {
    this.#sessions.tracker.replaceSession(req);
    super.regenerate(req, callback);
  }

  override on<Event extends keyof StoreEvents>(
    event: Event,
    listener: (payload: StoreEvents[Event]) => void,
  ): this;
  override on(event: string | symbol, listener: Listener): this;
  override on(event: string | symbol, listener: Listener): this {
    return super.on(event, listener);
  }

  override once<Event extends keyof StoreEvents>(
    event: Event,
    listener: (payload: StoreEvents[Event]) => void,
  ): this;
  override once(event: string | symbol, listener: Listener): this;
  override once(event: string | symbol, listener: Listener): this {
    return super.once(event, listener);
  }

  async #clear(operation: Operation, onPage?: (removed: number) => void): Promise<void> {
    for await (const page of this.#listings.pages(operation)) {
      const keys = page.flatMap(({ key, record }) =>
        record !== UNREADABLE && isTombstone(record) ? [] : [key],
      );
      const removed = guard(() => this._removeAll(keys, newRemoval(this.#parts), operation));
      await operation.withTimeout(Promise.resolve(removed));
      onPage?.(keys.length);
    }
  }

  #users(): UserSessions {
    if (this.#userSessions !== undefined) return this.#userSessions;
    throw new TypeError(
      "The store needs the option `user`, a function that returns the user of a session, for example `session => session.passport?.user`",
    );
  }

  async *#checked<T>(items: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    this.#calls.assertOpen();
    for await (const item of items) {
      yield item;
      this.#calls.assertOpen();
    }
  }

  async *#entries(signal: AbortSignal | undefined): AsyncGenerator<[string, SessionData], void, undefined> {
    const operation = this.#calls.operation(signal);
    const check = () => this.#calls.assertOpen();
    for await (const { sid, session } of this.#listings.entries(operation, check)) yield [sid, session];
  }

  #internals(): StoreInternals {
    return createInternals({
      parts: this.#parts,
      keys: this.#keys,
      calls: this.#calls,
      listings: this.#listings,
      sessions: this.#sessions,
      clear: (operation, onPage) => this.#clear(operation, onPage),
      destroyByUser: (user, operation, onPage) => this.#users().destroy(user, undefined, operation, onPage),
    });
  }

  /** For backends with methods of their own. @throws StoreError `ERR_STORE_CLOSED` */
  protected _assertOpen(): void {
    this.#calls.assertOpen();
  }

  /** For backends with methods of their own: `close()` waits for them. */
  protected _track<T>(promise: Promise<T>): Promise<T> {
    return this.#calls.track(promise);
  }

  /** For backends: their sweep deleted the record of a session that had ended. */
  protected _reportExpired(key: string): void {
    if (!this.#keys.includes(key)) return;
    emitLater(this, "expired", () => ({ reason: "removed" as const, sidHash: this.#keys.sidHashOf(key) }));
  }

  /** For backends: reports failed background work to the listeners of `error`. */
  protected _reportError(error: unknown): void {
    emitLater(this, "error", () => error);
  }

  /** For backends: the store's clock, in whole epoch milliseconds. */
  protected _now(): number {
    return this.#settings.now();
  }

  /** For backends: a key for the list of a user. No session has it. */
  protected _userKey(user: string): string {
    return this.#keys.userKeyOf(user);
  }

  protected override get _keyPrefix(): string {
    return this.#keys.keyPrefix;
  }
}
