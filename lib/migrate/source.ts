import type { SessionData } from "express-session";

/** A session of another store, as a reader gives it. */
export interface SourceSession {
  readonly sid: string;
  readonly session: SessionData;
  /** When it ends, in epoch milliseconds, if the store knows that better than the session's cookie. */
  readonly expiresAt?: number | undefined;
}
