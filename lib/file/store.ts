import { AbstractStore } from "../core/abstract-store.js";
import { GRACE_MS } from "../core/expiry.js";
import { rules } from "../core/options.js";
import {
  ABSENT,
  canExtend,
  decodeRecord,
  type Expected,
  type Extension,
  encodeRecord,
  isExpected,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
  type WriteResult,
} from "../core/record.js";
import type { StoreOptions } from "../core/store-options.js";
import { CleanupTimer } from "../support/cleanup-timer.js";
import { TimeSlice } from "../support/event-loop-slice.js";
import { LmdbFile } from "./lmdb-file.js";

/** The options of {@link FileStore}. */
export interface FileStoreOptions extends StoreOptions {
  /**
   * The database file, on a local file system. It and its folder are created if missing, for this user alone; a
   * second file with `-lock` at the end of the name stands beside it.
   */
  path: string;
  /** Seconds between clean-ups of expired sessions; 0 switches them off. @defaultValue `60` */
  cleanupInterval?: number | undefined;
}

/** How many sessions a clean-up looks at before it waits for what it wrote. */
const CLEANUP_SLICE = 100;

const WRITTEN: WriteResult = { written: true };

/** A page of a listing ends when it has this much. */
const PAGE_RECORDS = 250;
const PAGE_CHARACTERS = 1024 * 1024;

/** Epoch milliseconds up to the last time that a Date can have, before the key of a session. */
const REMINDER_TIME_DIGITS = 16;

/** Makes the next key of a key, and the first key of all. */
const FIRST_CHARACTER = "\0";

/** Where a record is in the file. It is noted on the record as the first line of its entry, which says it. */
interface Place {
  /** Chosen anew by each write, touches among them: a conditional write names the one that it replaces. */
  revision: number;
  expiresAt: number;
  /**
   * The time of its reminder: a key of a table of its own that says when a clean-up has to look at the record. Touches
   * and saves leave it where it is, and a clean-up that comes by and finds the record alive moves it. So a touch costs
   * one write, and a clean-up looks only at what is due. Reminders that nothing belongs to do no harm: the clean-up
   * drops them.
   */
  remindAt: number;
}

/**
 * Sessions in an LMDB file: for development, and for one server with as many processes as it has. A write is
 * acknowledged when it is on disk.
 *
 * @example
 * app.use(session({ store: new FileStore({ path: "data/sessions.lmdb" }), secret, resave: false, saveUninitialized: false }));
 */
export class FileStore extends AbstractStore {
  /** The database file, as it was given. */
  readonly path: string;
  readonly #cleanup: CleanupTimer;
  #opened: LmdbFile | undefined;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: FileStoreOptions) {
    super(options, { path: { ...rules.nonEmptyString, required: true }, cleanupInterval: rules.interval });
    this.path = options.path;
    this.#cleanup = new CleanupTimer(
      options.cleanupInterval,
      () => this.cleanup(),
      error => this._reportError(error),
    );
  }

  /**
   * Removes the sessions, of every prefix, that expired at least a minute ago. The cost goes with their number, not
   * with that of all sessions. Several processes may do it at once. Returns how many it removed.
   */
  async cleanup(): Promise<number> {
    this._assertOpen();
    return await this._track(this.#removeExpired());
  }

  protected override _read(key: string): StoredRecord | undefined {
    return readRecord(this.#file(), key);
  }

  protected override async _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
  ): Promise<WriteResult> {
    const file = this.#file();
    if (expected === undefined) {
      await this.#put(file, key, record, undefined);
      return WRITTEN;
    }
    if (expected === ABSENT) {
      if (await this.#put(file, key, record, null)) return WRITTEN;
      return { written: false, current: readRecord(file, key) };
    }
    let place = placeOf(expected.seen);
    for (;;) {
      // Not noted yet, or touched since: what is there now may still be what is expected.
      if (place === undefined || place.expiresAt > expected.expiresBy) {
        const current = readRecord(file, key);
        if (!isExpected(current, expected)) return { written: false, current };
        place = placeOf(current as StoredRecord);
      }
      if (await this.#put(file, key, record, place)) return WRITTEN;
      place = undefined;
    }
  }

  protected override async _extend(
    key: string,
    extension: Extension,
    seen: StoredRecord | undefined,
  ): Promise<boolean> {
    const file = this.#file();
    for (;;) {
      const current = readRecord(file, key);
      if (!canExtend(current, extension)) return false;
      const { data, version, createdAt } = current;
      const { expiresAt, slack } = extension;
      const extended: StoredRecord = { data, version, expiresAt, slack, createdAt };
      if (await this.#put(file, key, extended, placeOf(current))) {
        if (seen?.version === version) seen.note = extended.note;
        return true;
      }
    }
  }

  /** Writes a record, unless another is in its place by now; returns whether it did, and notes where it is. */
  async #put(
    file: LmdbFile,
    key: string,
    record: StoredRecord,
    place: Place | null | undefined,
  ): Promise<boolean> {
    const { expiresAt } = record;
    // A reminder that comes too early is moved later, but one that comes too late is of no use.
    const keeps = place != null && place.remindAt <= expiresAt;
    const remindAt = keeps ? place.remindAt : expiresAt;
    const revision = newRevision();
    const reminder = keeps ? undefined : reminderOf(remindAt, key);
    const entry = encodeEntry(record, revision, remindAt);
    const expected = place === null ? null : place?.revision;
    if (!(await file.put(key, entry, revision, expected, reminder))) return false;
    record.note = firstLineOf(entry);
    return true;
  }

  protected override async _remove(key: string): Promise<void> {
    const file = this.#file();
    const text = file.get(key);
    await file.remove(key, text === undefined ? undefined : reminderOf(remindAtOf(text), key));
  }

  protected override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const file = this.#file();
    let from = start === "" ? FIRST_CHARACTER : start;
    for (;;) {
      const page: ScannedRecord[] = [];
      let last: string | undefined;
      let characters = 0;
      for (const { key, value } of file.records(from)) {
        if (!key.startsWith(start)) break;
        page.push({ key, record: decodeEntry(value) });
        characters += value.length;
        if (page.length < PAGE_RECORDS && characters < PAGE_CHARACTERS) continue;
        last = key;
        break;
      }
      yield page;
      if (last === undefined) return;
      from = last + FIRST_CHARACTER;
    }
  }

  protected override async _close(): Promise<void> {
    this.#cleanup.stop();
    await this.#opened?.release();
  }

  /** The file, opened when first needed: constructors do no I/O. */
  #file(): LmdbFile {
    this.#opened ??= LmdbFile.open(this.path);
    this.#cleanup.start();
    return this.#opened;
  }

  async #removeExpired(): Promise<number> {
    const file = this.#file();
    const slice = new TimeSlice();
    let removed = 0;
    for (;;) {
      const until = Math.floor(this._now()) - GRACE_MS;
      const due = file.reminders(FIRST_CHARACTER, reminderOf(until + 1, ""), CLEANUP_SLICE);
      if (due.length === 0) return removed;
      const followed = await Promise.all(due.map(reminder => follow(file, reminder, until)));
      for (const key of followed) {
        if (key === undefined) continue;
        this._reportExpired(key);
        removed += 1;
      }
      if (slice.isUsedUp) await slice.rest();
    }
  }
}

/**
 * Follows a reminder; returns the key of what it removed, if it did. If somebody else writes the record meanwhile, the
 * reminder stays, for the next round.
 */
async function follow(file: LmdbFile, reminder: string, until: number): Promise<string | undefined> {
  const key = reminder.slice(REMINDER_TIME_DIGITS);
  const text = file.get(key);
  const record = text === undefined ? UNREADABLE : decodeEntry(text);
  // Of a record that is gone, or has another reminder by now.
  if (record === UNREADABLE || reminderOf(remindAtOf(text as string), key) !== reminder) {
    await file.removeReminder(reminder);
    return undefined;
  }
  const { revision } = placeOf(record) as Place;
  const { expiresAt } = record;
  if (Math.floor(expiresAt) <= until) {
    const isRemoved = await file.ifRevision(key, revision, writes => {
      writes.remove(key);
      writes.removeReminder(reminder);
    });
    return isRemoved ? key : undefined;
  }
  await file.ifRevision(key, revision, writes => {
    const next = newRevision();
    writes.put(key, encodeEntry(record, next, expiresAt), next, reminderOf(expiresAt, key));
    writes.removeReminder(reminder);
  });
  return undefined;
}

function readRecord(file: LmdbFile, key: string): StoredRecord | undefined {
  const text = file.get(key);
  return text === undefined ? undefined : decodeEntry(text);
}

function placeOf({ note }: StoredRecord): Place | undefined {
  if (note === undefined) return undefined;
  const [remindAt, revision, _version, expiresAt] = (note as string).split(" ");
  return { revision: Number(revision), expiresAt: Number(expiresAt), remindAt: Number(remindAt) };
}

/** Times before 1970 count as 1970: reminders are in the order of their characters. */
function reminderOf(time: number, key: string): string {
  const digits = String(Math.max(0, Math.floor(Number.isFinite(time) ? time : 0)));
  return digits.padStart(REMINDER_TIME_DIGITS, "0") + key;
}

/** Random, since processes that share the file choose without talking to each other. */
function newRevision(): number {
  return Math.ceil(Math.random() * Number.MAX_SAFE_INTEGER);
}

/** Before the record goes what the file store adds to it. */
function encodeEntry(record: StoredRecord, revision: number, remindAt: number): string {
  return `${remindAt} ${revision} ${encodeRecord(record)}`;
}

function remindAtOf(entry: string): number {
  return Number(entry.slice(0, Math.max(0, entry.indexOf(" "))));
}

function firstLineOf(entry: string): string {
  return entry.slice(0, entry.indexOf("\n"));
}

/** The record, with its note. */
function decodeEntry(entry: string): StoredRecord {
  const end = entry.indexOf(" ", entry.indexOf(" ") + 1);
  const record = decodeRecord(entry.slice(end + 1));
  if (record !== UNREADABLE) record.note = firstLineOf(entry);
  return record;
}
