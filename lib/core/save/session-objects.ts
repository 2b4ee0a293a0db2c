import type { Session, SessionData } from "express-session";
import { cookieOf } from "../cookie.js";
import { typeName } from "../options.js";
import type { Origin, TrackedSession } from "./tracked-sessions.js";

/** @throws TypeError if the argument cannot be a session */
export function assertSession(session: unknown): asserts session is SessionData {
  if (typeof session !== "object" || session === null || Array.isArray(session)) {
    throw new TypeError(`Expected \`session\` to be an object, got ${typeName(session)}`);
  }
}

/** What an object is that the store does not know. */
export function originOf(session: SessionData): Origin {
  // A deep copy has the methods, but no request.
  if (isRequestSession(session)) return session.req === undefined ? "copy" : "new";
  const cookie: { _expires?: unknown; serialize?: unknown } = cookieOf(session) ?? {};
  // `structuredClone` keeps the inner fields of a Cookie and loses its methods.
  return "_expires" in cookie && typeof cookie.serialize !== "function" ? "copy" : "plain";
}

/** Whether an object has the methods of a request's `Session`. */
function isRequestSession(session: SessionData): session is Session & { readonly req?: unknown } {
  try {
    // `instanceof` would not work: an application may have a second copy of express-session.
    const { save, regenerate } = session as Partial<Session>;
    return typeof save === "function" && typeof regenerate === "function";
  } catch {
    // A getter that throws. The serializer reads it too and reports it.
    return false;
  }
}

/** The session without the `id` that `all()` has added, and with its own if it had one. */
export function withoutListedId(session: SessionData, { sid, ownId }: TrackedSession): SessionData {
  if (ownId === undefined) return session;
  const { id, ...others } = session as SessionData & { id?: unknown };
  return id === sid ? ({ ...others, ...ownId } as SessionData) : session;
}
