import { absoluteEnd, GRACE_MS, hasEnded, isGone, type LifetimePolicy } from "../expiry.js";
import { type Found, type FoundRecord, isTombstone, type StoredRecord, UNREADABLE } from "../record.js";
import type { ConflictPolicy } from "../store-options.js";
import { isOfUser } from "../users/user-list.js";
import type { InDoubtWrite, Origin } from "./tracked-sessions.js";
import { hasWriteId, incarnationOf, lastWriteId } from "./write-ids.js";

/** What decides about a save, besides what is stored. */
export interface SaveFacts {
  readonly origin: Origin;
  /** The record that the session was loaded from or last saved as. */
  readonly known: StoredRecord | undefined;
  /** When the store saw the session for the first time. */
  readonly seenAt: number;
  /** The id of the writes of this save. */
  readonly ownId: string;
  /** Earlier writes of the same session object that had no response. */
  readonly inDoubt: readonly InDoubtWrite[];
  /** Whether a first write of this session may have taken place although it was rejected or had no response. */
  readonly mayHaveTakenPlace: boolean;
  /** If given, only a session of this user is saved. */
  readonly onlyUser: readonly string[] | undefined;
  readonly conflict: ConflictPolicy;
  readonly lifetimes: LifetimePolicy;
}

/** What a save does next. */
export type Step =
  /** An earlier attempt of this save took place. */
  | { readonly kind: "done" }
  /** The session was destroyed, or ended too long ago: nothing is written. */
  | { readonly kind: "gone" }
  /** Fails, since the option `conflict` says so. */
  | { readonly kind: "conflict" }
  /** Fails, since what is stored cannot be read. */
  | { readonly kind: "unreadable" }
  /** Creates a record, over a tombstone or a session that ended long ago if there is one. */
  | { readonly kind: "create"; readonly over: FoundRecord | undefined }
  /** Replaces the record. */
  | {
      readonly kind: "replace";
      readonly over: FoundRecord;
      /** What others did since: nothing, a change, or unknown because the session object is. */
      readonly since: "nothing" | "change" | "unknown";
      /** Whether the others' changes are kept. */
      readonly merges: boolean;
      /** The merge base, if it is another than the tracked one: a write that was in doubt took place. */
      readonly baseText?: string;
    };

const DONE: Step = { kind: "done" };
const GONE: Step = { kind: "gone" };
const CONFLICT: Step = { kind: "conflict" };
const UNREADABLE_STEP: Step = { kind: "unreadable" };

/** Decides what a save does about what is stored. Nothing else decides it, whatever the save did before. */
export function nextStep(save: SaveFacts, found: Found | undefined, now: number): Step {
  const { origin } = save;
  if (found === undefined) return origin === "loaded" ? GONE : { kind: "create", over: undefined };
  if (found.record === UNREADABLE) return UNREADABLE_STEP;
  const over = found as FoundRecord;
  if (isTombstone(over.record)) return overTombstone(save, over);
  if (hasWriteId(over.record.version, save.ownId)) return DONE;
  if (isGone(over.record, now, save.lifetimes)) {
    return isOfStore(origin) ? GONE : { kind: "create", over };
  }
  return overRecord(save, over, now);
}

/** Whether a request has loaded the session, so that it must not bring it back. */
function isOfStore(origin: Origin): boolean {
  return origin === "loaded" || origin === "copy" || origin === "mirrored";
}

/**
 * A session that was created after the removal replaces the tombstone. Clocks of two hosts decide on that only if an
 * earlier attempt of this save may have taken place, and may be what was removed.
 */
function overTombstone(save: SaveFacts, over: FoundRecord): Step {
  const isKnown = isOfStore(save.origin) || save.origin === "moved";
  const mayBeOwn = save.mayHaveTakenPlace && save.seenAt <= over.record.createdAt + GRACE_MS;
  return isKnown || mayBeOwn ? GONE : { kind: "create", over };
}

/** Whether a session that ended a moment ago is nothing to go on with: the object that is saved was not made of it. */
function isOverFor(origin: Origin, record: StoredRecord, now: number, lifetimes: LifetimePolicy): boolean {
  if (origin === "new") return hasEnded(record, now, lifetimes);
  // Plain data replaces the session, and would end with it.
  return origin === "plain" && absoluteEnd(record, lifetimes) <= now;
}

function overRecord(save: SaveFacts, over: FoundRecord, now: number): Step {
  const { origin, known, conflict, inDoubt, lifetimes } = save;
  const { version } = over.record;
  if (origin === "moved") return GONE;
  const merges = conflict === "merge";
  const earlier = inDoubt.findLast(({ id }) => hasWriteId(version, id));
  if (known !== undefined && incarnationOf(known.version) !== incarnationOf(version)) return GONE;
  if (save.onlyUser !== undefined && !isOfUser(over.record, save.onlyUser)) return GONE;
  const isUnrelated = known === undefined && earlier === undefined;
  if (isUnrelated && isOverFor(origin, over.record, now, lifetimes)) return { kind: "create", over };
  if (earlier !== undefined) {
    const isLast = lastWriteId(version) === earlier.id;
    if (!isLast && conflict === "error") return CONFLICT;
    const since = isLast ? "nothing" : "change";
    return { kind: "replace", over, since, merges: merges || isLast, baseText: earlier.text };
  }
  if (known?.version === version) return { kind: "replace", over, since: "nothing", merges };
  if (origin === "plain" && known === undefined)
    return { kind: "replace", over, since: "nothing", merges: false };
  // Nobody has changed it: it is an earlier state of the same session, which was copied in the meantime.
  if (origin === "mirrored" && version === incarnationOf(version))
    return { kind: "replace", over, since: "nothing", merges: false };
  if (conflict === "error") return CONFLICT;
  return { kind: "replace", over, since: known === undefined ? "unknown" : "change", merges };
}
