import type { SessionData } from "express-session";
import { cookieTimesOf, lifetimeOf } from "../cookie.js";
import { shownExpiry } from "../expiry.js";
import type { StoredRecord } from "../record.js";
import type { StoreSettings } from "../store-options.js";
import type { StoreParts } from "../store-parts.js";
import type { UserForms } from "../users/user-ids.js";
import { type Fields, mergeSessions } from "./merge.js";
import { unreadableError } from "./save-errors.js";
import type { TrackedSession } from "./tracked-sessions.js";

/** What a write stores. */
export interface Content {
  readonly text: string;
  readonly lifetime: number;
  /** The user of the session, if the store has the option `user` and the session a user. */
  readonly user: UserForms | undefined;
  /** The keys that both sides changed. */
  readonly keys: readonly string[];
}

/** The two sides of a merge, and what they are measured against. */
interface Sides {
  /** What the request holds. */
  readonly own: Content;
  /** Whether the request changed the expiry of a cookie that has no `maxAge`. */
  readonly setsExpiry: boolean;
  /** What the request's changes are measured against, if it is known. */
  readonly baseText: string | undefined;
  /** What others have stored. */
  readonly over: StoredRecord;
}

/** What is to be stored after others have written: the request's changes, applied to theirs. */
export async function mergedContent(
  { codec, settings }: StoreParts,
  { key, origin }: TrackedSession,
  sides: Sides,
): Promise<Content> {
  const { own, setsExpiry, baseText, over } = sides;
  const expiry = shownExpiry(over, settings.now(), settings.lifetimes);
  const theirs = await codec.decode(key, over, expiry);
  if (theirs === null) throw unreadableError(origin);
  if (theirs.text === baseText) return own;
  const [base, mine] = await Promise.all([
    baseText === undefined ? undefined : codec.fieldsOf(baseText),
    codec.fieldsOf(own.text),
  ]);
  const { session, keys } = mergeSessions(base, mine, theirs.session as unknown as Fields, setsExpiry);
  const merged = session as unknown as SessionData;
  const lifetime = mergedLifetime(merged, sides, settings);
  const user = settings.users?.ofSession(merged);
  return { text: await codec.serialize(session), lifetime, user, keys };
}

function mergedLifetime(
  session: SessionData,
  { own, setsExpiry, over }: Sides,
  { now, ttl }: StoreSettings,
): number {
  const times = cookieTimesOf(session);
  if (times.maxAge === undefined && times.expires !== undefined) {
    return setsExpiry ? own.lifetime : over.lifetime;
  }
  // A lifetime of 0 would make a tombstone of what others have written.
  return Math.max(1, lifetimeOf(session, times, now(), ttl));
}
