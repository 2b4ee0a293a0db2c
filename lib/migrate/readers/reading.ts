import type { SessionData } from "express-session";
import { StoreError } from "../../errors.js";
import type { SourceSession, UnreadableSession } from "../source.js";

/**
 * The live sessions of another store, read while they are asked for. Each iteration reads anew. A session that cannot be
 * read is given as an {@link UnreadableSession}, and reading goes on. Sessions that have ended are left out.
 */
export type SessionReader = AsyncIterable<SourceSession | UnreadableSession>;

/** What one iteration of a reader gives. */
export type Reading = AsyncGenerator<SourceSession | UnreadableSession, void, undefined>;

/** Epoch milliseconds, or `undefined` if the store does not know more than the cookie. */
type Expiry = number | undefined;

export function readerOf(read: () => Reading): SessionReader {
  return { [Symbol.asyncIterator]: read };
}

/**
 * Gives a session unless it has ended.
 *
 * @param expiry - when it ends, or a function of the session for stores that keep the time in the session
 * @param parse - gives the session from what is stored, or throws
 */
export async function* sessionOf(
  sid: string,
  expiry: Expiry | ((session: SessionData) => Expiry),
  parse: () => unknown,
): Reading {
  if (typeof expiry === "number" && expiry <= Date.now()) return;
  let session: SessionData;
  let expiresAt: Expiry;
  try {
    session = asSession(await parse());
    expiresAt = typeof expiry === "function" ? expiry(session) : expiry;
  } catch (cause) {
    yield { sid, error: unreadable(cause) };
    return;
  }
  if (expiresAt === undefined || expiresAt > Date.now()) yield { sid, session, expiresAt };
}

function asSession(value: unknown): SessionData {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError("What is stored is not an object");
  }
  return value as SessionData;
}

/** The parser's own message may show a part of the session: it is the cause alone. */
function unreadable(cause: unknown): unknown {
  if (cause instanceof StoreError) return cause;
  return new StoreError("ERR_SESSION_SERIALIZE", "The stored session could not be read; see `cause`.", {
    cause,
  });
}

/** What the package kruptein makes of a session: JSON, or else base64 or hexadecimal, which no session is as a whole. */
const CIPHERTEXT = /^(\{"hmac":"|[\w+/=-]{40,}$)/;

/** Whether a stored text looks encrypted, as options of several stores do it. */
export function isEncrypted(stored: unknown): boolean {
  return typeof stored === "string" && CIPHERTEXT.test(stored);
}
