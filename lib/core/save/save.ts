import type { SessionData } from "express-session";
import { StoreError } from "../../errors.js";
import { nextTurn } from "../../support/event-loop-slice.js";
import type { SessionCodec } from "../codec.js";
import { type CookieTimes, cookieTimesOf, lifetimeOf } from "../cookie.js";
import { deleteAtOf, earliestActivity, GRACE_MS, isGone, MAX_TIME, shownExpiry } from "../expiry.js";
import type { GuardedBackend } from "../guarded-backend.js";
import type { Operation } from "../operation.js";
import {
  type Awaitable,
  type Found,
  type FoundRecord,
  IF_ABSENT,
  ifVersion,
  isPromise,
  type StoredRecord,
  tombstoneOf,
  tombstoneOver,
  UNREADABLE,
  type WriteCondition,
  type WriteResult,
} from "../record.js";
import type { StoreSettings } from "../store-options.js";
import { entryOf } from "../users/entry.js";
import { makeRoom, type SessionLimitOptions } from "../users/session-limit.js";
import type { UserForms } from "../users/user-ids.js";
import { type Fields, mergeSessions } from "./merge.js";
import { nextStep, type SaveFacts, type Step } from "./next-step.js";
import { isExpiryInPast, lastUse, requestedLifetime } from "./requested-lifetime.js";
import type { TrackedSession } from "./tracked-sessions.js";
import { createdVersion, isLaterVersion, lastWriteId, type WriteIds } from "./write-ids.js";
import type { WriteQueue } from "./write-queue.js";

/** What saves and touches need of a store. */
export interface StoreParts {
  readonly backend: GuardedBackend;
  readonly codec: SessionCodec;
  readonly settings: StoreSettings;
  readonly ids: WriteIds;
  /** Queues the sign-ins of each user, if they are limited: they would only reject each other. */
  readonly signIns: WriteQueue;
}

/** How a save ended. */
export interface SaveOutcome {
  /**
   * - `written`: as the request holds it; `merged`: with the changes of others;
   * - `untracked`: merged, although it is unknown what the request changed;
   * - `gone`: not written, the session was destroyed or ended; `removed`: ended, as the request asked.
   */
  readonly reason: "written" | "merged" | "untracked" | "gone" | "removed";
  /** The keys that both sides changed. */
  readonly keys: readonly string[];
  /** What is stored now, if it is known. */
  readonly stored: FoundRecord | undefined;
}

/** What a write stores. */
interface Content {
  readonly text: string;
  readonly lifetime: number;
  /** The user of the session, if the store has the option `user` and the session a user. */
  readonly user: UserForms | undefined;
  readonly keys: readonly string[];
}

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** A step that writes. */
type WriteStep = Extract<Step, { kind: "create" | "replace" }>;

/** A write that had a response. */
interface Attempt {
  readonly step: WriteStep;
  readonly content: Content;
  readonly record: StoredRecord;
  readonly result: WriteResult;
}

const NONE: readonly string[] = [];
const REMOVED: SaveOutcome = { reason: "removed", keys: NONE, stored: undefined };
const GONE: SaveOutcome = { reason: "gone", keys: NONE, stored: undefined };

/**
 * One save: a conditional write, then a loop that computes the next step anew from what is stored. It terminates, since
 * each rejection means that another request's write was accepted.
 */
export class SaveOperation {
  readonly #parts: StoreParts;
  readonly #operation: Operation;
  readonly #tracked: TrackedSession;
  readonly #serialized: Awaitable<string>;
  readonly #times: CookieTimes;
  readonly #lifetime: number;
  readonly #activeAt: number;
  readonly #endsSession: boolean;
  readonly #user: UserForms | undefined;
  readonly #id: string;
  /** The session as the request holds it, serialized. */
  #text = "";
  /** What the request's changes are measured against. Plain data is measured against what it finds stored. */
  #base: { readonly record?: StoredRecord | undefined; readonly text?: string | undefined } = {};
  #isSent = false;
  #mayHaveTakenPlace = false;

  /** Takes a snapshot of the session: the request may change it while the save waits for its turn. */
  constructor(
    parts: StoreParts,
    operation: Operation,
    tracked: TrackedSession,
    session: SessionData,
    now: number,
  ) {
    const { codec, settings, ids } = parts;
    this.#parts = parts;
    this.#operation = operation;
    this.#tracked = tracked;
    this.#serialized = codec.serialize(session);
    // It may reject while this save waits for its turn and nobody listens.
    if (isPromise(this.#serialized)) this.#serialized.then(undefined, () => {});
    this.#times = cookieTimesOf(session);
    this.#lifetime = requestedLifetime(session, this.#times, tracked, now, settings);
    // A change by an administrator is no use of the session.
    const unused = tracked.onlyUser === undefined ? undefined : tracked.stored;
    this.#activeAt = unused?.record.activeAt ?? lastUse(this.#times, tracked, now);
    this.#endsSession = this.#lifetime <= 0 || isExpiryInPast(this.#times, tracked, now);
    this.#user = this.#endsSession ? undefined : settings.users?.ofSession(session);
    this.#id = this.#endsSession ? ids.nextRemoval() : ids.next();
  }

  /**
   * @param latest - what the save before this one stored: if the session was loaded earlier, it avoids a write that
   * is certain to be rejected
   */
  run(latest?: FoundRecord): Awaitable<SaveOutcome> {
    const text = this.#serialized;
    return isPromise(text) ? text.then(settled => this.#start(settled, latest)) : this.#start(text, latest);
  }

  #start(text: string, latest: FoundRecord | undefined): Awaitable<SaveOutcome> {
    const { stored, baseText, inDoubt } = this.#tracked;
    this.#text = text;
    // As the save before it has left them.
    this.#base = { record: stored?.record, text: baseText };
    this.#mayHaveTakenPlace = inDoubt.length > 0;
    this.#operation.throwIfAbandoned();
    if (this.#endsSession) return this.#end();
    const attempt = this.#attempt(this.#firstStep(latest));
    return isPromise(attempt) ? attempt.then(settled => this.#settle(settled)) : this.#settle(attempt);
  }

  #settle(attempt: Attempt): Awaitable<SaveOutcome> {
    const { result } = attempt;
    return result.written ? this.#finish(attempt, result.token) : this.#resolve(attempt);
  }

  #firstStep(latest: FoundRecord | undefined): WriteStep {
    const { stored } = this.#tracked;
    if (stored === undefined) return { kind: "create", over: undefined };
    if (latest !== undefined && isLaterVersion(latest.record.version, stored.record.version)) {
      const step = nextStep(this.#facts(), latest, this.#parts.settings.now());
      // It only avoids a request. What was written earlier in this process decides nothing else.
      if (step.kind === "replace" && this.#parts.settings.conflict !== "error") return step;
    }
    return { kind: "replace", over: stored, since: "nothing", merges: true };
  }

  #facts(): SaveFacts {
    const { conflict, lifetimes } = this.#parts.settings;
    return {
      origin: this.#tracked.origin,
      known: this.#base.record,
      seenAt: this.#tracked.seenAt,
      ownId: this.#id,
      inDoubt: this.#tracked.inDoubt,
      mayHaveTakenPlace: this.#mayHaveTakenPlace,
      onlyUser: this.#tracked.onlyUser,
      conflict,
      lifetimes,
    };
  }

  /** Computes the next step from what is stored, until a write is accepted or there is nothing to write. */
  async #resolve(rejected: Attempt): Promise<SaveOutcome> {
    let attempt = rejected;
    for (let rounds = 1; ; rounds++) {
      const { result } = attempt;
      if (result.written) return this.#finish(attempt, result.token);
      this.#operation.throwIfAbandoned();
      if (result.retried) this.#mayHaveTakenPlace = true;
      await this.#adoptBase(attempt.step);
      const step = nextStep(this.#facts(), result.current, this.#parts.settings.now());
      switch (step.kind) {
        case "done":
          return this.#recover(attempt, result.current as FoundRecord);
        case "gone":
          return GONE;
        case "conflict":
          throw conflictError();
        case "unreadable":
          throw unreadableError(this.#tracked.origin);
      }
      // A backend that wrongly rejects writes must not keep the time limit from being noticed.
      if (rounds > 1) await nextTurn();
      attempt = await this.#attempt(step);
    }
  }

  /** Plain data replaces what is stored when it is written. What comes in between is a change by others. */
  async #adoptBase(step: WriteStep): Promise<void> {
    if (this.#tracked.origin !== "plain" || step.kind === "create") return;
    const { record } = step.over;
    const decoded = await this.#parts.codec.decode(this.#tracked.key, record, record.activeAt);
    this.#base = { record, text: decoded?.text };
  }

  /** The write took place although it was rejected when it was repeated. Others may have written since. */
  #recover(attempt: Attempt, current: FoundRecord): SaveOutcome {
    const isLast = lastWriteId(current.record.version) === this.#id;
    return isLast
      ? this.#finish({ ...attempt, record: current.record }, current.token)
      : this.#finish(attempt, undefined);
  }

  #attempt(step: WriteStep): Awaitable<Attempt> {
    const content = this.#contentOf(step);
    return isPromise(content)
      ? content.then(settled => this.#attemptWith(step, settled))
      : this.#attemptWith(step, content);
  }

  #attemptWith(step: WriteStep, content: Content): Awaitable<Attempt> {
    const isLimited = this.#parts.settings.sessionLimit !== undefined && isSignIn(step, content);
    return isLimited ? this.#signIn(step, content) : this.#write(step, content);
  }

  #signIn(step: WriteStep, content: Content): Awaitable<Attempt> {
    const user = content.user as UserForms;
    return this.#parts.signIns.run(user[0], this.#operation, () => this.#writeIfRoom(step, content, user));
  }

  /** Makes room and writes, again if another sign-in of the user was first. */
  async #writeIfRoom(step: WriteStep, content: Content, user: UserForms): Promise<Attempt> {
    const limit = this.#parts.settings.sessionLimit as SessionLimitOptions;
    for (;;) {
      this.#operation.throwIfAbandoned();
      const token = await makeRoom(this.#parts, limit, user, this.#tracked.key, this.#operation);
      const attempt = await this.#write(step, content, token);
      if (attempt.result.written || attempt.result.listChanged !== true) return attempt;
    }
  }

  /** What the step writes: what the request holds or, if others have written, the merged session. */
  #contentOf(step: WriteStep): Awaitable<Content> {
    if (step.kind === "create" || !step.merges) return this.#own;
    const { stored, storedText } = this.#tracked;
    const baseText = step.baseText ?? this.#base.text;
    const isUnchanged = step.over.record.version === stored?.record.version && storedText === baseText;
    return isUnchanged ? this.#own : this.#merge(step.over.record, baseText);
  }

  get #own(): Content {
    return { text: this.#text, lifetime: this.#lifetime, user: this.#user, keys: NONE };
  }

  async #merge(over: StoredRecord, baseText: string | undefined): Promise<Content> {
    const { codec, settings } = this.#parts;
    const expiry = shownExpiry(over, settings.now(), settings.lifetimes);
    const theirs = await codec.decode(this.#tracked.key, over, expiry);
    if (theirs === null) throw unreadableError(this.#tracked.origin);
    if (theirs.text === baseText) return this.#own;
    const [base, mine] = await Promise.all([
      baseText === undefined ? undefined : codec.fieldsOf(baseText),
      codec.fieldsOf(this.#text),
    ]);
    const { session, keys } = mergeSessions(
      base,
      mine,
      theirs.session as unknown as Fields,
      this.#setsExpiry,
    );
    const merged = session as unknown as SessionData;
    const lifetime = this.#mergedLifetime(merged, over);
    const user = settings.users?.ofSession(merged);
    return { text: await codec.serialize(session), lifetime, user, keys };
  }

  /** Whether the request changed the expiry of a cookie that has no `maxAge`. */
  get #setsExpiry(): boolean {
    const { maxAge, expires } = this.#times;
    return maxAge === undefined && (this.#base.text === undefined || expires !== this.#tracked.shownExpires);
  }

  #mergedLifetime(session: SessionData, over: StoredRecord): number {
    const { settings } = this.#parts;
    const times = cookieTimesOf(session);
    if (times.maxAge === undefined && times.expires !== undefined) {
      return this.#setsExpiry ? this.#lifetime : over.lifetime;
    }
    // A lifetime of 0 would make a tombstone of what others have written.
    return Math.max(1, lifetimeOf(session, times, settings.now(), settings.ttl));
  }

  /** @param listToken - of the user's list, if the write depends on it */
  #write(step: WriteStep, content: Content, listToken?: unknown): Awaitable<Attempt> {
    const { backend, codec, settings, ids } = this.#parts;
    const { key, sid, seenAt } = this.#tracked;
    this.#operation.throwIfAbandoned();
    const over = step.over?.record;
    const isNew = step.kind === "create" || over === undefined;
    const record: Writable<StoredRecord> = {
      data: codec.pack(key, sid, content.text),
      version: isNew ? createdVersion(this.#id, over) : ids.extend(over.version, this.#id),
      lifetime: content.lifetime,
      activeAt: isNew ? this.#activeAt : Math.max(this.#activeAt, over.activeAt),
      createdAt: isNew ? seenAt : over.createdAt,
    };
    const replaced = isNew ? undefined : over;
    // A process without the option leaves the user as it is.
    const user = settings.users === undefined ? replaced?.user : content.user?.[0];
    if (user !== undefined) record.user = user;
    const condition = this.#conditionOf(step, record);
    const entry = entryOf(replaced, record, this.#id, settings.lifetimes);
    const deleteAt = deleteAtOf(record, settings.lifetimes);
    const write = { record, condition, deleteAt, entry: entry && { ...entry, listToken } };
    const result = backend.write(key, write, this.#operation);
    if (!isPromise(result)) return { step, content, record, result };
    this.#sent();
    return result.then(settled => {
      // The caller has a timeout already. The next save of this session finds out whether the write took place.
      this.#operation.throwIfAbandoned();
      this.#settled(settled);
      return { step, content, record, result: settled };
    });
  }

  #conditionOf({ kind, over }: WriteStep, record: StoredRecord): WriteCondition {
    if (over === undefined) return IF_ABSENT;
    const { activeAt } = over.record;
    if (kind === "create") return ifVersion(over, activeAt, activeAt);
    const { settings } = this.#parts;
    const activeFrom = earliestActivity(over.record, settings.now(), GRACE_MS, settings.lifetimes);
    return ifVersion(over, activeFrom, record.activeAt);
  }

  #sent(): void {
    if (this.#isSent) return;
    this.#isSent = true;
    this.#parts.ids.sent(this.#id);
    this.#tracked.sent(this.#id, this.#text);
  }

  #settled(result: WriteResult): void {
    this.#isSent = false;
    this.#parts.ids.settled(this.#id);
    if (!result.written && !result.retried) this.#tracked.rejected(this.#id);
  }

  #finish({ step, content, record }: Attempt, token: unknown): SaveOutcome {
    const stored: FoundRecord = { record, token };
    const own = { text: this.#text, lifetime: this.#lifetime, expires: this.#times.expires };
    this.#tracked.saved(stored, content.text, own);
    return { reason: reasonOf(step, content), keys: content.keys, stored };
  }

  /** Removes the session as the request asked, unless somebody else destroyed it. */
  async #end(): Promise<SaveOutcome> {
    const { backend, settings } = this.#parts;
    const { key, stored } = this.#tracked;
    // Others may have kept alive what has ended as far as this request knows.
    const isKnown = stored !== undefined && !isGone(stored.record, settings.now(), settings.lifetimes);
    let found: Found | undefined = isKnown ? stored : await backend.read(key, this.#operation);
    for (;;) {
      this.#operation.throwIfAbandoned();
      if (isTombstoneOf(found, this.#id)) return REMOVED;
      const now = settings.now();
      const step = nextStep(this.#facts(), found, now);
      if (step.kind === "gone") return GONE;
      if (step.kind === "conflict") throw conflictError();
      if (step.kind === "unreadable") throw unreadableError(this.#tracked.origin);
      // Nothing is stored. A first save that had no response may still arrive, and must find the tombstone.
      const isNeeded = step.kind === "replace" || (this.#mayHaveTakenPlace && found === undefined);
      if (step.kind === "done" || !isNeeded) return REMOVED;
      const record = tombstoneOver(step.over, tombstoneOf(this.#id, now));
      const condition = step.over === undefined ? IF_ABSENT : ifVersion(step.over, -MAX_TIME, MAX_TIME);
      const write = { record, condition, deleteAt: deleteAtOf(record, settings.lifetimes) };
      const result = await backend.write(key, write, this.#operation);
      if (result.written) return REMOVED;
      found = result.current;
    }
  }
}

function isTombstoneOf(found: Found | undefined, id: string): boolean {
  return found !== undefined && found.record !== UNREADABLE && found.record.version === id;
}

/** Whether the write gives the session a user that it does not have. */
function isSignIn({ kind, over }: WriteStep, { user }: Content): boolean {
  if (user === undefined) return false;
  return kind === "create" || over.record.user === undefined || !user.includes(over.record.user);
}

function reasonOf(step: WriteStep, { keys }: Content): SaveOutcome["reason"] {
  if (step.kind === "create" || !step.merges) return "written";
  if (step.since === "unknown") return "untracked";
  // An earlier save of the request may have kept changes that the request has not seen.
  return step.since === "change" || keys.length > 0 ? "merged" : "written";
}

function conflictError(): StoreError {
  return new StoreError(
    "ERR_SESSION_CONFLICT",
    "Another request changed the session since it was loaded: load it again and repeat the change.",
  );
}

function unreadableError(origin: TrackedSession["origin"]): StoreError {
  const advice =
    origin === "loaded"
      ? "Another request changed the session, and what it saved cannot be read: the changes could not be merged."
      : "What is stored under the session's id cannot be read and was left in place: destroy the session first.";
  return new StoreError("ERR_SESSION_SERIALIZE", advice);
}
