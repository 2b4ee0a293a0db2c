import { type Session, type SessionData, Store } from "express-session";
import { StoreError } from "../errors.js";
import { TimeSlice } from "../support/event-loop-slice.js";
import { UnderWay } from "../support/in-flight.js";
import { type Callback, type CallOptions, deliver, signalOf, signalOfOptions } from "./callbacks.js";
import { type Decoded, SessionCodec } from "./codec.js";
import { Observation, type OperationName, operations } from "./diagnostics.js";
import { absoluteEnd, cookieExpiry, expiryOf, wantedEnd } from "./expiry.js";
import { KeySpace } from "./keys.js";
import { Operation } from "./operation.js";
import { kindOf, misuse, type Rule } from "./options.js";
import {
  type Awaitable,
  type Deadline,
  type Expected,
  type Extension,
  isPromise,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
  type WriteResult,
} from "./record.js";
import { MOVED, type PendingWrite, Save, type SaveContext, type SaveOutcome } from "./save/save.js";
import { type Loaded, LoadedSessions } from "./save/tracked-sessions.js";
import { VersionSource } from "./save/versions.js";
import { type StoreOptions, type StoreSettings, settingsOf } from "./store-options.js";

/** A session as `all()` lists it. */
export type ListedSession = SessionData & { id: string };

/** Event `conflict`: a save met a record that was not the one that had been loaded. */
export interface ConflictEvent {
  /** `gone`: destroyed meanwhile, nothing was written. `merged`: changed meanwhile, both changes were kept. */
  reason: "gone" | "merged";
  /** For `merged`: the keys that both sides changed, where the value of the later save was kept. */
  keys: string[];
  /** Stands for the sid, which is a credential: SHA-256 in base64url, or with `hashIds` what listings give. */
  sidHash: string;
}

/** Event `corrupt`: a record that does not decode to an object. It counts as absent and stays where it is. */
export interface CorruptEvent {
  sidHash: string;
  cause: unknown;
}

/**
 * Event `expired`: a session past its expiry was met. DynamoDB and etcd remove such sessions by themselves and tell
 * nobody, so there only a `get` can tell.
 */
export interface ExpiredEvent {
  /**
   * `found`: a `get` found its record, which stays for the clean-up; each such `get` emits it. `removed`: the clean-up
   * of this memory or file store removed it, which is emitted once; of other prefixes in the file it is not.
   */
  reason: "found" | "removed";
  sidHash: string;
}

/** The events of a store, and what their listeners get. */
export interface StoreEvents {
  conflict: ConflictEvent;
  corrupt: CorruptEvent;
  expired: ExpiredEvent;
  /** Background work that failed. */
  error: unknown;
}

/** The listener of an event that is not the stores' own. */
// biome-ignore lint/suspicious/noExplicitAny: as EventEmitter has it
type Listener = (...args: any[]) => void;

/** What is particular to a backend. */
export interface StoreTraits {
  /** The default of the option `touchAfter`, in seconds. @defaultValue the automatic one */
  touchAfter?: number;
  /** Whether others may have keys there, so that the store's own need the prefix. @defaultValue `true` */
  shared?: boolean;
}

/**
 * The contract of the stores, once: a backend adds the primitives at the end of this class, which speak of records,
 * while the public methods speak of sessions.
 *
 * Every method takes a callback or, without one, returns a promise. A callback is called once and never
 * synchronously. Wrong arguments give a `TypeError`, everything else that fails a {@link StoreError}.
 *
 * Emits `conflict` ({@link ConflictEvent}), `corrupt` ({@link CorruptEvent}), `expired` ({@link ExpiredEvent}) and, for
 * failed background work and only if somebody listens, `error`. What each call came to and how long it took is
 * published on the channel `express-session-stores:operation` of node:diagnostics_channel ({@link OperationMessage}).
 */
export abstract class AbstractStore extends Store {
  /** What every key begins with, as it was given. */
  readonly prefix: string;

  readonly #settings: StoreSettings;
  readonly #keys: KeySpace;
  readonly #codec: SessionCodec;
  readonly #saveContext: SaveContext;
  readonly #loaded = new LoadedSessions();
  /** The last save or removal under way of each key: they queue. */
  readonly #writes = new Map<string, PendingWrite>();
  readonly #running = new UnderWay();
  #closing: Promise<void> | undefined;

  /**
   * @param options - the shared options and those of the backend
   * @param ownRules - what the backend's own options must be
   * @throws TypeError for an unknown or ill-typed option
   */
  protected constructor(
    options: StoreOptions,
    ownRules: Record<string, Rule> = {},
    traits: StoreTraits = {},
  ) {
    super();
    this.#settings = settingsOf(new.target.name, options, ownRules, traits.touchAfter);
    this.prefix = this.#settings.prefix;
    this.#keys = new KeySpace(traits.shared === false ? "" : this.prefix, this.#settings.hashing);
    const { serializer, encryption } = this.#settings;
    this.#codec = new SessionCodec(serializer, this.#keys, encryption, (key, cause) =>
      this.#report("corrupt", () => ({ sidHash: this.#keys.sidHashOf(key), cause })),
    );
    this.#saveContext = {
      settings: this.#settings,
      codec: this.#codec,
      versions: new VersionSource(),
      write: (key, record, expected, operation) => {
        try {
          return orUnavailable(this._write(key, record, expected, operation));
        } catch (error) {
          return unavailable(error);
        }
      },
      remove: (key, operation) => this.#guard(() => this._remove(key, operation)),
      removeSession: (sid, key, operation) => this.#removeSession(sid, key, operation),
      read: (key, operation) => this.#read(key, operation),
    };
  }

  /** The session of `sid`; `null` if there is none, it has expired, or its record cannot be read. */
  override get(sid: string, callback: Callback<SessionData | null>): void;
  override get(sid: string, options?: CallOptions): Promise<SessionData | null>;
  override get(sid: string, last?: CallOptions | Callback<SessionData | null>): unknown {
    return this.#run("get", sid, last, operation => {
      const key = this.#keyOf(sid);
      const former = this.#keys.formerKeyOf(sid);
      if (former !== undefined) return this.#getEither(sid, key, former, operation);
      const record = this.#read(key, operation);
      return isPromise(record)
        ? record.then(found => this.#found(sid, key, found))
        : this.#found(sid, key, record);
    });
  }

  /**
   * Saves a session. One that was loaded from this store (or saved before, for a `Session`) is saved conditionally:
   * not at all if it was destroyed meanwhile, merged if it was changed (option `conflict`). Anything else starts a
   * new record. A session whose expiry is past is removed.
   */
  override set(sid: string, session: SessionData, callback: Callback<void>): void;
  override set(sid: string, session: SessionData, options?: CallOptions): Promise<void>;
  override set(sid: string, session: SessionData, last?: CallOptions | Callback<void>): unknown {
    return this.#run("set", sid, last, operation => this.#set(sid, session, operation));
  }

  /** Removes a session. One that does not exist is fine. */
  override destroy(sid: string, callback: Callback<void>): void;
  override destroy(sid: string, options?: CallOptions): Promise<void>;
  override destroy(sid: string, last?: CallOptions | Callback<void>): unknown {
    return this.#run("destroy", sid, last, operation => {
      const key = this.#keyOf(sid);
      const remove = () => {
        operation.throwIfEnded();
        return this.#removeSession(sid, key, operation) as Awaitable<undefined>;
      };
      // Not ahead of a save that is still under way: it could bring the session back.
      const before = this.#writes.get(key);
      const outcome = before === undefined ? remove() : after(before, remove);
      return isPromise(outcome) ? this.#queue(key, operation, outcome) : outcome;
    });
  }

  /** Prolongs a session and changes nothing else. It never shortens one, and does nothing for one that is gone. */
  override touch(sid: string, session: SessionData, callback: Callback<void>): void;
  override touch(sid: string, session: SessionData, options?: CallOptions): Promise<void>;
  override touch(sid: string, session: SessionData, last?: CallOptions | Callback<void>): unknown {
    return this.#run("touch", sid, last, operation => this.#touch(sid, session, operation));
  }

  /** All live sessions, each with its `id`. Holds them all in memory: `entries()` does not. */
  override all(callback: Callback<ListedSession[]>): void;
  override all(options?: CallOptions): Promise<ListedSession[]>;
  override all(last?: CallOptions | Callback<ListedSession[]>): unknown {
    return this.#runListing("all", last, async signal => {
      const sessions: ListedSession[] = [];
      for await (const [sid, session] of this.#entries(signal))
        sessions.push(Object.assign(session, { id: sid }));
      return sessions;
    });
  }

  /** The ids of all live sessions. Does not decode the sessions. */
  ids(callback: Callback<string[]>): void;
  ids(options?: CallOptions): Promise<string[]>;
  ids(last?: CallOptions | Callback<string[]>): unknown {
    return this.#runListing("ids", last, async signal => {
      const sids: string[] = [];
      const isLive = this.#isLiveNow();
      for await (const page of this.#pages(signal)) {
        for (const { key, record } of page) {
          const sid = isLive(record) ? this.#codec.sidOf(key, record) : undefined;
          if (sid !== undefined) sids.push(sid);
        }
      }
      return sids;
    });
  }

  /** How many live sessions there are. Does not decode the sessions. */
  override length(callback: Callback<number>): void;
  override length(options?: CallOptions): Promise<number>;
  override length(last?: CallOptions | Callback<number>): unknown {
    return this.#runListing("length", last, async signal => {
      const count = await this._count(this.#isLiveNow(), () => this.#pages(signal));
      signal?.throwIfAborted();
      return count;
    });
  }

  /** Removes every session of this prefix, and of no other. */
  override clear(callback: Callback<void>): void;
  override clear(options?: CallOptions): Promise<void>;
  override clear(last?: CallOptions | Callback<void>): unknown {
    return this.#runListing("clear", last, async signal => {
      for await (const page of this.#pages(signal)) {
        await this.#step(signal, operation =>
          this._removeAll(
            page.map(({ key }) => key),
            operation,
          ),
        );
      }
    });
  }

  /** The live sessions as `[sid, session]`, page by page, in bounded memory. */
  async *entries(options?: CallOptions): AsyncGenerator<[string, SessionData], void, undefined> {
    const entries = this.#entries(signalOfOptions(options), () => this._assertOpen());
    yield* operations.hasSubscribers ? new Observation(this, this.#keys, "entries").follow(entries) : entries;
  }

  /** Succeeds if the backend can be reached and used. */
  ping(callback: Callback<void>): void;
  ping(options?: CallOptions): Promise<void>;
  ping(last?: CallOptions | Callback<void>): unknown {
    return this.#run("ping", undefined, last, operation => this.#guard(() => this._ping(operation)));
  }

  /**
   * Waits for the operations under way, then frees what the store opened itself; an injected client stays open.
   * Whatever is called afterwards fails with `ERR_STORE_CLOSED`; a second `close()` is fine.
   */
  close(callback: Callback<void>): void;
  close(): Promise<void>;
  close(callback?: Callback<void>): unknown {
    if (callback !== undefined && callback !== null && typeof callback !== "function") {
      return deliver(Promise.reject(misuse("callback", "a function", callback)), undefined);
    }
    this.#closing ??= this.#running.end().then(() => this._close());
    return deliver(this.#closing, callback ?? undefined);
  }

  /** Makes the `Session` of a request; called by express-session with what `get` returned. */
  override createSession(
    req: Parameters<Store["createSession"]>[0],
    data: SessionData,
  ): ReturnType<Store["createSession"]> {
    const session = super.createSession(req, data);
    this.#loaded.carryOver(data, session);
    return session;
  }

  override on<Event extends keyof StoreEvents>(
    event: Event,
    listener: (details: StoreEvents[Event]) => void,
  ): this;
  override on(event: string | symbol, listener: Listener): this;
  override on(event: string | symbol, listener: Listener): this {
    return super.on(event, listener);
  }

  override once<Event extends keyof StoreEvents>(
    event: Event,
    listener: (details: StoreEvents[Event]) => void,
  ): this;
  override once(event: string | symbol, listener: Listener): this;
  override once(event: string | symbol, listener: Listener): this {
    return super.once(event, listener);
  }

  /** For backends with methods of their own. @throws StoreError `ERR_STORE_CLOSED` */
  protected _assertOpen(): void {
    if (this.#closing !== undefined) {
      throw new StoreError("ERR_STORE_CLOSED", "The session store was closed and cannot be used any more.");
    }
  }

  /** Runs one operation within its time limit, and delivers its outcome. */
  #run<T>(
    name: OperationName,
    sid: unknown,
    last: CallOptions | Callback<T> | undefined,
    work: (operation: Operation) => Awaitable<T>,
  ): Promise<T> | undefined {
    const observation = operations.hasSubscribers ? new Observation(this, this.#keys, name, sid) : undefined;
    let operation: Operation | undefined;
    let outcome: Awaitable<T>;
    try {
      this._assertOpen();
      operation = new Operation(this.#settings.timeoutMs, signalOf(last));
      outcome = work(operation);
      if (isPromise(outcome)) outcome = this._track(operation.limit(outcome));
    } catch (error) {
      outcome = Promise.reject(error);
    }
    observation?.watch(outcome, operation);
    // Requests that arrived together go through each stage together, not one after the other: a tenth more pages.
    const later = name === "get" ? setImmediate : process.nextTick;
    return deliver(outcome, typeof last === "function" ? last : undefined, later);
  }

  /** Runs work of many steps: the time limit is that of each step, not of the whole. */
  #runListing<T>(
    name: OperationName,
    last: CallOptions | Callback<T> | undefined,
    work: (signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> | undefined {
    const observation = operations.hasSubscribers ? new Observation(this, this.#keys, name) : undefined;
    let outcome: Promise<T>;
    try {
      this._assertOpen();
      const signal = signalOf(last);
      signal?.throwIfAborted();
      outcome = this._track(work(signal));
    } catch (error) {
      outcome = Promise.reject(error);
    }
    observation?.watch(outcome);
    return deliver(outcome, typeof last === "function" ? last : undefined);
  }

  #step<T>(signal: AbortSignal | undefined, work: (operation: Operation) => Awaitable<T>): Awaitable<T> {
    const operation = new Operation(this.#settings.timeoutMs, signal);
    const outcome = this.#guard(() => work(operation));
    return isPromise(outcome) ? operation.limit(outcome) : outcome;
  }

  /** For backends with methods of their own: `close()` waits for them. */
  protected _track<T>(promise: Promise<T>): Promise<T> {
    return this.#running.track(promise);
  }

  /** Calls a primitive; what fails there, other than in a way that has a code, is an unavailable backend. */
  #guard<T>(primitive: () => Awaitable<T>): Awaitable<T> {
    try {
      return orUnavailable(primitive());
    } catch (error) {
      return unavailable(error);
    }
  }

  #keyOf(sid: unknown): string {
    if (typeof sid !== "string" || sid === "") {
      // The value is not shown: it may be a sid in a wrapper.
      throw new TypeError(
        `Expected \`sid\` to be a non-empty string, got ${sid === "" ? "an empty one" : typeof sid}`,
      );
    }
    return this.#keys.keyOf(sid);
  }

  /** Removes a session under its key, and every other that it may have. */
  #removeSession(sid: string, key: string, operation: Operation): Awaitable<void> {
    const others = this.#keys.otherKeysOf(sid);
    // One by one, not as a page: whoever may remove a session need not be allowed to remove many at once.
    return this.#guard(() =>
      others.length === 0
        ? this._remove(key, operation)
        : Promise.all([key, ...others].map(each => this._remove(each, operation))).then(() => {}),
    );
  }

  #read(key: string, operation: Operation): Awaitable<StoredRecord | undefined> {
    try {
      return orUnavailable(this._read(key, operation));
    } catch (error) {
      return unavailable(error);
    }
  }

  #found(sid: string, key: string, record: StoredRecord | undefined): Awaitable<SessionData | null> {
    if (record === undefined) return null;
    if (this.#isOver(record, this.#settings.now())) {
      this.#reportExpired("found", key);
      return null;
    }
    const decoded = this.#codec.decode(key, record);
    return isPromise(decoded)
      ? decoded.then(found => this.#remember(sid, key, record, found))
      : this.#remember(sid, key, record, decoded);
  }

  /** While sessions move from plain to hashed keys. Read again in the end: it may have moved meanwhile. */
  async #getEither(
    sid: string,
    key: string,
    former: string,
    operation: Operation,
  ): Promise<SessionData | null> {
    for (const place of [key, former, key]) {
      const record = await this.#read(place, operation);
      if (record !== undefined && record.expiresAt !== MOVED) return await this.#found(sid, place, record);
    }
    return null;
  }

  #remember(sid: string, key: string, record: StoredRecord, found: Decoded | null): SessionData | null {
    if (found === null) return null;
    this.#loaded.remember(found.session, sid, key, record, found.text);
    return found.session;
  }

  /** Whether a session has ended. Its record may be older than the option `absoluteTimeout`. */
  #isOver(record: StoredRecord, now: number): boolean {
    if (record === UNREADABLE) return false;
    return record.expiresAt <= now || absoluteEnd(record.createdAt, this.#settings.expiry) <= now;
  }

  #set(sid: string, session: SessionData, operation: Operation): Awaitable<void> {
    assertSession(session);
    const known = this.#loaded.find(session);
    // Used under another sid than it was loaded from, it is a new one.
    let loaded = known?.sid === sid ? known : undefined;
    const key = loaded === undefined ? this.#keyOf(sid) : loaded.key;
    if (known === undefined && isRequestSession(session)) {
      // A new session of a request: its next save must not bring it back if it is destroyed in between.
      loaded = this.#loaded.remember(session, sid, key, undefined, "");
    }
    const movesTo = this.#keys.isHashing && loaded !== undefined ? this.#keyOf(sid) : key;
    const save = new Save(this.#saveContext, operation, sid, key, session, loaded, movesTo);
    const before = this.#writes.get(movesTo);
    const run = (latest?: StoredRecord) => this.#replacing(loaded, sid, save.run(latest), operation);
    const outcome = before === undefined ? run() : after(before, run);
    if (!isPromise(outcome)) return this.#reportOutcome(sid, outcome, operation);
    return this.#queue(movesTo, operation, outcome).then(reached =>
      this.#reportOutcome(sid, reached, operation),
    );
  }

  /** What is saved anew replaces what there may be under the key from before ids were hashed. */
  #replacing(
    loaded: Loaded | undefined,
    sid: string,
    outcome: Awaitable<SaveOutcome>,
    operation: Operation,
  ): Awaitable<SaveOutcome> {
    const former = loaded === undefined ? this.#keys.formerKeyOf(sid) : undefined;
    if (former === undefined) return outcome;
    const remove = async (reached: SaveOutcome) => {
      operation.throwIfEnded();
      await this.#guard(() => this._remove(former, operation));
      return reached;
    };
    return isPromise(outcome) ? outcome.then(remove) : remove(outcome);
  }

  /** Lets later writes of the key wait for this one. */
  #queue<T extends SaveOutcome | undefined>(
    key: string,
    operation: Operation,
    outcome: PromiseLike<T>,
  ): PromiseLike<T> {
    // One that the backend never answers holds up the next no longer than its own caller.
    const pending: PendingWrite = { ended: () => operation.limit(outcome).catch(() => undefined) };
    this.#writes.set(key, pending);
    const done = () => {
      pending.ended = undefined;
      if (this.#writes.get(key) === pending) this.#writes.delete(key);
    };
    outcome.then(done, done);
    return outcome;
  }

  #reportOutcome(sid: string, { reason, keys, stored }: SaveOutcome, operation: Operation): void {
    operation.outcome = reason === "written" && stored === undefined ? "removed" : reason;
    if (reason === "written") return;
    this.#report("conflict", () => ({ reason, keys, sidHash: this.#keys.sidHash(sid) }));
  }

  #touch(sid: string, session: SessionData, operation: Operation): Awaitable<void> {
    assertSession(session);
    const known = this.#loaded.find(session);
    const seen = known?.sid === sid ? known : undefined;
    const key = seen === undefined ? this.#keyOf(sid) : seen.key;
    operation.outcome = "skipped";
    if (this.#settings.disableTouch) return;
    const record = seen?.record;
    if (record !== undefined) {
      const extended = this.#extend(key, session, record.createdAt, seen, operation);
      const movesTo = this.#keys.isHashing ? this.#keyOf(sid) : key;
      if (movesTo === key) return extended;
      return Promise.resolve(extended).then(() => {
        // Not there any more: another may have moved it.
        const isGone = operation.outcome === "none";
        return isGone ? this.#extend(movesTo, session, record.createdAt, undefined, operation) : undefined;
      });
    }
    const former = this.#keys.formerKeyOf(sid);
    return former === undefined
      ? this.#extendUnseen(key, session, operation)
      : Promise.all([key, former].map(place => this.#extendUnseen(place, session, operation))).then(() => {});
  }

  #extendUnseen(key: string, session: SessionData, operation: Operation): Awaitable<void> {
    if (this.#settings.expiry.absoluteTimeoutMs === undefined) {
      return this.#extend(key, session, 0, undefined, operation);
    }
    // How far it may be prolonged depends on when it began.
    return Promise.resolve(this.#read(key, operation)).then(stored => {
      if (stored !== undefined) return this.#extend(key, session, stored.createdAt, undefined, operation);
      operation.outcome = "none";
    });
  }

  #extend(
    key: string,
    session: SessionData,
    createdAt: number,
    seen: Loaded | undefined,
    operation: Operation,
  ): Awaitable<void> {
    const now = this.#settings.now();
    operation.throwIfEnded();
    const policy = this.#settings.expiry;
    const wanted = wantedEnd(session, cookieExpiry(session), now, policy.ttl);
    const { sessionEnd, expiresAt, slack, touchAfterMs } = expiryOf(wanted, createdAt, now, policy);
    if (expiresAt <= now) return;
    // Skipped only if the session ends in time without it: capped by `absoluteTimeout`, an expiry may move too little.
    const seenEnd = seen === undefined ? 0 : seen.deadline.expiresAt;
    const moved = expiresAt - seenEnd;
    if (moved < 0 || (moved < touchAfterMs && sessionEnd <= seenEnd)) return;
    const extended = this.#guard(() => this._extend(key, { expiresAt, slack, now }, seen?.record, operation));
    return isPromise(extended)
      ? extended.then(done => noteExtended(seen, done, { expiresAt, slack }, operation))
      : noteExtended(seen, extended, { expiresAt, slack }, operation);
  }

  /** The pages of the scan, without the records of longer prefixes; each page is fetched within the time limit. */
  async *#pages(
    signal: AbortSignal | undefined,
    check?: () => void,
  ): AsyncGenerator<ScannedRecord[], void, undefined> {
    let operation = new Operation(this.#settings.timeoutMs, signal);
    const pages = this._scan(this.#keys.start, () => operation)[Symbol.asyncIterator]();
    const slice = new TimeSlice();
    try {
      for (;;) {
        signal?.throwIfAborted();
        check?.();
        operation = new Operation(this.#settings.timeoutMs, signal);
        const next = await operation.limit(Promise.resolve(this.#guard(() => pages.next())));
        if (next.done) return;
        yield next.value.filter(({ key }) => this.#keys.owns(key));
        if (slice.isUsedUp) await slice.rest();
      }
    } finally {
      // Not awaited: a scan that hangs must not keep its caller from going on.
      pages.return?.().then(undefined, () => {});
    }
  }

  #isLiveNow(): (record: StoredRecord) => boolean {
    const now = this.#settings.now();
    return record => record !== UNREADABLE && !this.#isOver(record, now);
  }

  /** @param check - throws when the listing must end, before each page and after each entry */
  async *#entries(
    signal: AbortSignal | undefined,
    check?: () => void,
  ): AsyncGenerator<[string, SessionData], void, undefined> {
    const slice = new TimeSlice();
    for await (const page of this.#pages(signal, check)) {
      for (const { key, record } of page) {
        if (this.#isOver(record, this.#settings.now())) continue;
        const sid = this.#codec.sidOf(key, record);
        const decoded = this.#codec.decode(key, record);
        const found = isPromise(decoded) ? await this.#step(signal, () => decoded) : decoded;
        if (found === null || sid === undefined) continue;
        yield [sid, found.session];
        signal?.throwIfAborted();
        check?.();
        // Not only after each page: decoding one of large sessions takes long.
        if (slice.isUsedUp) await slice.rest();
      }
    }
  }

  /** Emits on a later tick: a listener that throws must not fail the operation. `describe` is for listeners alone. */
  #report<Event extends keyof StoreEvents>(event: Event, describe: () => StoreEvents[Event]): void {
    if (this.listenerCount(event) === 0) return;
    const details = describe();
    // Asked again then: an `error` that nobody listens to any more would end the process.
    process.nextTick(() => this.listenerCount(event) > 0 && this.emit(event, details));
  }

  #reportExpired(reason: ExpiredEvent["reason"], key: string): void {
    this.#report("expired", () => ({ reason, sidHash: this.#keys.sidHashOf(key) }));
  }

  /** For backends: their clean-up removed an expired record. */
  protected _reportExpired(key: string): void {
    if (this.#keys.owns(key)) this.#reportExpired("removed", key);
  }

  /** For backends: reports failed background work to whoever listens to `error`. */
  protected _reportError(error: unknown): void {
    this.#report("error", () => error);
  }

  /** For backends: the store's clock, in epoch milliseconds. */
  protected _now(): number {
    return this.#settings.now();
  }

  /*
   * The primitives. Keys are strings that begin with the prefix and are at most 1,538 bytes long; the arguments are
   * checked. What is expected to happen is a value, what is not is an exception. A primitive may return its result at
   * once or as a promise. `operation.signal` is aborted when the caller no longer waits.
   */

  /** The record of a key, expired or not; `undefined` if there is none, {@link UNREADABLE} if it is not a record. */
  protected abstract _read(key: string, operation: Operation): Awaitable<StoredRecord | undefined>;

  /**
   * Writes a record: whatever is stored if `expected` is undefined, else only over what is expected
   * ({@link isExpected}), checked and written in one atomic step. Otherwise nothing is written and the result has what
   * is stored. Acknowledged only when it is as durable as the backend makes it.
   */
  protected abstract _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
    operation: Operation,
  ): Awaitable<WriteResult>;

  /**
   * Moves the expiry of a record, in one atomic step, if {@link canExtend} says that it may; keeps its version and
   * everything else. Returns whether it did. `seen` is the record as this process last saw it, if it did.
   */
  protected abstract _extend(
    key: string,
    extension: Extension,
    seen: StoredRecord | undefined,
    operation: Operation,
  ): Awaitable<boolean>;

  /** Removes a record. None to remove is fine. */
  protected abstract _remove(key: string, operation: Operation): Awaitable<void>;

  /**
   * All records whose key begins with `start`, in pages of bounded size; expired ones may be among them. A record
   * that is there during the whole scan is in exactly one page. `operation()` is that of the page being fetched.
   */
  protected abstract _scan(start: string, operation: () => Operation): AsyncIterable<ScannedRecord[]>;

  /** How many records `isLive` says are. Override it where no pages are needed for that. */
  protected async _count(
    isLive: (record: StoredRecord) => boolean,
    pages: () => AsyncIterable<ScannedRecord[]>,
  ): Promise<number> {
    let count = 0;
    for await (const page of pages()) for (const { record } of page) if (isLive(record)) count += 1;
    return count;
  }

  /** Removes the records of a page of keys. Override it where the backend can do so in fewer requests. */
  protected async _removeAll(keys: string[], operation: Operation): Promise<void> {
    await Promise.all(keys.map(key => this._remove(key, operation)));
  }

  /** Fails if the backend cannot be used. Override it where a read does not tell. */
  protected async _ping(operation: Operation): Promise<void> {
    // A key that no sid has.
    await this._read(`${this.#keys.start}%ping`, operation);
  }

  /** Frees what the store opened itself. Called once. */
  protected async _close(): Promise<void> {}
}

/**
 * Writes of one session queue in this process: a `Session` never conflicts with itself, twenty parallel requests cost
 * twenty writes and not two hundred, and a removal comes after the saves before it. This one goes on when the one
 * before has ended; its caller is told of its own time limit meanwhile.
 */
async function after<T>(
  before: PendingWrite,
  write: (latest: StoredRecord | undefined) => Awaitable<T>,
): Promise<T> {
  const outcome = await before.ended?.();
  return await write(outcome?.stored);
}

function orUnavailable<T>(result: Awaitable<T>): Awaitable<T> {
  return isPromise(result) ? result.then(undefined, unavailable) : result;
}

function unavailable(error: unknown): never {
  if (error instanceof StoreError) throw error;
  throw new StoreError(
    "ERR_STORE_UNAVAILABLE",
    "The session store's backend failed or could not be reached; see `cause`.",
    {
      cause: error,
    },
  );
}

function noteExtended(
  seen: Loaded | undefined,
  extended: boolean,
  deadline: Deadline,
  operation: Operation,
): void {
  // A session with two keys is extended at one of them.
  if (extended || operation.outcome !== "extended") operation.outcome = extended ? "extended" : "none";
  if (seen !== undefined && extended && deadline.expiresAt > seen.deadline.expiresAt)
    seen.deadline = deadline;
}

function assertSession(session: unknown): asserts session is SessionData {
  if (typeof session !== "object" || session === null || Array.isArray(session)) {
    throw new TypeError(`Expected \`session\` to be an object, got ${kindOf(session)}`);
  }
}

/** A `Session`, and not plain data. Not asked with `instanceof`: an application may have a second express-session. */
function isRequestSession(session: SessionData): boolean {
  const { save, regenerate } = session as Partial<Session>;
  return typeof save === "function" && typeof regenerate === "function";
}
