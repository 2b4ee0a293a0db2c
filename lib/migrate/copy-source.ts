import { randomUUID } from "node:crypto";
import { AbstractStore, internalsOf } from "../core/abstract-store.js";
import type { StoreInternals } from "../core/store-internals.js";
import type { IncomingSession } from "../core/transfer.js";
import type { CopySource, SourceItem, UnreadableSession } from "./source.js";

/** What a source must be, for errors. */
export const EXPECTED_SOURCE =
  "another store of express-session-stores, a reader such as readConnectRedis(...), an iterable of { sid, session }, or an object with `entries()` (a store with `all()` has a reader, readAll)";

/** Whether `copy` can read something. */
export function isSource(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return isIterable(value) || typeof (value as { entries?: unknown }).entries === "function";
}

function isIterable(source: object): source is AsyncIterable<SourceItem> | Iterable<SourceItem> {
  return Symbol.asyncIterator in source || Symbol.iterator in source;
}

/** The sessions of a source, as a store imports them. */
export async function* sessionsOf(
  source: AbstractStore | CopySource,
  signal: AbortSignal,
): AsyncGenerator<IncomingSession | UnreadableSession, void, undefined> {
  if (source instanceof AbstractStore) {
    for await (const found of internalsOf(source).exportSessions(signal)) {
      yield found.session === undefined ? { sid: found.publicId, error: UNREADABLE_RECORD } : found;
    }
    return;
  }
  const items = isIterable(source) ? source : source.entries();
  for await (const item of items) yield incomingOf(item);
}

const UNREADABLE_RECORD = new TypeError("The record cannot be read; the event `corrupt` of `from` says why");

function incomingOf(item: SourceItem): IncomingSession | UnreadableSession {
  if (typeof item !== "object" || item === null) throw notSession();
  if ("error" in item) return item;
  const [sid, session, expiresAt] =
    "sid" in item ? [item.sid, item.session, item.expiresAt] : [item[0], item[1], undefined];
  if (typeof sid !== "string" || sid === "") throw notSession();
  // Such a session would never end.
  if (expiresAt !== undefined && !Number.isFinite(expiresAt)) {
    return { sid, error: new TypeError("Expected `expiresAt` to be a time in epoch milliseconds") };
  }
  return { sid, publicId: sid, session, expiresAt };
}

function notSession(): TypeError {
  return new TypeError(
    "Expected each item of `from` to be { sid, session } or [sid, session]: without its id a session cannot be copied",
  );
}

/**
 * Rejects stores between which no session could be found again.
 *
 * @throws TypeError
 */
export function assertSameDigests(from: StoreInternals, to: StoreInternals): void {
  const probe = randomUUID();
  if (!from.hashesIds || from.publicId(probe) === to.publicId(probe)) return;
  throw new TypeError(
    "`from` has digests in place of session ids (option `hashIds`), and `to` has none or those of another secret. A digest cannot be computed from another one. Give both the same `hashIds`, or let MigratingStore move each session when its browser comes back.",
  );
}
