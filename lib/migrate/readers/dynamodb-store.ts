import { checkOptions } from "../../core/options.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";
import {
  type DynamoDBReaderClient,
  isDynamoDBClient,
  loadScanCommand,
  millisecondsOf,
  scanTable,
  type WireItem,
  type WireValue,
} from "./scan-table.js";

/** The options of {@link readDynamoDBStore}: those of dynamodb-store that say where sessions are. */
export interface DynamoDBStoreReaderOptions {
  /** A client of the AWS SDK v3. It is not destroyed. dynamodb-store itself has one of the SDK v2. */
  client: DynamoDBReaderClient;
  /** The option `table` of dynamodb-store. Its capacity units are ignored. */
  table?:
    | {
        /** @defaultValue `"sessions"` */
        name?: string | undefined;
        /** The attribute that is the partition key. @defaultValue `"sessionId"` */
        hashKey?: string | undefined;
        /** What keys begin with. @defaultValue `"sess:"` */
        hashPrefix?: string | undefined;
        readCapacityUnits?: number | undefined;
        writeCapacityUnits?: number | undefined;
      }
    | undefined;
}

/**
 * Reads the sessions of dynamodb-store: a Scan, which costs the read units of the whole table. The expiry is the
 * attribute `expires`, which `touch` moves. The dates of a cookie are lost in the table: the one given is the expiry.
 *
 * Format: `set`, `touch` and `isExpired` in dynamodb-store 1.2; the AWS SDK v2 stores a Date as an empty map.
 *
 * @throws TypeError for an unknown or ill-typed option
 * @throws Error if `@aws-sdk/client-dynamodb` is not installed
 */
export function readDynamoDBStore(options: DynamoDBStoreReaderOptions): SessionReader {
  checkOptions("readDynamoDBStore", options, {
    client: { test: isDynamoDBClient, required: true, expected: "a DynamoDBClient of the AWS SDK v3" },
    table: { test: isTable, expected: "an object with strings in `name`, `hashKey` and `hashPrefix`" },
  });
  loadScanCommand();
  return readerOf(() => read(options));
}

async function* read({ client, table = {} }: DynamoDBStoreReaderOptions): Reading {
  const { name = "sessions", hashKey = "sessionId", hashPrefix = "sess:" } = table;
  for await (const { sid, item } of scanTable({ client, table: name, hashKey, prefix: hashPrefix })) {
    const expiresAt = millisecondsOf(item.expires);
    // Another store's; one without an expiry has ended for dynamodb-store.
    if (item.sess === undefined || expiresAt === undefined) continue;
    const { sess } = item;
    yield* sessionOf(sid, expiresAt, () => withCookie(plainValue(sess), expiresAt));
  }
}

/** The session with a cookie as express-session saves it. The stored one has what `for in` finds in a Cookie. */
function withCookie(session: unknown, expiresAt: number): unknown {
  const { cookie } = session as { cookie?: Record<string, unknown> };
  if (typeof cookie !== "object" || cookie === null) return session;
  const { _expires, expires: _date, maxAge: _maxAge, data: _data, ...saved } = cookie;
  const hasExpiry = typeof saved.originalMaxAge === "number";
  const expires = hasExpiry ? new Date(expiresAt).toISOString() : null;
  return { ...(session as object), cookie: { ...saved, expires } };
}

function plainValue(value: WireValue): unknown {
  if (value.M !== undefined) return objectOf(value.M);
  if (value.L !== undefined) return value.L.map(plainValue);
  if (value.N !== undefined) return Number(value.N);
  if (value.NULL !== undefined) return null;
  return value.S ?? value.BOOL ?? value.B ?? value.SS ?? value.NS?.map(Number) ?? value.BS;
}

function objectOf(item: WireItem): Record<string, unknown> {
  return Object.fromEntries(Object.entries(item).map(([name, value]) => [name, plainValue(value)]));
}

function isTable(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { name, hashKey, hashPrefix } = value as Record<string, unknown>;
  return [name, hashKey, hashPrefix].every(each => each === undefined || typeof each === "string");
}
