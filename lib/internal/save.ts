import { StoreError } from "../errors.js";
import type { SessionCodec } from "./codec.js";
import { expiryOf } from "./expiry.js";
import type { Loaded } from "./loaded.js";
import { type Fields, type Merged, mergeSessions } from "./merge.js";
import type { Operation } from "./operation.js";
import {
  type Awaitable,
  type Deadline,
  type Expected,
  isPromise,
  type StoredRecord,
  type WriteResult,
} from "./record.js";
import type { StoreSettings } from "./store-options.js";
import { lineageOf, type VersionSource } from "./versions.js";

/** What saving needs of a store. */
export interface SaveContext {
  readonly settings: StoreSettings;
  readonly codec: SessionCodec;
  readonly versions: VersionSource;
  write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
    operation: Operation,
  ): Awaitable<WriteResult>;
  remove(key: string, operation: Operation): Awaitable<void>;
}

/** How a save ended: `gone` means that the session was destroyed meanwhile and nothing was written. */
export interface SaveOutcome {
  reason: "written" | "merged" | "gone";
  /** For `merged`: what both sides changed. */
  keys: string[];
  /** What is stored now, if that is known. */
  stored: StoredRecord | undefined;
}

/** A save or removal under way. */
export interface PendingWrite {
  /** What a removal gives says nothing. */
  readonly outcome: PromiseLike<SaveOutcome | undefined>;
  readonly operation: Operation;
}

const REMOVED: SaveOutcome = { reason: "written", keys: [], stored: undefined };
const GONE: SaveOutcome = { reason: "gone", keys: [], stored: undefined };

/** More unanswered writes than this are of no use, and each holds the session. */
const MAX_UNANSWERED = 4;

/** What a save has to know; `held` is what the request holds, serialized. */
export interface SaveRequest {
  key: string;
  sid: string;
  /** When the session wants to end, and the expiry of its cookie, as they were when it was serialized. */
  wanted: number;
  cookieEnd: number | undefined;
  held: string;
  loaded: Loaded | undefined;
  operation: Operation;
}

/**
 * One save, as the table in DESIGN.md, section 2.3, says. Ends when a write is accepted: each round that is refused
 * means that another request's write was accepted. Done at once where the backend answers at once.
 */
export class Save {
  readonly #context: SaveContext;
  readonly #request: SaveRequest;
  readonly #createdAt: number;
  readonly #ownDeadline: Deadline;
  /** Whether the expiry is this request's doing, and not just what it was when the session was loaded. */
  readonly #movesExpiry: boolean;
  /** What the next write has: this request's session, or the merged one. */
  #text: string;
  #deadline: Deadline;
  #expected: Expected | undefined;
  #merged = false;
  #contested: string[] = [];

  constructor(context: SaveContext, request: SaveRequest) {
    const now = context.settings.now();
    const { loaded } = request;
    const stored = loaded?.stored;
    this.#context = context;
    this.#request = request;
    this.#text = request.held;
    this.#createdAt = stored?.record.createdAt ?? now;
    this.#ownDeadline = expiryOf(request.wanted, this.#createdAt, now, context.settings.expiry);
    this.#movesExpiry =
      stored === undefined || request.cookieEnd === undefined || request.cookieEnd !== loaded?.sessionEnd;
    this.#deadline = this.#ownDeadline;
    if (stored !== undefined) this.#expect(stored.record, stored.deadline);
  }

  /**
   * @param latest - what is stored according to the save that this one waited for: saves it the refusal that it would
   * meet otherwise
   */
  run(latest?: StoredRecord): Awaitable<SaveOutcome> {
    const { key, loaded, operation } = this.#request;
    operation.throwIfEnded();
    if (this.#movesExpiry && this.#ownDeadline.expiresAt <= this.#context.settings.now()) {
      const removed = this.#context.remove(key, operation);
      return isPromise(removed) ? removed.then(() => REMOVED) : REMOVED;
    }
    const stored = loaded?.stored?.record;
    if (loaded === undefined || stored === undefined) return this.#write();
    const { codec, settings } = this.#context;
    if (settings.conflict !== "error" && latest !== undefined && isLaterWrite(latest, stored)) {
      return this.#refused(stored, latest);
    }
    // After a merge the request holds less than what is stored.
    return loaded.held === codec.textOf(key, stored) ? this.#write() : this.#writeOnTopOf(stored, loaded);
  }

  /**
   * Sets what the next write expects to be stored, and which expiry it has: its own if it moves that, but in a merge
   * the later one. A save that does not move it leaves it as it is, with the time for skipped touches.
   */
  #expect(record: StoredRecord, deadline: Deadline): void {
    const decides = this.#movesExpiry && !this.#merged;
    this.#deadline = decides || endOf(this.#ownDeadline) > endOf(deadline) ? this.#ownDeadline : deadline;
    const expiresBy = Math.max(deadline.expiresAt, this.#deadline.expiresAt);
    this.#expected = { version: record.version, expiresBy, seen: record };
  }

  #write(): Awaitable<SaveOutcome> {
    const { codec, versions } = this.#context;
    const { key, sid, held, loaded, operation } = this.#request;
    operation.throwIfEnded();
    const record: StoredRecord = {
      data: codec.pack(key, sid, this.#text),
      version: this.#expected === undefined ? versions.begin() : versions.follow(this.#expected.version),
      expiresAt: this.#deadline.expiresAt,
      slack: this.#deadline.slack,
      createdAt: this.#createdAt,
    };
    const result = this.#context.write(key, record, this.#expected, operation);
    if (!isPromise(result)) return this.#answered(record, result);
    if (loaded !== undefined) noteUnanswered(loaded, record.version, held);
    return result.then(answer => this.#answered(record, answer));
  }

  #answered(record: StoredRecord, result: WriteResult): Awaitable<SaveOutcome> {
    const { cookieEnd, held, loaded, operation } = this.#request;
    // The caller has been told that it failed: what came of it is found out by the next save.
    operation.throwIfEnded();
    const stored = result.written ? record : result.current;
    // A client that sends again after an answer was lost meets its own first attempt.
    if (stored?.version !== record.version) return this.#refused(record, stored);
    if (loaded !== undefined) {
      loaded.stored = { record: stored, deadline: stored };
      loaded.held = held;
      loaded.sessionEnd = cookieEnd;
      loaded.unanswered = undefined;
    }
    return { reason: this.#merged ? "merged" : "written", keys: this.#contested, stored };
  }

  /** Only the save of a loaded session is ever refused: no other expects anything. */
  #refused(record: StoredRecord, current: StoredRecord | undefined): Awaitable<SaveOutcome> {
    const loaded = this.#request.loaded as Loaded;
    if (current === undefined || lineageOf(current.version) !== lineageOf(record.version)) return GONE;
    this.#expect(current, current);
    const earlier = loaded.unanswered?.get(current.version);
    if (earlier !== undefined) {
      // An earlier write of this session that was never answered had been done after all.
      loaded.stored = { record: current, deadline: current };
      loaded.held = earlier;
      return this.#writeOnTopOf(current, loaded);
    }
    // The same version: only a touch came between.
    if (current.version === loaded.stored?.record.version) return this.#write();
    switch (this.#context.settings.conflict) {
      case "overwrite":
        return this.#write();
      case "merge":
        this.#merged = true;
        this.#expect(current, current);
        return this.#writeOnTopOf(current, loaded);
      case "error":
        throw new StoreError(
          "ERR_SESSION_CONFLICT",
          "Another request changed the session since it was loaded: load it again and repeat the change.",
        );
    }
  }

  /** Writes what this request changed on top of what is stored. */
  async #writeOnTopOf(stored: StoredRecord, loaded: Loaded): Promise<SaveOutcome> {
    const { codec } = this.#context;
    const { key, sid, held } = this.#request;
    const theirs = await codec.decode(key, stored, sid);
    if (theirs === null) {
      throw new StoreError(
        "ERR_SESSION_SERIALIZE",
        "Another request changed the session, and what it saved cannot be read: the changes could not be merged.",
      );
    }
    const [base, mine] = await Promise.all([codec.fieldsOf(loaded.held), codec.fieldsOf(held)]);
    const { session, keys } = merge(base, mine, theirs as unknown as Fields);
    const ownEnd = endOf(this.#deadline) === endOf(this.#ownDeadline);
    if (ownEnd && Object.hasOwn(mine, "cookie")) session.cookie = mine.cookie;
    this.#text = await codec.serialize(session);
    this.#contested = keys;
    return await this.#write();
  }
}

function merge(base: Fields, mine: Fields, theirs: Fields): Merged {
  try {
    return mergeSessions(base, mine, theirs);
  } catch (cause) {
    throw new StoreError(
      "ERR_SESSION_SERIALIZE",
      "Another request changed the session, and the changes could not be merged: it is nested too deeply to be compared.",
      { cause },
    );
  }
}

function noteUnanswered(loaded: Loaded, version: string, held: string): void {
  loaded.unanswered ??= new Map();
  loaded.unanswered.set(version, held);
  const [oldest] = loaded.unanswered.keys();
  if (loaded.unanswered.size > MAX_UNANSWERED && oldest !== undefined) loaded.unanswered.delete(oldest);
}

/** Whether `latest` is another write of the record that `stored` is a write of. */
function isLaterWrite(latest: StoredRecord, stored: StoredRecord): boolean {
  return latest.version !== stored.version && lineageOf(latest.version) === lineageOf(stored.version);
}

/** When the session ends for its owner. */
function endOf(deadline: Deadline): number {
  return deadline.expiresAt - deadline.slack;
}
