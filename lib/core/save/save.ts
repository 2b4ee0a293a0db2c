import type { SessionData } from "express-session";
import { nextTurn } from "../../support/event-loop-slice.js";
import { type CookieTimes, cookieTimesOf } from "../cookie.js";
import {
  deleteAtOf,
  earliestActivity,
  GRACE_MS,
  isGone,
  type LifetimePolicy,
  MAX_TIME,
  useToKeep,
} from "../expiry.js";
import type { Operation } from "../operation.js";
import {
  type Awaitable,
  type Found,
  type FoundRecord,
  IF_ABSENT,
  ifVersion,
  isPromise,
  isSession,
  type StoredRecord,
  tombstoneOf,
  tombstoneOver,
  UNREADABLE,
  type WriteCondition,
  type WriteResult,
} from "../record.js";
import type { ConflictPolicy } from "../store-options.js";
import type { StoreParts } from "../store-parts.js";
import { entryOf } from "../users/entry.js";
import { writeWithinLimit } from "../users/session-limit.js";
import type { UserForms } from "../users/user-ids.js";
import { type Content, mergedContent } from "./content.js";
import { nextStep, type SaveFacts, type Step } from "./next-step.js";
import { isExpiryInPast, lastUse, requestedLifetime } from "./requested-lifetime.js";
import { assertAllowed } from "./save-errors.js";
import type { TrackedSession } from "./tracked-sessions.js";
import { createdVersion, isLaterVersion, lastWriteId } from "./write-ids.js";

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
  readonly #activeAt: number;
  readonly #endsSession: boolean;
  readonly #id: string;
  readonly #conflict: ConflictPolicy;
  /** What the request holds. */
  readonly #own: Writable<Content>;
  /** What the request's changes are measured against. Plain data is measured against what it finds stored. */
  #base: { readonly record?: StoredRecord | undefined; readonly text?: string | undefined } = {};
  #isSent = false;
  #mayHaveTakenPlace = false;

  /**
   * Takes a snapshot of the session: the request may change it while the save waits for its turn.
   *
   * @param conflict - what happens if others have changed the session
   */
  constructor(
    parts: StoreParts,
    operation: Operation,
    tracked: TrackedSession,
    session: SessionData,
    now: number,
    conflict: ConflictPolicy,
  ) {
    const { codec, settings, ids } = parts;
    this.#conflict = conflict;
    this.#parts = parts;
    this.#operation = operation;
    this.#tracked = tracked;
    this.#serialized = codec.serialize(session);
    // It may reject while this save waits for its turn and nobody listens.
    if (isPromise(this.#serialized)) this.#serialized.then(undefined, () => {});
    this.#times = cookieTimesOf(session);
    const lifetime = requestedLifetime(session, this.#times, tracked, now, settings);
    // A change by an administrator is no use of the session.
    const unused = tracked.onlyUser === undefined ? undefined : tracked.stored;
    this.#activeAt = unused?.record.activeAt ?? lastUse(this.#times, tracked, now);
    this.#endsSession = lifetime <= 0 || isExpiryInPast(this.#times, tracked, now);
    this.#id = this.#endsSession ? ids.nextRemoval() : ids.next();
    const user = this.#endsSession ? undefined : settings.users?.ofSession(session);
    this.#own = { text: "", lifetime, user, keys: NONE };
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
    this.#own.text = text;
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
      if (step.kind === "replace" && this.#conflict !== "error") return step;
    }
    return { kind: "replace", over: stored, since: "nothing", merges: this.#conflict === "merge" };
  }

  #facts(): SaveFacts {
    const { lifetimes } = this.#parts.settings;
    return {
      origin: this.#tracked.origin,
      known: this.#base.record,
      seenAt: this.#tracked.seenAt,
      ownId: this.#id,
      inDoubt: this.#tracked.inDoubt,
      mayHaveTakenPlace: this.#mayHaveTakenPlace,
      onlyUser: this.#tracked.onlyUser,
      conflict: this.#conflict,
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
      assertAllowed(step, this.#tracked.origin);
      if (step.kind === "done") return this.#recover(attempt, result.current as FoundRecord);
      if (step.kind === "gone") return GONE;
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
    const { sessionLimit } = this.#parts.settings;
    if (sessionLimit === undefined || !isSignIn(step, content)) return this.#write(step, content);
    const user = content.user as UserForms;
    const { key } = this.#tracked;
    return writeWithinLimit(this.#parts, sessionLimit, user, key, this.#operation, token =>
      this.#write(step, content, token),
    );
  }

  /** What the step writes: what the request holds or, if others have written, the merged session. */
  #contentOf(step: WriteStep): Awaitable<Content> {
    if (step.kind === "create" || !step.merges) return this.#own;
    const { stored, storedText } = this.#tracked;
    const baseText = step.baseText ?? this.#base.text;
    const isUnchanged = step.over.record.version === stored?.record.version && storedText === baseText;
    if (isUnchanged) return this.#own;
    const { maxAge, expires } = this.#times;
    const { text } = this.#base;
    const setsExpiry = maxAge === undefined && (text === undefined || expires !== this.#tracked.shownExpires);
    const sides = { own: this.#own, setsExpiry, baseText, over: step.over.record };
    return mergedContent(this.#parts, this.#tracked, sides);
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
      activeAt: isNew
        ? this.#activeAt
        : Math.max(this.#activeAt, useToKeep(over, content.lifetime, settings)),
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
    this.#tracked.sent(this.#id, this.#own.text);
  }

  #settled(result: WriteResult): void {
    this.#isSent = false;
    this.#parts.ids.settled(this.#id);
    if (!result.written && !result.retried) this.#tracked.rejected(this.#id);
  }

  #finish({ step, content, record }: Attempt, token: unknown): SaveOutcome {
    const stored: FoundRecord = { record, token };
    const { text, lifetime } = this.#own;
    const own = { text, lifetime, expires: this.#times.expires };
    this.#tracked.saved(stored, content.text, own);
    return { reason: reasonOf(step, content), keys: content.keys, stored };
  }

  /** Removes the session as the request asked, unless somebody else destroyed it. */
  async #end(): Promise<SaveOutcome> {
    const { backend, settings } = this.#parts;
    const { key, stored } = this.#tracked;
    // Others may have kept alive what has ended as far as this request knows.
    const isKnown = canBeSaved(stored, settings.now(), settings.lifetimes);
    let found: Found | undefined = isKnown ? stored : await backend.read(key, this.#operation);
    for (;;) {
      this.#operation.throwIfAbandoned();
      if (isTombstoneOf(found, this.#id)) return REMOVED;
      const now = settings.now();
      const step = nextStep(this.#facts(), found, now);
      assertAllowed(step, this.#tracked.origin);
      if (step.kind === "gone") return GONE;
      // Nothing is stored. A first save that had no response may still arrive, and must find the tombstone.
      const isAwaited = this.#mayHaveTakenPlace && found === undefined;
      // A request that is running could still save a session that has just ended.
      const isNeeded = step.kind === "replace" || isAwaited || canBeSaved(found, now, settings.lifetimes);
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

/** Whether a request that has loaded the session can still save it. */
function canBeSaved(found: Found | undefined, now: number, lifetimes: LifetimePolicy): boolean {
  return isSession(found) && !isGone(found.record, now, lifetimes);
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
