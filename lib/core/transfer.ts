import type { SessionData } from "express-session";
import { cookieTimesOf, lifetimeOf, type Ttl } from "./cookie.js";
import { deleteAtOf, hasEnded, shownExpiry } from "./expiry.js";
import type { SessionKeys } from "./keys.js";
import type { Listings } from "./listings.js";
import type { Operation } from "./operation.js";
import { IF_ABSENT, type StoredRecord, UNREADABLE } from "./record.js";
import { assertSession } from "./save/session-objects.js";
import { incarnationOf } from "./save/write-ids.js";
import type { StoreParts } from "./store-parts.js";
import { newEntryOf } from "./users/entry.js";

/*
 * Sessions that go from one store to another as a whole. Between two stores of this package they keep the times of
 * their record and the id of its first write. So their age, their absolute timeout and their handle stay the same.
 */

/** A session that comes from another store. */
export interface IncomingSession {
  /** `undefined` if the other store knows only the digest. */
  readonly sid: string | undefined;
  /** The sid, or what the other store has instead of it: listings show it. */
  readonly publicId: string;
  readonly session: SessionData;
  /** When it ends, in epoch milliseconds, if that is known better than by its cookie. */
  readonly expiresAt?: number | undefined;
  /** What its record says, if it comes from a store of this package. */
  readonly record?: StoredRecord | undefined;
}

/** A record that could not be decoded. Its store has emitted `corrupt`. */
export interface UnreadableRecord {
  readonly publicId: string;
  readonly session?: undefined;
}

/** - `written`; `present`: something is stored, a session or a tombstone; `ended`: the session has ended. */
export type ImportOutcome = "written" | "present" | "ended";

/** The live sessions of a store, as another one can import them. */
export async function* exportSessions(
  { codec, settings }: StoreParts,
  listings: Listings,
  operation: Operation,
  check: () => void,
  keys: SessionKeys,
): AsyncGenerator<IncomingSession | UnreadableRecord, void, undefined> {
  for await (const page of listings.pages(operation, check)) {
    for (const { key, record } of page) {
      if (record === UNREADABLE) {
        codec.corrupt(key);
        yield { publicId: keys.sidOf(key) };
      } else if (listings.isLiveNow()(record)) {
        const publicId = codec.sidOf(key, record);
        operation.renew();
        const expiry = shownExpiry(record, settings.now(), settings.lifetimes);
        const decoded = await operation.withTimeout(Promise.resolve(codec.decode(key, record, expiry)));
        if (decoded === null || publicId === undefined) yield { publicId: publicId ?? keys.sidOf(key) };
        else {
          const sid = keys.hashesIds ? undefined : publicId;
          yield { sid, publicId, session: decoded.session, record };
        }
      }
      check();
    }
  }
}

/** The sids of all sessions, and of those that were destroyed and have a tombstone. */
export async function* storedSids(
  { codec }: StoreParts,
  listings: Listings,
  operation: Operation,
  check: () => void,
): AsyncGenerator<string, void, undefined> {
  for await (const page of listings.pages(operation, check)) {
    for (const { key, record } of page) {
      const sid = record === UNREADABLE ? undefined : codec.sidOf(key, record);
      if (sid !== undefined) yield sid;
    }
  }
}

/**
 * Stores a session where nothing is stored, no tombstone either.
 *
 * @param isDryRun - writes nothing and says what would come of it
 */
export async function importSession(
  { backend, codec, ids, settings }: StoreParts,
  keys: SessionKeys,
  incoming: IncomingSession,
  isDryRun: boolean,
  operation: Operation,
): Promise<ImportOutcome> {
  const { session, sid } = incoming;
  assertSession(session);
  const { lifetimes } = settings;
  const now = settings.now();
  const times = incoming.record ?? timesOf(incoming, now, settings.ttl);
  const key = importKeyOf(keys, incoming);
  const text = await codec.serialize(session);
  const user = settings.users?.ofSession(session)?.[0];
  const record: StoredRecord = {
    data: codec.pack(key, sid ?? "", text),
    // As if it was created so: nobody has changed it in this store.
    version: incoming.record === undefined ? ids.next() : incarnationOf(incoming.record.version),
    lifetime: times.lifetime,
    activeAt: times.activeAt,
    createdAt: times.createdAt,
    ...(user !== undefined && { user }),
  };
  if (record.lifetime <= 0 || hasEnded(record, now, lifetimes)) return "ended";
  if (isDryRun) return (await backend.read(key, operation)) === undefined ? "written" : "present";
  const write = {
    record,
    condition: IF_ABSENT,
    deleteAt: deleteAtOf(record, lifetimes),
    entry: user === undefined ? undefined : newEntryOf(user, record, ids.next(), lifetimes),
  };
  const result = await backend.write(key, write, operation);
  if (result.written) return "written";
  const found = result.current?.record;
  const isOwn =
    result.retried && found !== undefined && found !== UNREADABLE && found.version === record.version;
  return isOwn ? "written" : "present";
}

/** The key under which a store keeps a session of another store. Of a digest, both stores must have the same. */
export function importKeyOf(keys: SessionKeys, { sid, publicId }: IncomingSession): string {
  return sid === undefined ? (keys.keyOfPublicId(publicId) as string) : keys.keyOf(sid);
}

/** What the record of a session says that comes from a store that is not of this package. */
function timesOf(
  { session, expiresAt }: IncomingSession,
  now: number,
  ttl: Ttl,
): Pick<StoredRecord, "lifetime" | "activeAt" | "createdAt"> {
  const times = cookieTimesOf(session);
  const end = expiresAt ?? times.expires;
  const asked = lifetimeOf(session, times, now, ttl);
  if (end === undefined) return { lifetime: asked, activeAt: now, createdAt: now };
  // A session whose cookie ends with the browser keeps what the other store has given it, if that is more.
  const lifetime = times.maxAge === undefined ? Math.max(asked, Math.ceil(end - now)) : asked;
  return { lifetime, activeAt: Math.min(now, Math.floor(end) - lifetime), createdAt: now };
}
