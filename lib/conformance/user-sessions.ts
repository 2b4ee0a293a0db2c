import assert from "node:assert/strict";
import type { SessionData } from "express-session";
import type { AbstractStore, StoreOptions, UserSessionInfo } from "../index.js";
import type { Harness } from "./harness.js";
import { type Fields, plain, requestSession } from "./sessions.js";

/** The option `user` of the tests. */
export const userOf = (session: SessionData) => (session as { user?: string }).user;

/** A store with the option `user`. */
export function openWithUsers(harness: Harness, options: StoreOptions = {}): Promise<AbstractStore> {
  return harness.open({ user: userOf, ...options });
}

/** Saves the session of a new sign-in, as a request does. It says its sid in `device`. */
export async function signIn(
  store: AbstractStore,
  sid: string,
  user: string,
  fields: Fields = {},
): Promise<void> {
  await store.set(sid, requestSession(store, sid, plain({ user, device: sid, ...fields })));
}

export async function signInAll(store: AbstractStore, user: string, ...sids: string[]): Promise<void> {
  for (const sid of sids) await signIn(store, sid, user);
}

export async function sessionsOf(
  store: AbstractStore,
  user: string,
  options?: { current?: string },
): Promise<UserSessionInfo[]> {
  const sessions: UserSessionInfo[] = [];
  for await (const session of store.findByUser(user, options)) sessions.push(session);
  return sessions;
}

/** The sids of a user's sessions, in order. */
export async function devicesOf(store: AbstractStore, user: string): Promise<string[]> {
  return (await sessionsOf(store, user)).map(({ session }) => deviceOf(session)).sort();
}

export function deviceOf(session: SessionData): string {
  return (session as unknown as { device: string }).device;
}

/** Checks who has which sessions: `{ ann: ["a1", "a2"], bob: [] }`. */
export async function assertDevices(store: AbstractStore, expected: Record<string, string[]>): Promise<void> {
  for (const [user, sids] of Object.entries(expected)) {
    assert.deepEqual(await devicesOf(store, user), sids, `expected other sessions of ${user}`);
    assert.equal(await store.countByUser(user), sids.length);
  }
}

/** The handle of the session with this sid. */
export async function handleOf(store: AbstractStore, user: string, sid: string): Promise<string> {
  const found = (await sessionsOf(store, user)).find(({ session }) => deviceOf(session) === sid);
  assert.ok(found, `expected ${user} to have the session ${sid}`);
  return found.handle;
}
