/** A value or a promise of it. Synchronous backends return plain values and so avoid a microtask. */
export type Awaitable<T> = T | PromiseLike<T>;

/** What a backend stores for one session. Times are whole epoch milliseconds, durations whole milliseconds. */
export interface StoredRecord {
  /** The serialized session, opaque to the backend. Empty in a tombstone only. */
  readonly data: string;
  /** Identifies the last write. Opaque to the backend: printable ASCII without spaces, at most 80 characters. */
  readonly version: string;
  /** How long the session lives after its last use. 0 in a tombstone only. */
  readonly lifetime: number;
  /** When the session was last used. The only field that a touch changes. */
  readonly activeAt: number;
  /** When the session was created or, in a tombstone, destroyed. */
  readonly createdAt: number;
  /** The user that the session belongs to, if it belongs to one. Opaque to the backend. */
  readonly user?: string | undefined;
}

/**
 * Returned by a backend for something that is stored under a key but is not a record. The session is treated as
 * missing, the event `corrupt` reports it, and it is left in place.
 */
export const UNREADABLE: unique symbol = Symbol("UNREADABLE");

/** What a backend found under a key. */
export interface Found {
  readonly record: StoredRecord | typeof UNREADABLE;
  /** Whatever helps the backend to write the record again, such as its revision. It comes back in conditions. */
  readonly token?: unknown;
}

/** A record that can be read, and the backend's token for it. */
export interface FoundRecord extends Found {
  readonly record: StoredRecord;
}

/** What must be stored for a write to take place. */
export type WriteCondition = IfAbsent | IfVersion;

/** Nothing is stored: no record, no tombstone, nothing that cannot be read. */
export interface IfAbsent {
  readonly absent: true;
}

/** A record with this version is stored, whose `activeAt` is not outside the range: a touch may have moved it. */
export interface IfVersion {
  readonly absent: false;
  readonly version: string;
  readonly activeFrom: number;
  readonly activeTo: number;
  /** The token that the backend returned for this record, if it is known. The record may have been touched since. */
  readonly token: unknown;
}

export const IF_ABSENT: IfAbsent = Object.freeze({ absent: true });

/** A conditional write. */
export interface RecordWrite {
  readonly record: StoredRecord;
  readonly condition: WriteCondition;
  /** When the backend may delete the record, in epoch milliseconds. Derived: no code decides on it. */
  readonly deleteAt: number;
  /** To be added to the list of the record's user in the same atomic step, if the write takes place. */
  readonly entry?: UserEntry | undefined;
}

/**
 * Leads from a user to a session. A live session always has an entry. An entry without a session is garbage, which a
 * backend keeps until {@link deleteAt} or until it is removed.
 */
export interface UserEntry {
  /** The user as records have it. */
  readonly user: string;
  /** Differs from the ids of all other entries. Printable ASCII without spaces. */
  readonly id: string;
  /** When the backend may delete the entry, in epoch milliseconds. Not earlier than the session that it leads to. */
  readonly deleteAt: number;
  /** If given, the write takes place only if no entry was added to the list since it was read with this token. */
  readonly listToken?: unknown;
}

/** An entry in the list of a user, and what is stored under the key that it leads to. */
export interface UserSession {
  readonly key: string;
  /** The entry's id. Whatever the backend needs to remove the entry. */
  readonly entryId: string;
  readonly found: Found | undefined;
}

/** The list of a user, which has every session whose write was acknowledged before it was read. */
export interface UserList {
  readonly sessions: readonly UserSession[];
  /** Comes back in {@link UserEntry.listToken}. Not `undefined`. */
  readonly token: unknown;
}

/** A touch: moves `activeAt` of a record and nothing else. Takes place if {@link touchHolds}. */
export interface ActivityUpdate {
  readonly activeAt: number;
  /** The lifetime that the stored record must have: `deleteAt` is derived from it. */
  readonly lifetime: number;
  /** The `createdAt` that the stored record must have if `deleteAt` depends on it, else `undefined`. */
  readonly createdAt: number | undefined;
  /** The stored `activeAt` must not be earlier: the session has ended. At or after `activeAt` there is nothing to do. */
  readonly activeFrom: number;
  /** When the backend may delete the record after the touch, in epoch milliseconds. */
  readonly deleteAt: number;
  /** The record as this process last saw it, if it did. It may have changed since. */
  readonly seen: FoundRecord | undefined;
  /** To be added in the same step: the touch makes the session outlive its entry. */
  readonly entry?: UserEntry | undefined;
}

/** A removal: leaves a tombstone in place of whatever is stored. */
export interface Removal {
  /** What it leaves where nothing is stored; where a record is, see {@link tombstoneOver}. */
  readonly tombstone: StoredRecord;
  /** Identifies this removal. A record whose version contains it was created over this tombstone, and stays. */
  readonly id: string;
  /** When the backend may delete the tombstone, in epoch milliseconds. */
  readonly deleteAt: number;
}

/** Not written: the condition did not hold. `current` is what is stored, `undefined` if nothing is. */
export type WriteResult =
  | { readonly written: true; readonly token?: unknown }
  | {
      readonly written: false;
      readonly current: Found | undefined;
      /** Whether the client sent the write more than once, so that an earlier attempt may have taken place. */
      readonly retried?: boolean;
      /** Whether the condition held, and only the user's list has changed since it was read. */
      readonly listChanged?: boolean;
    };

/** A key and what a scan found there. */
export interface ScannedRecord extends Found {
  readonly key: string;
}

/** The condition that this record is stored, last used within the range. */
export function ifVersion({ record, token }: FoundRecord, activeFrom: number, activeTo: number): IfVersion {
  return { absent: false, version: record.version, activeFrom, activeTo, token };
}

/** Whether a write with this condition may replace what is stored. For backends that evaluate it in a transaction. */
export function conditionHolds(found: Found | undefined, condition: WriteCondition): boolean {
  if (condition.absent) return found === undefined;
  const record = found?.record;
  return (
    record !== undefined &&
    record !== UNREADABLE &&
    record.version === condition.version &&
    record.activeAt >= condition.activeFrom &&
    record.activeAt <= condition.activeTo
  );
}

/** Whether a touch may move this record. For backends that evaluate it in a transaction. */
export function touchHolds(found: Found | undefined, touch: ActivityUpdate): found is FoundRecord {
  const record = found?.record;
  return (
    record !== undefined &&
    record !== UNREADABLE &&
    record.lifetime === touch.lifetime &&
    (touch.createdAt === undefined || record.createdAt === touch.createdAt) &&
    record.activeAt >= touch.activeFrom &&
    record.activeAt < touch.activeAt
  );
}

/** What a touch makes of a record. Names the fields, since V8 takes 0.4 us to spread a record. */
export function touchedRecord(
  { data, version, lifetime, createdAt, user }: StoredRecord,
  activeAt: number,
): StoredRecord {
  return { data, version, lifetime, activeAt, createdAt, user };
}

/** Whether a record only says that a session was destroyed. To everybody else it is not there. */
export function isTombstone(record: StoredRecord): boolean {
  return record.lifetime === 0;
}

/** Whether this is the record of a session, live or ended: no tombstone, and nothing that cannot be read. */
export function isSession(found: Found | undefined): found is FoundRecord {
  const record = found?.record;
  return record !== undefined && record !== UNREADABLE && !isTombstone(record);
}

/** Whether an entry leads to no session of its user. What cannot be read may be one. */
export function leadsNowhere({ found }: UserSession, user: string): boolean {
  return found?.record !== UNREADABLE && !(isSession(found) && found.record.user === user);
}

/** What a removal leaves where nothing is stored. Its version is the id of the removal. */
export function tombstoneOf(id: string, now: number): StoredRecord {
  const activeAt = Math.ceil(Math.random() * MAX_TOMBSTONE_STEP);
  return { data: "", version: id, lifetime: 0, activeAt, createdAt: now };
}

const MAX_TOMBSTONE_STEP = 2 ** 30;

/**
 * What a removal leaves in place of `found`: the tombstone, with its `activeAt` added to the stored one. In a
 * tombstone, `activeAt` is no time, but tells tombstones of the same removal apart: a late attempt of a removal does
 * not restore the tombstone that a late creation expects, if another removal took place in between.
 */
export function tombstoneOver(found: Found | undefined, tombstone: StoredRecord): StoredRecord {
  const record = found?.record;
  if (record === undefined || record === UNREADABLE) return tombstone;
  return touchedRecord(tombstone, record.activeAt + tombstone.activeAt);
}

/** Begins every encoded record, so that those of version 0.1 and foreign texts are told apart. */
const FORMAT = "2";

/** A record as one string, for backends that store one value for each key: a line of fields, then the data. */
export function encodeRecord({ data, version, lifetime, activeAt, createdAt, user }: StoredRecord): string {
  const owner = user === undefined ? "" : ` ${encodeURIComponent(user)}`;
  return `${FORMAT} ${version} ${lifetime} ${activeAt} ${createdAt}${owner}\n${data}`;
}

/** Reverses {@link encodeRecord}. Returns {@link UNREADABLE} for any other text. */
export function decodeRecord(text: string): StoredRecord | typeof UNREADABLE {
  const end = text.indexOf("\n");
  if (end < 0) return UNREADABLE;
  const next = fieldReader(text.slice(0, end));
  if (next() !== FORMAT) return UNREADABLE;
  const version = next();
  const lifetime = numberOf(next());
  const activeAt = numberOf(next());
  const createdAt = numberOf(next());
  const user = next();
  return recordOf({
    data: text.slice(end + 1),
    version,
    lifetime,
    activeAt,
    createdAt,
    user: user && decodeUser(user),
  });
}

/** Reads the fields of a line, one for each call. `split` would make an array of them: half as long again. */
function fieldReader(line: string): () => string | undefined {
  let start = 0;
  return () => {
    if (start > line.length) return undefined;
    const space = line.indexOf(" ", start);
    const end = space < 0 ? line.length : space;
    const field = line.slice(start, end);
    start = end + 1;
    return field;
  };
}

/** A record made of fields that come from a backend. Returns {@link UNREADABLE} if they cannot be those of a record. */
export function recordOf(
  fields: { readonly [Field in keyof StoredRecord]?: unknown },
): StoredRecord | typeof UNREADABLE {
  const { data, version, lifetime, activeAt, createdAt, user } = fields;
  const isRecord =
    typeof data === "string" &&
    typeof version === "string" &&
    version !== "" &&
    Number.isSafeInteger(lifetime) &&
    Number.isSafeInteger(activeAt) &&
    Number.isSafeInteger(createdAt) &&
    (user === undefined || typeof user === "string");
  return isRecord ? ({ data, version, lifetime, activeAt, createdAt, user } as StoredRecord) : UNREADABLE;
}

/** Not `Number("")`, which is 0. */
function numberOf(text: string | undefined): number {
  return text ? Number(text) : Number.NaN;
}

function decodeUser(user: string): string | undefined {
  try {
    return decodeURIComponent(user);
  } catch {
    return undefined;
  }
}

export function isPromise<T>(value: Awaitable<T>): value is PromiseLike<T> {
  return typeof value === "object" && typeof (value as PromiseLike<T> | null)?.then === "function";
}

/** Continues with a value, synchronously if it is no promise. */
export function chain<T, U>(value: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return isPromise(value) ? value.then(next) : next(value);
}
