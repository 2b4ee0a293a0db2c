import type { SessionData } from "express-session";
import type { Calls } from "./call.js";
import type { Outcome } from "./diagnostics.js";
import type { SessionKeys } from "./keys.js";
import type { Listings } from "./listings.js";
import type { Operation } from "./operation.js";
import type { Awaitable } from "./record.js";
import { type SessionRecord, SessionRecords } from "./session-records.js";
import type { Sessions } from "./sessions.js";
import type { StoreParts } from "./store-parts.js";
import {
  exportSessions,
  type ImportOutcome,
  type IncomingSession,
  importKeyOf,
  importSession,
  storedSids,
  type UnreadableRecord,
} from "./transfer.js";
import { UserIds } from "./users/user-ids.js";

/** What is stored under a sid, for code that must tell a session that was never there from one that was destroyed. */
export type Peeked =
  | { readonly state: "absent" | "destroyed" | "ended" | "unreadable" }
  /** The session is tracked, as one that `get` returns. `version` changes with each save. */
  | { readonly state: "live"; readonly session: SessionData; readonly version: string };

/** What the package's own code may do with a store, besides the methods that applications call. */
export interface StoreInternals {
  readonly timeoutMs: number;
  /** Whether the store has digests in place of sids. */
  readonly hashesIds: boolean;
  peek(sid: string): Promise<Peeked>;
  /** Saves as `set` does. Resolves with the outcome: `gone` if the session was destroyed or has ended. */
  save(sid: string, session: SessionData): Promise<Outcome>;
  /** As `touch`. Resolves with the outcome. */
  touch(sid: string, session: SessionData): Promise<Outcome>;
  /**
   * Takes a session that was just loaded elsewhere for the one that was peeked at: its next save replaces that, and is
   * rejected if the session is destroyed in between. The expiry in its cookie is not the request's doing.
   */
  adopt(sid: string, session: SessionData, peeked: Peeked): void;
  /** The same for a session that a request has changed since. */
  rebase(sid: string, session: SessionData, peeked: Peeked): void;
  /** What the store knows of an object, for one that is made of it: the function that is returned tells it. */
  carryOver(from: SessionData): (to: SessionData) => void;
  /** Tells the store that the request gets another session. */
  replaceSession(req: object): void;
  /** Stores a session, with the time of use that its cookie shows, if nothing is stored under its sid: no tombstone either. */
  insert(sid: string, session: SessionData): Promise<boolean>;
  /** All live sessions, page by page, as another store can import them. */
  exportSessions(signal?: AbortSignal): AsyncGenerator<IncomingSession | UnreadableRecord, void, undefined>;
  /** The sids of all sessions and tombstones, page by page. Digests instead if ids are hashed. */
  storedSids(signal?: AbortSignal): AsyncGenerator<string, void, undefined>;
  /** Stores a session of another store if nothing is stored under its sid: no tombstone either. */
  importSession(incoming: IncomingSession, isDryRun: boolean): Promise<ImportOutcome>;
  /** What is stored under the key that an imported session would have. */
  peekIncoming(incoming: IncomingSession): Promise<Peeked>;
  /** Tombstones of this store object stay for so long from now on. */
  keepTombstones(ms: number): void;
  sidHash(sid: string): string;
  /** What listings show for a sid. */
  publicId(sid: string): string;
  now(): number;
  /** Whether the option `user` gives this user for a session. @throws TypeError for what is no user */
  isUserOf(session: SessionData, user: unknown): boolean;
  /** What the backend has of the sessions, without decoding them. */
  readonly records: RecordInternals;
}

/** What the command line does with records. */
interface RecordInternals {
  /** Whether the store has the option `user`. */
  readonly keepsUsers: boolean;
  /** Page by page, tombstones and what cannot be read included. */
  all(signal?: AbortSignal): AsyncGenerator<SessionRecord[], void, undefined>;
  /** Of a sid, or of an id that listings show in its place. */
  find(sid: string): Promise<SessionRecord | undefined>;
  /** The sid as listings show it. */
  sidOf(record: SessionRecord): string | undefined;
  decode(record: SessionRecord): Promise<SessionData | null>;
  /** Destroys the session unless it was used since. Resolves with whether it was destroyed. */
  remove(record: SessionRecord): Promise<boolean>;
  /** What records may have for a user, also without the option `user`. @throws TypeError for what is no user */
  formsOfUser(user: string): readonly string[];
  /**
   * As `clear()`, but a page that was begun is finished, and so is counted.
   *
   * @param onPage - called with the number of records removed since the last call
   */
  clear(signal: AbortSignal, onPage: (removed: number) => void): Promise<void>;
  /** As `destroyByUser()`, and as {@link clear}. */
  destroyByUser(user: string, signal: AbortSignal, onPage: (removed: number) => void): Promise<void>;
}

/** The parts of a store that its internals are made of. */
interface InternalParts {
  readonly parts: StoreParts;
  readonly keys: SessionKeys;
  readonly calls: Calls;
  readonly listings: Listings;
  readonly sessions: Sessions;
  clear(operation: Operation, onPage: (removed: number) => void): Promise<void>;
  destroyByUser(user: string, operation: Operation, onPage: (removed: number) => void): Promise<unknown>;
}

type Run = <T>(work: (operation: Operation) => Awaitable<T>) => Promise<T>;

export function createInternals(store: InternalParts): StoreInternals {
  const { parts, keys, calls, listings, sessions } = store;
  const { settings } = parts;
  const run: Run = async work => {
    calls.assertOpen();
    const operation = calls.operation(undefined);
    return await calls.track(operation.withTimeout(Promise.resolve().then(() => work(operation))));
  };
  const outcomeOf = async (operation: Operation, work: Awaitable<unknown>) => {
    await work;
    return operation.outcome as Outcome;
  };
  const scanned = (signal: AbortSignal | undefined) =>
    [parts, listings, calls.operation(signal), () => calls.assertOpen()] as const;
  return {
    timeoutMs: settings.timeoutMs,
    hashesIds: keys.hashesIds,
    peek: sid => run(operation => sessions.peek(sid, keys.keyOf(sid), operation)),
    peekIncoming: incoming =>
      run(operation => sessions.peek(incoming.publicId, importKeyOf(keys, incoming), operation)),
    exportSessions: signal => exportSessions(...scanned(signal), keys),
    storedSids: signal => storedSids(...scanned(signal)),
    importSession: (incoming, isDryRun) =>
      run(operation => importSession(parts, keys, incoming, isDryRun, operation)),
    save: (sid, session) => run(operation => outcomeOf(operation, sessions.set(sid, session, operation))),
    touch: (sid, session) => run(operation => outcomeOf(operation, sessions.touch(sid, session, operation))),
    adopt: (sid, session, peeked) => sessions.adopt(sid, session, peeked),
    rebase: (sid, session, peeked) => sessions.rebase(sid, session, peeked),
    carryOver: from => sessions.tracker.carryOver(from),
    replaceSession: req => sessions.tracker.replaceSession(req),
    insert: (sid, session) => run(operation => sessions.insert(sid, session, operation)),
    keepTombstones: ms => {
      settings.lifetimes.tombstoneMs = ms;
    },
    sidHash: sid => keys.sidHash(sid),
    publicId: sid => keys.publicIdOf(sid),
    now: () => settings.now(),
    isUserOf: (session, user) => {
      const [form] = settings.users?.ofArgument(user) ?? [];
      return form !== undefined && settings.users?.ofSession(session)?.[0] === form;
    },
    records: recordInternals(store, run),
  };
}

function recordInternals(store: InternalParts, run: Run): RecordInternals {
  const { parts, keys, calls, listings } = store;
  const records = new SessionRecords(parts, keys, listings);
  const { users, hashing, encryption } = parts.settings;
  return {
    keepsUsers: users !== undefined,
    all: signal => records.pages(calls.operation(signal), () => calls.assertOpen()),
    find: sid => run(operation => records.find(sid, operation)),
    sidOf: record => records.sidOf(record),
    decode: record => records.decode(record),
    remove: record => run(operation => records.remove(record, operation)),
    formsOfUser: user => new UserIds(() => undefined, hashing, encryption).ofArgument(user),
    clear: async (signal, onPage) => {
      await calls.track(store.clear(calls.operation(undefined), orStop(signal, onPage)));
    },
    destroyByUser: async (user, signal, onPage) => {
      await calls.track(store.destroyByUser(user, calls.operation(undefined), orStop(signal, onPage)));
    },
  };
}

/** Ends the work after the page in which the signal was aborted. */
function orStop(signal: AbortSignal, onPage: (removed: number) => void): (removed: number) => void {
  signal.throwIfAborted();
  return removed => {
    onPage(removed);
    signal.throwIfAborted();
  };
}
