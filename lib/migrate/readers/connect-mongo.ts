import { checkOptions, rules } from "../../core/options.js";
import { StoreError } from "../../errors.js";
import { isEncrypted, type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** A MongoClient of `mongodb`. */
export interface MongoClient {
  db(name?: string): { collection(name: string): { find(filter: object): AsyncIterable<object> } };
}

/** The options of {@link readConnectMongo}: those of connect-mongo that say where sessions are. */
export interface ConnectMongoReaderOptions {
  /** A connected MongoClient. It is not closed. */
  client: MongoClient;
  /** @defaultValue the database of the client's connection string */
  dbName?: string | undefined;
  /** @defaultValue `"sessions"` */
  collectionName?: string | undefined;
  /** Gives the session from the field `session`. @defaultValue parses a string, and leaves an object as it is */
  unserialize?: ((stored: unknown) => unknown) | undefined;
  /** For encrypted sessions: such as `createKrupteinAdapter(crypto)` of connect-mongo 6. */
  cryptoAdapter?: { decrypt(ciphertext: string): Promise<string> } | undefined;
}

interface Document {
  readonly _id: unknown;
  readonly session: unknown;
  readonly expires?: unknown;
}

/**
 * Reads the sessions of connect-mongo through a cursor. The expiry is the field `expires`, which `touch` moves without
 * the cookie in the session. Ids that `transformId` has changed are given as they are stored.
 *
 * Format: `set` and `decryptSession` in connect-mongo 6. With `stringify: false` the session is an object.
 *
 * @throws TypeError for an unknown or ill-typed option
 * @throws StoreError while reading, if sessions are encrypted and there is no `cryptoAdapter`
 */
export function readConnectMongo(options: ConnectMongoReaderOptions): SessionReader {
  checkOptions("readConnectMongo", options, {
    client: {
      test: value => typeof (value as Partial<MongoClient> | null)?.db === "function",
      required: true,
      expected: "a MongoClient of mongodb",
    },
    dbName: rules.nonEmptyString,
    collectionName: rules.nonEmptyString,
    unserialize: rules.function,
    cryptoAdapter: {
      test: value => typeof (value as { decrypt?: unknown } | null)?.decrypt === "function",
      expected: "an object with a method `decrypt`",
    },
  });
  return readerOf(() => read(options));
}

async function* read(options: ConnectMongoReaderOptions): Reading {
  const { client, dbName, collectionName = "sessions", unserialize = parsed, cryptoAdapter } = options;
  const documents = client.db(dbName).collection(collectionName).find({});
  for await (const document of documents as AsyncIterable<Document>) {
    const { _id: sid, session, expires } = document;
    // The collection may have documents of another origin.
    if (typeof sid !== "string" || session === undefined) continue;
    if (cryptoAdapter === undefined && isEncrypted(session)) throw encrypted();
    const expiry = expires instanceof Date ? expires.getTime() : undefined;
    yield* sessionOf(sid, expiry, async () => {
      if (cryptoAdapter === undefined || typeof session !== "string") return unserialize(session);
      return unserialize(tryParsed(await cryptoAdapter.decrypt(session)));
    });
  }
}

function parsed(stored: unknown): unknown {
  return typeof stored === "string" ? JSON.parse(stored) : stored;
}

/** connect-mongo encrypts the text of a session, or its JSON once more. */
function tryParsed(stored: unknown): unknown {
  try {
    return parsed(stored);
  } catch {
    return stored;
  }
}

function encrypted(): StoreError {
  return new StoreError(
    "ERR_SESSION_SERIALIZE",
    "The sessions of connect-mongo are encrypted (option `crypto`). Set `cryptoAdapter: createKrupteinAdapter(crypto)`, with the function of connect-mongo 6 and the same `crypto`.",
  );
}
