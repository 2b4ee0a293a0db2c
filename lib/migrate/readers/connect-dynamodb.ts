import { checkOptions, rules } from "../../core/options.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";
import {
  type DynamoDBReaderClient,
  isDynamoDBClient,
  loadScanCommand,
  millisecondsOf,
  scanTable,
} from "./scan-table.js";

/** The options of {@link readConnectDynamoDB}: those of connect-dynamodb that say where sessions are. */
export interface ConnectDynamoDBReaderOptions {
  /** A client of the AWS SDK v3. It is not destroyed. */
  client: DynamoDBReaderClient;
  /** @defaultValue `"sessions"` */
  table?: string | undefined;
  /** The attribute that is the partition key. @defaultValue `"id"` */
  hashKey?: string | undefined;
  /** What keys begin with. @defaultValue `"sess:"` */
  prefix?: string | undefined;
}

/**
 * Reads the sessions of connect-dynamodb: a Scan, which costs the read units of the whole table. The expiry is the
 * attribute `expires`, which `touch` moves without the cookie in the session.
 *
 * Format: `set`, `touch` and `getParsedSession` in connect-dynamodb 3.
 *
 * @throws TypeError for an unknown or ill-typed option
 * @throws Error if `@aws-sdk/client-dynamodb` is not installed
 */
export function readConnectDynamoDB(options: ConnectDynamoDBReaderOptions): SessionReader {
  checkOptions("readConnectDynamoDB", options, {
    client: { test: isDynamoDBClient, required: true, expected: "a DynamoDBClient of the AWS SDK v3" },
    table: rules.nonEmptyString,
    hashKey: rules.nonEmptyString,
    prefix: { test: value => typeof value === "string", expected: "a string" },
  });
  loadScanCommand();
  return readerOf(() => read(options));
}

async function* read(options: ConnectDynamoDBReaderOptions): Reading {
  const { client, table = "sessions", hashKey = "id", prefix = "sess:" } = options;
  for await (const { sid, item } of scanTable({ client, table, hashKey, prefix })) {
    const text = item.sess?.S;
    // Another store's, in the same table.
    if (text === undefined) continue;
    yield* sessionOf(sid, millisecondsOf(item.expires), () => JSON.parse(text));
  }
}
