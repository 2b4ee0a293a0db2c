import type { SessionData } from "express-session";
import { cookieTimesOf } from "../../core/cookie.js";
import { checkOptions, rules } from "../../core/options.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** A client of `redis` (node-redis 4 and later) or of `ioredis`, connected. Not of a cluster. */
export type RedisClient =
  | { sendCommand(args: string[]): Promise<unknown> }
  | { call(command: string, ...args: string[]): Promise<unknown> };

/** The options of {@link readConnectRedis}: those of connect-redis that say where sessions are. */
export interface ConnectRedisReaderOptions {
  /** The client that connect-redis uses, or another one. It is not closed. */
  client: RedisClient;
  /** What keys begin with. @defaultValue `"sess:"` */
  prefix?: string | undefined;
  /** About how many keys Redis looks at in one step. @defaultValue `100` */
  scanCount?: number | undefined;
  /** Parses sessions. @defaultValue `JSON` */
  serializer?: { parse(text: string): unknown } | undefined;
}

/** Redis says so that a key has no expiry, and that there is no such key. */
const NO_EXPIRY = -1;
const NO_KEY = -2;

/**
 * Reads the sessions of connect-redis: SCAN, then MGET and PTTL for each page. Redis may give a key twice. The expiry is
 * that of the key: `touch` moves it and leaves the cookie in the session as it was. A key without an expiry
 * (`disableTTL`) has no time of use, so its session counts as used now.
 *
 * Format: `set` and `touch` in connect-redis 9, the same since version 3.
 *
 * @throws TypeError for an unknown or ill-typed option
 */
export function readConnectRedis(options: ConnectRedisReaderOptions): SessionReader {
  checkOptions("readConnectRedis", options, {
    client: {
      test: isClient,
      required: true,
      expected: "a client of redis or ioredis, without `keyPrefix` and not of a cluster",
    },
    prefix: { test: value => typeof value === "string", expected: "a string" },
    scanCount: rules.positiveInteger,
    serializer: {
      test: value => typeof (value as { parse?: unknown } | null)?.parse === "function",
      expected: "an object with a method `parse`",
    },
  });
  return readerOf(() => read(options));
}

async function* read({
  client,
  prefix = "sess:",
  scanCount = 100,
  serializer = JSON,
}: ConnectRedisReaderOptions): Reading {
  const send = (...args: [string, ...string[]]) =>
    "call" in client ? client.call(...args) : client.sendCommand(args);
  const pattern = `${prefix.replace(/[\\*?[\]^]/g, "\\$&")}*`;
  let cursor = "0";
  do {
    const page = await send("SCAN", cursor, "MATCH", pattern, "COUNT", String(scanCount));
    const [next, found] = page as [unknown, unknown[]];
    cursor = String(next);
    const keys = found.map(String);
    if (keys.length === 0) continue;
    const [texts, ...ttls] = await Promise.all([
      send("MGET", ...keys),
      ...keys.map(key => send("PTTL", key)),
    ]);
    const now = Date.now();
    for (const [index, key] of keys.entries()) {
      const text = (texts as unknown[])[index];
      const ttl = Number(ttls[index]);
      // Gone in the meantime, or not a string and so not a session.
      if (text === null || ttl === NO_KEY) continue;
      const expiry = ttl === NO_EXPIRY ? endIfUsedNow : now + ttl;
      yield* sessionOf(key.slice(prefix.length), expiry, () => serializer.parse(String(text)));
    }
  } while (cursor !== "0");
}

function endIfUsedNow(session: SessionData): number | undefined {
  const { maxAge } = cookieTimesOf(session);
  return maxAge === undefined ? undefined : Date.now() + maxAge;
}

function isClient(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const client = value as Record<string, unknown>;
  // A node of a cluster has only a part of the keys.
  if ("masters" in client || client.isCluster === true) return false;
  // ioredis would put it before the keys that SCAN gives with it.
  if ((client.options as { keyPrefix?: unknown } | undefined)?.keyPrefix) return false;
  return [client.call, client.sendCommand].some(method => typeof method === "function");
}
