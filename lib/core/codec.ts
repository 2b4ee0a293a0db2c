import type { SessionData } from "express-session";
import { StoreError } from "../errors.js";
import { setCookieExpiry } from "./cookie.js";
import type { Encryption } from "./encryption.js";
import type { SessionKeys } from "./keys.js";
import { type Awaitable, chain, isPromise, type StoredRecord } from "./record.js";
import type { Fields } from "./save/merge.js";
import { stringifySession } from "./session-json.js";

/** Turns sessions into strings and back. Either method may return a promise. */
export interface Serializer {
  stringify(session: object): Awaitable<string>;
  parse(data: string): Awaitable<unknown>;
}

/** A session that was read from a record. */
export interface Decoded {
  readonly session: SessionData;
  /** The text that it was parsed from. */
  readonly text: string;
  /** The expiry that its cookie shows, in epoch milliseconds, if the cookie has one. */
  readonly cookieExpires: number | undefined;
}

/** Converts between sessions and the data of records. */
export class SessionCodec {
  readonly #serializer: Serializer;
  readonly #keys: SessionKeys;
  readonly #encryption: Encryption | undefined;
  readonly #onCorrupt: (key: string, cause: unknown) => void;

  constructor(
    serializer: Serializer,
    keys: SessionKeys,
    encryption: Encryption | undefined,
    onCorrupt: (key: string, cause: unknown) => void,
  ) {
    this.#serializer = serializer;
    this.#keys = keys;
    this.#encryption = encryption;
    this.#onCorrupt = onCorrupt;
  }

  /** @throws StoreError `ERR_SESSION_SERIALIZE` */
  serialize(session: object): Awaitable<string> {
    try {
      if (this.#serializer === JSON) return stringifySession(session);
      const text = this.#serializer.stringify(session);
      return isPromise(text) ? Promise.resolve(text).then(checkText).catch(failSerialize) : checkText(text);
    } catch (error) {
      return failSerialize(error);
    }
  }

  /** Parses a text. @throws what the serializer throws, and a TypeError for what is not an object */
  parse(text: string): Awaitable<Fields> {
    return chain(this.#serializer.parse(text), checkObject);
  }

  /** The fields of a session after a round trip through the serializer. @throws StoreError `ERR_SESSION_SERIALIZE` */
  async fieldsOf(text: string): Promise<Fields> {
    try {
      return await this.parse(text);
    } catch (error) {
      return failSerialize(error);
    }
  }

  /** The data of a record. A long sid is not part of its key: the data begins with it, on a line of its own. */
  pack(key: string, sid: string, text: string): string {
    const plain = this.#keys.isDigest(key) ? `${JSON.stringify(sid)}\n${text}` : text;
    return this.#encryption === undefined ? plain : this.#encryption.seal(key, plain);
  }

  #unpack(key: string, { data }: StoredRecord): string {
    return this.#encryption === undefined ? data : this.#encryption.open(key, data);
  }

  /** The sid of a record; `undefined` if it should be in the data and is not. */
  sidOf(key: string, record: StoredRecord): string | undefined {
    if (!this.#keys.isDigest(key)) return this.#keys.sidOf(key);
    try {
      const plain = this.#unpack(key, record);
      return this.#keys.publicIdOf(JSON.parse(plain.slice(0, Math.max(0, plain.indexOf("\n")))));
    } catch {
      return undefined;
    }
  }

  /**
   * The session in a record, with the expiry in its cookie. Reports a record that cannot be decoded and returns `null`.
   *
   * @param expiry - what the cookie shows if it has an expiry, in epoch milliseconds
   */
  decode(key: string, record: StoredRecord, expiry: number): Awaitable<Decoded | null> {
    try {
      const plain = this.#unpack(key, record);
      const text = this.#keys.isDigest(key) ? plain.slice(plain.indexOf("\n") + 1) : plain;
      const fields = this.parse(text);
      return isPromise(fields)
        ? fields
            .then(parsed => decoded(parsed, text, expiry))
            .then(undefined, cause => this.corrupt(key, cause))
        : decoded(fields, text, expiry);
    } catch (cause) {
      return this.corrupt(key, cause);
    }
  }

  /** Reports a record that cannot be read. */
  corrupt(key: string, cause: unknown = new TypeError("Not a record of this store")): null {
    this.#onCorrupt(key, cause);
    return null;
  }
}

function decoded(fields: Fields, text: string, expiry: number): Decoded {
  const session = fields as unknown as SessionData;
  return { session, text, cookieExpires: setCookieExpiry(session, expiry) };
}

function checkText(text: unknown): string {
  if (typeof text === "string" && text !== "") return text;
  throw new TypeError(
    `\`serializer.stringify\` must return a string, got ${text === "" ? "an empty one" : typeof text}`,
  );
}

function failSerialize(cause: unknown): never {
  throw new StoreError(
    "ERR_SESSION_SERIALIZE",
    "The session could not be serialized: keep only plain data in it (no cycles, no BigInt).",
    { cause },
  );
}

function checkObject(session: unknown): Fields {
  if (typeof session !== "object" || session === null || Array.isArray(session)) {
    throw new TypeError("The record does not hold an object");
  }
  return session as Fields;
}
