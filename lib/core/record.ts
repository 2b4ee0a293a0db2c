/** A value, or a promise of it: what is there at once is not worth a turn of the event loop. */
export type Awaitable<T> = T | PromiseLike<T>;

/** What a backend keeps for one session. All times are epoch milliseconds. */
export interface StoredRecord {
  /** The serialized session, opaque to the backend. */
  readonly data: string;
  /** Names this write and no other. A touch keeps it. Printable ASCII, at most 64 characters. */
  readonly version: string;
  /** From here on the session is not found. */
  readonly expiresAt: number;
  /** How many milliseconds of `expiresAt` are there so that touches can be skipped (`touchAfter`). */
  readonly slack: number;
  /** When the session began; no touch and no save changes it. */
  readonly createdAt: number;
  /** For the backend: what it knows of this record, such as its revision there. It finds it in {@link Expected}. */
  note?: unknown;
}

/** When a record expires. */
export type Deadline = Pick<StoredRecord, "expiresAt" | "slack">;

/** That of what has not been stored yet. */
export const NO_DEADLINE: Deadline = { expiresAt: 0, slack: 0 };

/**
 * What a backend returns for something it finds under a key but cannot take for a record. The session counts as
 * absent, the event `corrupt` reports it, and it stays where it is.
 */
export const UNREADABLE: StoredRecord = Object.freeze({
  data: "",
  version: "",
  expiresAt: Number.POSITIVE_INFINITY,
  slack: 0,
  createdAt: 0,
});

/** Not written means: what is stored is not the record that was expected. `undefined` if nothing is stored. */
export type WriteResult = { written: true } | { written: false; current: StoredRecord | undefined };

/** What a conditional write expects to find stored. */
export interface Expected {
  readonly version: string;
  /** The stored record expires then, or earlier: a touch that came in between must not be undone unawares. */
  readonly expiresBy: number;
  /** The record as the backend returned it or wrote it earlier, so that notes it keeps on records come back. */
  readonly seen: StoredRecord;
}

/**
 * Expects that nothing is stored. A backend that does not know it compares the version, which no record has, and
 * refuses.
 */
export const ABSENT: Expected = Object.freeze({ version: "none", expiresBy: 0, seen: UNREADABLE });

/** Whether a write may go ahead over what is stored. For backends that evaluate it in a transaction. */
export function isExpected(current: StoredRecord | undefined, expected: Expected | undefined): boolean {
  if (expected === undefined) return true;
  if (expected === ABSENT) return current === undefined;
  return current?.version === expected.version && current.expiresAt <= expected.expiresBy;
}

/** One find of a scan. */
export interface ScannedRecord {
  key: string;
  record: StoredRecord;
}

/** The new expiry of a touched record. */
export interface Extension {
  expiresAt: number;
  slack: number;
  /** The store's clock: a record whose expiry is not later than this is gone and must not be extended. */
  now: number;
}

/** Whether a touch moves this record: it is alive, and its expiry would become later. */
export function canExtend(record: StoredRecord | undefined, extension: Extension): record is StoredRecord {
  return (
    record !== undefined &&
    record !== UNREADABLE &&
    record.expiresAt > extension.now &&
    record.expiresAt < extension.expiresAt
  );
}

/** A record as one string, for backends that keep one value per key: four fields in a line, then the data. */
export function encodeRecord(record: StoredRecord): string {
  return `${record.version} ${record.expiresAt} ${record.slack} ${record.createdAt}\n${record.data}`;
}

/** The reverse of {@link encodeRecord}; {@link UNREADABLE} for anything else. */
export function decodeRecord(text: string): StoredRecord {
  const version = text.indexOf(" ");
  const expiresAt = text.indexOf(" ", version + 1);
  const slack = text.indexOf(" ", expiresAt + 1);
  const createdAt = text.indexOf("\n", slack + 1);
  if (!(version < expiresAt && expiresAt < slack && slack < createdAt)) return UNREADABLE;
  return readableRecord(
    text.slice(createdAt + 1),
    text.slice(0, version),
    Number(text.slice(version + 1, expiresAt)),
    Number(text.slice(expiresAt + 1, slack)),
    Number(text.slice(slack + 1, createdAt)),
  );
}

/** A record of fields that come from outside; {@link UNREADABLE} if they cannot be those of a record. */
export function readableRecord(
  data: unknown,
  version: unknown,
  expiresAt: number,
  slack: number,
  createdAt: number,
): StoredRecord {
  const readable =
    typeof data === "string" &&
    typeof version === "string" &&
    version !== "" &&
    Number.isFinite(expiresAt) &&
    Number.isFinite(slack) &&
    Number.isFinite(createdAt);
  return readable ? { data, version, expiresAt, slack, createdAt } : UNREADABLE;
}

export function isPromise<T>(value: Awaitable<T>): value is PromiseLike<T> {
  return typeof value === "object" && typeof (value as PromiseLike<T> | null)?.then === "function";
}
