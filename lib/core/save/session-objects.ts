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
  // `instanceof` would not work: an application may have a second copy of express-session.
  const { save, regenerate } = session as Partial<Session>;
  if (typeof save === "function" && typeof regenerate === "function") return "new";
  const cookie: { _expires?: unknown; serialize?: unknown } = cookieOf(session) ?? {};
  // `structuredClone` keeps the inner fields of a Cookie and loses its methods.
  return "_expires" in cookie && typeof cookie.serialize !== "function" ? "copy" : "plain";
}

/** The session without the `id` that `all()` has added, and with its own if it had one. */
export function withoutListedId(session: SessionData, { sid, ownId }: TrackedSession): SessionData {
  if (ownId === undefined) return session;
  const { id, ...others } = session as SessionData & { id?: unknown };
  return id === sid ? ({ ...others, ...ownId } as SessionData) : session;
}
