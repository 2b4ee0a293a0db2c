import type { Store } from "express-session";
import { AbstractStore } from "../../core/abstract-store.js";
import { invalidArgument } from "../../core/options.js";
import { OldStore } from "../old-store.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** The longest time that a timer can wait, 24 days: a store may have a lot to give. */
const ALL_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Reads the sessions that the method `all` of a store gives: an object of sessions by their ids, or an array of sessions
 * with their ids in `id` or `sid`. Holds all of them in memory. When a session ends is known from its cookie alone, which
 * many stores leave as it was at the last save. So a reader of its own is better, if the store has one here.
 *
 * @throws TypeError if it is not a session store of another package
 * @throws StoreError while reading, if `all` is missing, fails, or gives sessions without their ids
 */
export function readAll(store: Store): SessionReader {
  const hasAll = typeof (store as Partial<Store> | null | undefined)?.all === "function";
  if (!hasAll || store instanceof AbstractStore) {
    throw invalidArgument("store", "a session store of another package, with a method `all`", store);
  }
  return readerOf(() => read(store));
}

async function* read(store: Store): Reading {
  const sessions = await new OldStore(store, ALL_TIMEOUT_MS).all();
  for (const [sid, session] of sessions) yield* sessionOf(sid, undefined, () => session);
}
