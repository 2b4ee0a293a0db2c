import assert from "node:assert/strict";
import type { SessionData } from "express-session";
import type { AbstractStore } from "../index.js";
import type { Clock, ReadableClock } from "./clock.js";

export type Fields = Record<string, unknown>;
export type TestSession = SessionData & Fields;
/** A session as a request holds it. */
export type RequestSession = ReturnType<AbstractStore["createSession"]> & Fields;

/** A session as a plain object. Without `expires` it lives as long as the option `ttl` says. */
export function plain(fields: Fields = {}, expires?: Date): TestSession {
  const cookie = { originalMaxAge: null };
  return { cookie: expires === undefined ? cookie : { ...cookie, expires }, ...fields };
}

/** A session as a plain object whose cookie has a `maxAge`, in seconds. */
export function lasting(seconds: number, clock: ReadableClock, fields: Fields = {}): TestSession {
  return { cookie: { originalMaxAge: seconds * 1000, expires: clock.in(seconds) }, ...fields };
}

/** What `session.cookie.maxAge = ...` does, on the clock of a test. */
export function setMaxAge(session: SessionData, seconds: number, clock: ReadableClock): void {
  session.cookie.expires = clock.in(seconds);
  // The setter of `expires` has set this too, by the real clock.
  session.cookie.originalMaxAge = seconds * 1000;
}

/** What express-session does to the cookie when a response begins: its `maxAge` counts from now on. */
export function respond(session: SessionData, clock: ReadableClock): void {
  const { originalMaxAge } = session.cookie;
  if (originalMaxAge !== null) setMaxAge(session, originalMaxAge / 1000, clock);
}

/** A request that changes nothing: express-session loads the session and touches it. */
export async function visit(store: AbstractStore, sid: string, clock: ReadableClock): Promise<void> {
  const session = await load(store, sid);
  respond(session, clock);
  await store.touch(sid, session);
}

/** What express-session does when a request begins: the session it loads. */
export async function load(store: AbstractStore, sid: string): Promise<RequestSession> {
  return requestSession(store, sid, await find(store, sid));
}

/** A session as a request holds it, of the object that `get` returned or, for a new session, of any. */
export function requestSession(store: AbstractStore, sid: string, data: SessionData): RequestSession {
  const req = { sessionID: sid, sessionStore: store };
  return store.createSession(
    req as unknown as Parameters<AbstractStore["createSession"]>[0],
    data,
  ) as RequestSession;
}

/** The session, which has to be there. */
export async function find(store: AbstractStore, sid: string): Promise<TestSession> {
  const session = await store.get(sid);
  assert.ok(session, "expected the session to be there");
  return session as TestSession;
}

/** What is stored beside the cookie; `null` if there is no session. */
export async function stored(store: AbstractStore, sid: string): Promise<Fields | null> {
  const session = await store.get(sid);
  return session && fieldsOf(session);
}

export function fieldsOf(session: SessionData): Fields {
  const { cookie: _cookie, ...fields } = session;
  return fields;
}

/** `cookie.expires` of the session that `get` returns. */
export async function storedExpiry(store: AbstractStore, sid: string): Promise<unknown> {
  return (await find(store, sid)).cookie.expires;
}

/** The session is found until a millisecond before so many seconds from now are over, and not from then on. */
export async function assertEndsIn(
  seconds: number,
  store: AbstractStore,
  sid: string,
  clock: Clock,
): Promise<void> {
  clock.advance(seconds - 0.001);
  await find(store, sid);
  clock.advance(0.001);
  assert.equal(await store.get(sid), null);
}

/** `count` different sids. */
export function sids(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `sid-${index}`);
}

/** Sids that a careless store mangles, mixes up, or takes for something else. */
export const unusualSids: readonly string[] = [
  "../../etc/passwd",
  "..",
  "/",
  "a/b",
  "a\\b",
  "a%2fb",
  "%",
  "__proto__",
  "constructor",
  "hasOwnProperty",
  "nul\0byte",
  " ",
  "line\nbreak",
  "a:b",
  "a*",
  "a~",
  "case",
  "CASE",
  "\u00e9",
  "e\u0301",
  "😀",
  "\ud800",
  "\udfff",
  "0",
  "null",
  "x".repeat(2000),
  `${"x".repeat(2000)}y`,
  "😀".repeat(1000),
  "/".repeat(5000),
];
