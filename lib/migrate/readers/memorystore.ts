import type { Store } from "express-session";
import { checkOptions } from "../../core/options.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** What is used of a store of memorystore. Its cache is that of lru-cache 4. */
interface Memorystore {
  readonly store: {
    has(sid: string): boolean;
    dumpLru(): { toArray(): Entry[] };
  };
  readonly serializer: { parse(text: string): unknown };
}

/** Times in milliseconds; both are 0 if the entry does not end. */
interface Entry {
  readonly key: string;
  readonly value: string;
  readonly now: number;
  readonly maxAge: number;
}

/**
 * Reads the sessions of memorystore, in the process that has them. The expiry is that of the entry in its cache, which
 * the option `ttl` may set otherwise than the cookie. Holds a list of the entries, without copies of them.
 *
 * Format: `set` and `touch` in memorystore 1.6, `Entry` in lru-cache 4.
 *
 * @throws TypeError for an unknown or ill-typed option
 */
export function readMemorystore(options: { store: Store }): SessionReader {
  checkOptions("readMemorystore", options, {
    store: { test: isMemorystore, required: true, expected: "a store of memorystore 1" },
  });
  return readerOf(() => read(options.store as unknown as Memorystore));
}

async function* read({ store: cache, serializer }: Memorystore): Reading {
  for (const { key: sid, value, now, maxAge } of cache.dumpLru().toArray()) {
    // Destroyed in the meantime. `get` and `peek` would remove an entry that has ended.
    if (!cache.has(sid)) continue;
    yield* sessionOf(sid, maxAge > 0 ? now + maxAge : undefined, () => serializer.parse(value));
  }
}

function isMemorystore(value: unknown): boolean {
  const { store, serializer } = (value ?? {}) as Partial<Memorystore>;
  return [store?.has, store?.dumpLru, serializer?.parse].every(method => typeof method === "function");
}
