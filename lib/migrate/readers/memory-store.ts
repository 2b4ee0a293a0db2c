import type { Store } from "express-session";
import { cookieTimesOf } from "../../core/cookie.js";
import { checkOptions } from "../../core/options.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** What is used of a MemoryStore of express-session. */
interface ExpressMemoryStore {
  readonly sessions: Readonly<Record<string, string>>;
}

/**
 * Reads the sessions of express-session's own MemoryStore, in the process that has them. The expiry is that of the
 * cookie, which `touch` saves. Holds a list of the ids.
 *
 * Format: `session/memory.js` of express-session 1.
 *
 * @throws TypeError for an unknown or ill-typed option
 */
export function readMemoryStore(options: { store: Store }): SessionReader {
  checkOptions("readMemoryStore", options, {
    store: {
      test: value => isObject(value) && isObject((value as Partial<ExpressMemoryStore>).sessions),
      required: true,
      expected: "a MemoryStore of express-session",
    },
  });
  return readerOf(() => read(options.store as unknown as ExpressMemoryStore));
}

async function* read(store: ExpressMemoryStore): Reading {
  for (const sid of Object.keys(store.sessions)) {
    const text = store.sessions[sid];
    // Destroyed in the meantime.
    if (text === undefined) continue;
    yield* sessionOf(
      sid,
      session => cookieTimesOf(session).expires,
      () => JSON.parse(text),
    );
  }
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}
