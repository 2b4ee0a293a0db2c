import { type SessionData, Store } from "express-session";
import {
  AbstractStore,
  type DestroyByUserOptions,
  internalsOf,
  type ListedSession,
} from "../core/abstract-store.js";
import { type Callback, callbackify } from "../core/callbacks.js";
import type { Listener } from "../core/events.js";
import { checkOptions, rules } from "../core/options.js";
import { incarnationOf } from "../core/save/write-ids.js";
import type { StoreInternals } from "../core/store-internals.js";
import { OldStore } from "./old-store.js";
import { assertOwnKeys } from "./shared-keys.js";
import { operationsOf, STAGES, type Stage, type StageOperations, ToFirstStage } from "./stages.js";

/** The options of {@link MigratingStore}. */
export interface MigratingStoreOptions {
  /** The store that the site uses so far: any store for express-session. */
  from: Store;
  /** The store that it is to use: one of this package, or another on `AbstractStore`. */
  to: AbstractStore;
  /** What is read and written, see {@link Stage}. All processes may differ by one stage, and by no more. */
  stage: Stage;
  /**
   * Days for which a sign-out is kept in the new store. A session of the old store must not live longer than this
   * without being used. @defaultValue `30`
   */
  keepSignOutsDays?: number | undefined;
}

/** What a migrating store has done since it was created. */
export interface MigrationFigures {
  /** Sessions that were moved to the new store because a request asked for them. */
  moved: number;
  /** Reads at `"from-first"` that found different values in the two stores. */
  mismatches: number;
  /** Live sessions that were read from the old store, and from the new one. */
  readFrom: { from: number; to: number };
}

/** The events of a migrating store. */
export interface MigrationEvents {
  moved: { sidHash: string };
  /** At `"from-first"`: the values of these keys differ between the stores. Values are not shown. */
  mismatch: { sidHash: string; keys: string[] };
}

/** Sessions that `copyBack` and `clear` write at the same time. */
const AT_ONCE = 16;
const DAY_MS = 24 * 60 * 60_000;

/**
 * A store for the time in which a site changes from one session store to another, while it runs and without signing
 * anybody out. Roll the site out once with each stage, in the order of {@link Stage}; each step can be taken back.
 *
 * A sign-out is final across both stores. From `"to-first"` on the contract of the new store holds.
 *
 * @example
 * const store = new MigratingStore({ from: new RedisStore({ client }), to: new DynamoDBStore({ client }), stage: "from-first" });
 */
export class MigratingStore extends Store {
  readonly stage: Stage;
  readonly figures: MigrationFigures = { moved: 0, mismatches: 0, readFrom: { from: 0, to: 0 } };
  readonly #from: OldStore;
  readonly #to: AbstractStore;
  readonly #internals: StoreInternals;
  readonly #operations: StageOperations;
  /** If the old store is one of this package. */
  readonly #fromInternals: StoreInternals | undefined;

  /** @throws TypeError for an unknown or ill-typed option, and if both stores have the same keys in one table */
  constructor(options: MigratingStoreOptions) {
    super();
    checkOptions("MigratingStore", options, {
      from: {
        test: value => typeof (value as Store | null)?.get === "function" && value !== options.to,
        required: true,
        expected: "the session store that is used so far, another one than `to`",
      },
      to: {
        test: value => value instanceof AbstractStore,
        required: true,
        expected: "a store of express-session-stores",
      },
      stage: {
        test: value => (STAGES as readonly unknown[]).includes(value),
        required: true,
        expected: STAGES.map(stage => `"${stage}"`).join(", "),
      },
      keepSignOutsDays: rules.seconds,
    });
    const { from, to, stage, keepSignOutsDays = 30 } = options;
    assertOwnKeys(from, to);
    this.stage = stage;
    this.#to = to;
    this.#internals = internalsOf(to);
    this.#internals.keepTombstones(keepSignOutsDays * DAY_MS);
    this.#from = new OldStore(from, this.#internals.timeoutMs);
    const events = {
      moved: (sid: string) => {
        this.figures.moved += 1;
        this.#emit("moved", () => ({ sidHash: this.#internals.sidHash(sid) }));
      },
      mismatch: (sid: string, keys: string[]) => {
        this.figures.mismatches += 1;
        this.#emit("mismatch", () => ({ sidHash: this.#internals.sidHash(sid), keys }));
      },
      readFrom: (store: "from" | "to") => {
        this.figures.readFrom[store] += 1;
      },
    };
    const target = { ...this.#internals, destroy: (sid: string) => to.destroy(sid) };
    this.#operations = operationsOf(stage, { from: this.#from, to: target, events });
    if (from instanceof AbstractStore) this.#fromInternals = internalsOf(from);
    // express-session serves no sessions while its store says that it is disconnected.
    for (const event of ["connect", "disconnect"]) {
      const source: Store = stage === "from" || stage === "from-first" ? from : to;
      source.on?.(event, (...args: unknown[]) => this.emit(event, ...args));
    }
  }

  override get(sid: string, callback: Callback<SessionData | null>): void;
  override get(sid: string): Promise<SessionData | null>;
  override get(sid: string, callback?: Callback<SessionData | null>): unknown {
    return callbackify(this.#operations.get(sid), callback);
  }

  override set(sid: string, session: SessionData, callback: Callback<void>): void;
  override set(sid: string, session: SessionData): Promise<void>;
  override set(sid: string, session: SessionData, callback?: Callback<void>): unknown {
    return callbackify(this.#operations.set(sid, session), callback);
  }

  override touch(sid: string, session: SessionData, callback: Callback<void>): void;
  override touch(sid: string, session: SessionData): Promise<void>;
  override touch(sid: string, session: SessionData, callback?: Callback<void>): unknown {
    return callbackify(this.#operations.touch(sid, session), callback);
  }

  /** Destroys a session in both stores. No request and no stage brings it back. */
  override destroy(sid: string, callback: Callback<void>): void;
  override destroy(sid: string): Promise<void>;
  override destroy(sid: string, callback?: Callback<void>): unknown {
    return callbackify(this.#operations.destroy(sid), callback);
  }

  /**
   * The sessions of both stores, each once. @throws StoreError if the old store has no `all` with ids, except at `"to"`
   */
  override all(callback: Callback<ListedSession[]>): void;
  override all(): Promise<ListedSession[]>;
  override all(callback?: Callback<ListedSession[]>): unknown {
    return callbackify(this.#all(), callback);
  }

  /** How many sessions {@link all} has. At `"from"` the old store says it. */
  override length(callback: Callback<number>): void;
  override length(): Promise<number>;
  override length(callback?: Callback<number>): unknown {
    const count =
      this.stage === "from" && this.#from.has("length")
        ? this.#from.length()
        : this.#all().then(({ length }) => length);
    return callbackify(count, callback);
  }

  /** Destroys all sessions of both stores. */
  override clear(callback: Callback<void>): void;
  override clear(): Promise<void>;
  override clear(callback?: Callback<void>): unknown {
    return callbackify(this.#clear(), callback);
  }

  /**
   * Destroys the sessions of a user in both stores. Needs the option `user` of the new store and, except at `"to"`, an
   * `all` with ids of the old one. Gives the number of sessions.
   */
  async destroyByUser(user: string, options: DestroyByUserOptions = {}): Promise<number> {
    const { except } = options;
    if (this.stage === "to") return await this.#to.destroyByUser(user, options);
    const old = [...(await this.#from.all())].filter(([, session]) =>
      this.#internals.isUserOf(session, user),
    );
    // A session that has not moved yet is not among those of the new store.
    const isOld = old.some(([sid]) => sid === except);
    const endNew = async () => {
      const isNew = except !== undefined && (!isOld || (await this.#internals.peek(except)).state === "live");
      return await this.#to.destroyByUser(user, isNew ? options : { ...options, except: undefined });
    };
    // Where the old store is read first, it decides whose session it is: the new one may have missed a save.
    const isOldFirst = this.stage !== "to-first";
    let count = await endNew();
    for (const [sid] of old) {
      if (sid === except) continue;
      let peeked = await this.#internals.peek(sid);
      if (peeked.state === "live") {
        // A request has moved it after the users' list was read.
        count += await endNew();
        peeked = await this.#internals.peek(sid);
      }
      // Another user's by now, or the one that the handle in `except` names.
      if (peeked.state === "live" && (!isOldFirst || incarnationOf(peeked.version) === except)) continue;
      if (peeked.state === "live" || peeked.state === "absent") count += 1;
      await this.destroy(sid);
    }
    return count;
  }

  /**
   * Brings the old store up to date with what nobody visits, so that the way back from `"to-first"` loses nothing:
   * writes the sessions of the new store to it, and destroys those that were signed out. May run while the site does,
   * and again.
   *
   * @param options - `signal`: ends the iteration
   * @returns an iteration over the number of sessions so far
   * @throws TypeError at another stage, and if the new store hashes ids, so that it knows no sids
   */
  async *copyBack({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<number, void, undefined> {
    const operations = this.#operations;
    if (!(operations instanceof ToFirstStage)) {
      throw new TypeError(`copyBack() needs the stage "to-first", and this store is at "${this.stage}"`);
    }
    if (this.#internals.hashesIds) {
      throw new TypeError("copyBack() needs the ids of the sessions, which `to` hashes (option `hashIds`)");
    }
    let copied = 0;
    let batch: string[] = [];
    const copyBatch = async () => {
      await Promise.all(batch.map(sid => operations.copyBack(sid)));
      copied += batch.length;
      batch = [];
    };
    for await (const sid of this.#internals.storedSids(signal)) {
      batch.push(sid);
      if (batch.length < AT_ONCE) continue;
      await copyBatch();
      yield copied;
    }
    await copyBatch();
    yield copied;
  }

  /** Creates the `Session` of a request. Called by express-session with what `get` returned. */
  override createSession(
    req: Parameters<Store["createSession"]>[0],
    data: SessionData,
  ): ReturnType<Store["createSession"]> {
    const carryOver = this.#fromInternals?.carryOver(data);
    const session = this.#to.createSession(req, data);
    carryOver?.(session);
    return session;
  }

  /** Destroys the session of a request and creates another one. Called by express-session. */
  override regenerate(...[req, callback]: Parameters<Store["regenerate"]>): void {
    this.#internals.replaceSession(req);
    this.#fromInternals?.replaceSession(req);
    super.regenerate(req, callback);
  }

  override on<Event extends keyof MigrationEvents>(
    event: Event,
    listener: (payload: MigrationEvents[Event]) => void,
  ): this;
  override on(event: string | symbol, listener: Listener): this;
  override on(event: string | symbol, listener: Listener): this {
    return super.on(event, listener);
  }

  #emit<Event extends keyof MigrationEvents>(event: Event, describe: () => MigrationEvents[Event]): void {
    if (this.listenerCount(event) === 0) return;
    const payload = describe();
    process.nextTick(() => this.emit(event, payload));
  }

  async #all(): Promise<ListedSession[]> {
    const listed = this.stage === "from" ? [] : await this.#to.all();
    if (this.stage === "to") return listed;
    const found = new Map(listed.map(session => [session.id, session]));
    for (const [sid, session] of await this.#from.all()) {
      if (found.has(this.#internals.publicId(sid))) continue;
      const isLive = this.stage === "from" || (await this.#internals.peek(sid)).state === "absent";
      if (isLive) found.set(sid, Object.assign(session, { id: sid }));
    }
    return [...found.values()];
  }

  async #clear(): Promise<void> {
    // A request may have any of them, also one that is in the old store alone.
    if (this.stage !== "to") {
      const sids = [...(await this.#from.all()).keys()];
      for (let done = 0; done < sids.length; done += AT_ONCE) {
        await Promise.all(sids.slice(done, done + AT_ONCE).map(sid => this.#to.destroy(sid)));
      }
    }
    await this.#to.clear();
    if (this.stage !== "to") await this.#from.clear();
  }
}
