import type { SessionData } from "express-session";

/** A session of another store, as a reader gives it. */
export interface SourceSession {
  readonly sid: string;
  readonly session: SessionData;
  /** When it ends, in epoch milliseconds, if the store knows that better than the session's cookie. */
  readonly expiresAt?: number | undefined;
}

/** What a reader gives for a session that it cannot read. */
export interface UnreadableSession {
  readonly sid: string;
  readonly error: unknown;
}

/** What can be read. A pair is that of `entries()`: a sid and a session. */
export type SourceItem = SourceSession | UnreadableSession | readonly [string, SessionData];

/** Where `copy` can read sessions, besides the stores of this package: a reader, a list, or anything with `entries()`. */
export type CopySource =
  | AsyncIterable<SourceItem>
  | Iterable<SourceItem>
  | { entries(): AsyncIterable<SourceItem> | Iterable<SourceItem> };
