/**
 * The stable codes of {@link StoreError}. Compare `error.code` rather than the message or the class.
 *
 * - `ERR_SESSION_CONFLICT`: with `conflict: "error"`, another request changed the session since it was loaded.
 * - `ERR_SESSION_TOO_LARGE`: the session does not fit into one record of the backend. The message has the limit.
 * - `ERR_SESSION_SERIALIZE`: the session cannot be serialized, or a stored session that it replaces cannot be read.
 * - `ERR_SESSION_USER`: the option `user` threw, or returned what is no user. Nothing was written.
 * - `ERR_SESSION_NOT_FOUND`: a handle or `except` names no live session of this user. Nothing was changed.
 * - `ERR_TOO_MANY_SESSIONS`: the user has `maxSessionsPerUser.max` sessions. The session was not saved.
 * - `ERR_STORE_UNAVAILABLE`: the backend could not be reached or rejected the request; see `cause`.
 * - `ERR_STORE_TIMEOUT`: the backend did not respond within `timeoutMs`. A write may still have taken place.
 * - `ERR_STORE_CLOSED`: the store was used after `close()`.
 * - `ERR_STORE_TABLE_MISSING`: the DynamoDB table does not exist. The message says how to create it.
 * - `ERR_STORE_TABLE_MISMATCH`: the DynamoDB table has another key than the store needs, or TTL on another attribute.
 */
export type StoreErrorCode =
  | "ERR_SESSION_CONFLICT"
  | "ERR_SESSION_TOO_LARGE"
  | "ERR_SESSION_SERIALIZE"
  | "ERR_SESSION_USER"
  | "ERR_SESSION_NOT_FOUND"
  | "ERR_TOO_MANY_SESSIONS"
  | "ERR_STORE_UNAVAILABLE"
  | "ERR_STORE_TIMEOUT"
  | "ERR_STORE_CLOSED"
  | "ERR_STORE_TABLE_MISSING"
  | "ERR_STORE_TABLE_MISMATCH";

/** A failed operation of a session store. Its message never contains a session id, which is a credential. */
export class StoreError extends Error {
  /** Stable across releases, unlike the message. */
  readonly code: StoreErrorCode;

  /** @param options - `cause`: the error of the backend's client or of the serializer */
  constructor(code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "StoreError";
    this.code = code;
  }
}

/** The error for a session that does not fit, with the size and the limit. */
export function tooLarge(size: number, limit: number, what: string): StoreError {
  return new StoreError(
    "ERR_SESSION_TOO_LARGE",
    `The session is ${size} bytes, which exceeds ${what} of ${limit} bytes. Keep less in the session, or choose a store with a higher limit.`,
  );
}
