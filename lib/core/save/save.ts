import type { SessionData } from "express-session";
import { StoreError } from "../../errors.js";
import type { SessionCodec } from "../codec.js";
import { cookieExpiry, expiryOf, wantedEnd } from "../expiry.js";
import type { Operation } from "../operation.js";
import {
  ABSENT,
  type Awaitable,
  type Deadline,
  type Expected,
  isPromise,
  NO_DEADLINE,
  type StoredRecord,
  type WriteResult,
} from "../record.js";
import type { StoreSettings } from "../store-options.js";
import { type Fields, type Merged, mergeSessions } from "./merge.js";
import type { Loaded } from "./tracked-sessions.js";
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
  /** Removes a session under its key, and every other that it may have. */
  removeSession(sid: string, key: string, operation: Operation): Awaitable<void>;
  read(key: string, operation: Operation): Awaitable<StoredRecord | undefined>;
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
  /**
   * Resolves when it has ended, or its caller been told that it did not in time; a save with how it ended. Absent when
   * it has ended: tables that a busy Map leaves behind have the entry for long (under-way.ts), but little else.
   */
  ended: (() => Promise<SaveOutcome | undefined>) | undefined;
}

/** The expiry of what is left at a key from which a session has moved, until it is removed. */
export const MOVED = 0;

const NONE: string[] = [];
const REMOVED: SaveOutcome = { reason: "written", keys: NONE, stored: undefined };
const GONE: SaveOutcome = { reason: "gone", keys: NONE, stored: undefined };

/** More unanswered writes than this are of no use, and each holds the session. */
const MAX_UNANSWERED = 4;

/**
 * One save, as the README's table of guarantees says. Ends when a write is accepted: each round that is refused
 * means that another request's write was accepted. Done at once where the backend answers at once.
 */
export class Save {
  readonly #context: SaveContext;
  readonly #operation: Operation;
  readonly #sid: string;
  #key: string;
  /** Another key than `#key` for a session that was found under one from before ids were hashed: it goes there. */
  readonly #movesTo: string;
  readonly #loaded: Loaded | undefined;
  /** When the session wants to end, and the expiry of its cookie. */
  readonly #wanted: number;
  readonly #cookieEnd: number | undefined;
  readonly #serialized: Awaitable<string>;
  /** What the request holds, serialized. */
  #held = "";
  /** What the next write has: this request's session, or the merged one. */
  #text = "";
  #createdAt = 0;
  #ownDeadline = NO_DEADLINE;
  #deadline = NO_DEADLINE;
  /**
   * Whether the expiry is as this request wants it. It is not if it is what it was when the session was loaded, and
   * if it is later: that is a keep-alive, of which the latest holds. express-session makes it when an answer begins
   * and saves when it ends, which may be after that expiry.
   */
  #decidesExpiry = true;
  #expected: Expected | undefined;
  #merged = false;
  #contested = NONE;

  /** Takes all it needs of the session now, not when its turn comes: the request may go on changing it. */
  constructor(
    context: SaveContext,
    operation: Operation,
    sid: string,
    key: string,
    session: SessionData,
    loaded: Loaded | undefined,
    movesTo = key,
  ) {
    const { codec, settings } = context;
    this.#context = context;
    this.#operation = operation;
    this.#sid = sid;
    this.#key = key;
    this.#movesTo = movesTo;
    this.#loaded = loaded;
    this.#serialized = codec.serialize(session);
    // It may fail while this save waits for its turn, when nobody looks at it yet.
    if (isPromise(this.#serialized)) this.#serialized.then(undefined, () => {});
    this.#cookieEnd = cookieExpiry(session);
    this.#wanted = wantedEnd(session, this.#cookieEnd, settings.now(), settings.expiry.ttl);
  }

  /**
   * @param latest - what is stored according to the save that this one waited for: saves it the refusal that it would
   * meet otherwise
   */
  run(latest?: StoredRecord): Awaitable<SaveOutcome> {
    const serialized = this.#serialized;
    return isPromise(serialized)
      ? serialized.then(held => this.#run(held, latest))
      : this.#run(serialized, latest);
  }

  #run(held: string, latest: StoredRecord | undefined): Awaitable<SaveOutcome> {
    this.#operation.throwIfEnded();
    const { settings } = this.#context;
    const now = settings.now();
    const loaded = this.#loaded;
    const stored = loaded?.record;
    this.#held = held;
    this.#text = held;
    this.#createdAt = stored === undefined ? now : stored.createdAt;
    this.#ownDeadline = expiryOf(this.#wanted, this.#createdAt, now, settings.expiry);
    this.#deadline = this.#ownDeadline;
    this.#decidesExpiry =
      stored === undefined ||
      this.#cookieEnd === undefined ||
      loaded?.sessionEnd === undefined ||
      this.#cookieEnd < loaded.sessionEnd;
    if (this.#decidesExpiry && this.#ownDeadline.expiresAt <= now) return this.#remove();
    if (loaded === undefined) return this.#write();
    if (stored === undefined)
      return loaded.unanswered === undefined ? this.#write() : this.#writeAgain(loaded);
    this.#expect(stored, loaded.deadline);
    if (settings.conflict !== "error" && latest !== undefined && isLaterWrite(latest, stored)) {
      return this.#refused(stored, latest);
    }
    // After a merge the request holds less than what is stored.
    return loaded.isBehind ? this.#writeOnTopOf(stored, loaded) : this.#write();
  }

  /**
   * The first save of a new session, after earlier ones that were never answered. If one of those was done, this save
   * is one of a session that is stored, as if the answer had come.
   */
  async #writeAgain(loaded: Loaded): Promise<SaveOutcome> {
    const current = await this.#context.read(this.#key, this.#operation);
    const earlier = loaded.unanswered?.find(
      ({ version }) => lineageOf(version) === lineageOf(current?.version ?? ""),
    );
    if (current === undefined || earlier === undefined) return await this.#write();
    const { data, expiresAt, slack, createdAt } = current;
    loaded.held = earlier.held;
    loaded.record = { data, version: earlier.version, expiresAt, slack, createdAt };
    this.#createdAt = createdAt;
    return await this.#refused(loaded.record, current);
  }

  #remove(): Awaitable<SaveOutcome> {
    const removed = this.#context.removeSession(this.#sid, this.#movesTo, this.#operation);
    return isPromise(removed) ? removed.then(() => REMOVED) : REMOVED;
  }

  /**
   * Sets what the next write expects to be stored, and which expiry it has: its own if it decides that, else, and in a
   * merge, the later one. One that stays as it is keeps its time for skipped touches.
   */
  #expect(record: StoredRecord, deadline: Deadline): void {
    const decides = this.#decidesExpiry && !this.#merged;
    this.#deadline = decides || endOf(this.#ownDeadline) > endOf(deadline) ? this.#ownDeadline : deadline;
    const expiresBy = Math.max(deadline.expiresAt, this.#deadline.expiresAt);
    this.#expected = { version: record.version, expiresBy, seen: record };
  }

  #write(): Awaitable<SaveOutcome> {
    const { codec, versions } = this.#context;
    this.#operation.throwIfEnded();
    const record: StoredRecord = {
      data: codec.pack(this.#key, this.#sid, this.#text),
      version: this.#expected === undefined ? versions.begin() : versions.follow(this.#expected.version),
      expiresAt: this.#deadline.expiresAt,
      slack: this.#deadline.slack,
      createdAt: this.#createdAt,
    };
    const result = this.#context.write(this.#key, record, this.#expected, this.#operation);
    if (!isPromise(result)) return this.#answered(record, result);
    if (this.#loaded !== undefined) noteUnanswered(this.#loaded, record.version, this.#held);
    return result.then(answer => this.#answered(record, answer));
  }

  #answered(record: StoredRecord, result: WriteResult): Awaitable<SaveOutcome> {
    // The caller has been told that it failed: what came of it is found out by the next save.
    this.#operation.throwIfEnded();
    const stored = result.written ? record : result.current;
    // A client that sends again after an answer was lost meets its own first attempt.
    if (stored !== record && stored?.version !== record.version) return this.#refused(record, stored);
    return this.#key === this.#movesTo ? this.#done(stored) : this.#move(stored);
  }

  #done(stored: StoredRecord): SaveOutcome {
    const loaded = this.#loaded;
    if (loaded !== undefined) {
      loaded.key = this.#key;
      loaded.record = stored;
      loaded.deadline = stored;
      loaded.held = this.#held;
      loaded.isBehind = this.#text !== this.#held;
      loaded.sessionEnd = this.#cookieEnd;
      loaded.unanswered = undefined;
    }
    return { reason: this.#merged ? "merged" : "written", keys: this.#contested, stored };
  }

  /**
   * Moves what was just written to its hashed key. First it is there as well, then it goes from the old one unless
   * that was changed meanwhile: by a removal, which has to hold for both, or by another save, which moves by itself.
   */
  async #move(stored: StoredRecord): Promise<SaveOutcome> {
    const [from, to] = [this.#key, this.#movesTo];
    const { version, expiresAt, slack, createdAt } = stored;
    const data = this.#context.codec.pack(to, this.#sid, this.#text);
    const there: StoredRecord = { data, version, expiresAt, slack, createdAt };
    const put = await this.#context.write(to, there, ABSENT, this.#operation);
    if (!put.written && put.current?.version !== version) {
      // A backend that cannot do this leaves it where it is.
      if (put.current === undefined) return this.#done(stored);
      // Another has moved the session: this save goes on where it is now.
      this.#key = to;
      const outcome = await this.#refused(stored, put.current);
      if (outcome.reason !== "gone") await this.#leave(from, stored);
      return outcome;
    }
    return await this.#leaveFor(there, from, stored);
  }

  /** Removes what was stored at the old key, for `there` at the new one. */
  async #leaveFor(there: StoredRecord, from: string, stored: StoredRecord): Promise<SaveOutcome> {
    const left = await this.#leave(from, stored);
    if (!left.written && left.current === undefined) {
      // Destroyed before it was put there, which the removal could not know.
      await this.#leave(this.#movesTo, there);
      return GONE;
    }
    if (!left.written && left.current?.version === stored.version) {
      // Touched meanwhile: that has to hold at the new key, too.
      const { expiresAt, slack } = left.current;
      const touched: StoredRecord = { ...there, expiresAt, slack, note: undefined };
      const expected = { version: there.version, expiresBy: expiresAt, seen: there };
      const { written } = await this.#context.write(this.#movesTo, touched, expected, this.#operation);
      return await this.#leaveFor(written ? touched : there, from, left.current);
    }
    this.#key = this.#movesTo;
    return this.#done(there);
  }

  /** Removes a record, if it is still this one. */
  async #leave(key: string, record: StoredRecord): Promise<WriteResult> {
    const { version, expiresAt, createdAt } = record;
    const expected = { version, expiresBy: expiresAt, seen: record };
    const left = this.#context.versions.follow(version);
    const moved = { data: "moved", version: left, expiresAt: MOVED, slack: 0, createdAt };
    const result = await this.#context.write(key, moved, expected, this.#operation);
    if (result.written) await this.#context.remove(key, this.#operation);
    return result;
  }

  /** Where another has moved the session, while this save wanted to write it at the old key. */
  async #findMoved(record: StoredRecord): Promise<SaveOutcome> {
    const moved = await this.#context.read(this.#movesTo, this.#operation);
    this.#key = this.#movesTo;
    return await this.#refused(record, moved);
  }

  /** Only the save of a loaded session is ever refused: no other expects anything. */
  #refused(record: StoredRecord, current: StoredRecord | undefined): Awaitable<SaveOutcome> {
    const loaded = this.#loaded as Loaded;
    if (this.#key !== this.#movesTo && (current === undefined || current.expiresAt === MOVED)) {
      return this.#findMoved(record);
    }
    if (current === undefined || lineageOf(current.version) !== lineageOf(record.version)) return GONE;
    this.#expect(current, current);
    const earlier = loaded.unanswered?.find(({ version }) => version === current.version);
    if (earlier !== undefined) {
      // An earlier write of this session that was never answered had been done after all.
      loaded.record = current;
      loaded.deadline = current;
      loaded.held = earlier.held;
      // That write may have been a merge.
      loaded.isBehind = true;
      return this.#writeOnTopOf(current, loaded);
    }
    // The same version: only a touch came between.
    if (current.version === loaded.record?.version) return this.#write();
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
    const theirs = await codec.decode(this.#key, stored);
    if (theirs === null) {
      throw new StoreError(
        "ERR_SESSION_SERIALIZE",
        "Another request changed the session, and what it saved cannot be read: the changes could not be merged.",
      );
    }
    const [base, mine] = await Promise.all([codec.fieldsOf(loaded.held), codec.fieldsOf(this.#held)]);
    const { session, keys } = merge(base, mine, theirs.session as unknown as Fields);
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
  loaded.unanswered = [...(loaded.unanswered ?? []).slice(1 - MAX_UNANSWERED), { version, held }];
}

/** Whether `latest` is another write of the record that `stored` is a write of. */
function isLaterWrite(latest: StoredRecord, stored: StoredRecord): boolean {
  return latest.version !== stored.version && lineageOf(latest.version) === lineageOf(stored.version);
}

/** When the session ends for its owner. */
function endOf(deadline: Deadline): number {
  return deadline.expiresAt - deadline.slack;
}
