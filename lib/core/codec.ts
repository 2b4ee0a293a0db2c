import type { SessionData } from "express-session";
import { StoreError } from "../errors.js";
import type { Encryption } from "./encryption.js";
import { refreshCookieExpiry } from "./expiry.js";
import type { KeySpace } from "./keys.js";
import { type Awaitable, isPromise, type StoredRecord, UNREADABLE } from "./record.js";
import type { Fields } from "./save/merge.js";
import { stringifySession } from "./session-json.js";

/** Turns sessions into strings and back. Either method may return a promise. */
export interface Serializer {
  stringify(session: object): Awaitable<string>;
  parse(data: string): Awaitable<unknown>;
}

/** A session, and the text that it was made of. */
export interface Decoded {
  session: SessionData;
  text: string;
}

/** What stands between sessions and the data of their records. */
export class SessionCodec {
  readonly #serializer: Serializer;
  readonly #keys: KeySpace;
  readonly #encryption: Encryption | undefined;
  readonly #onCorrupt: (key: string, cause: unknown) => void;

  constructor(
    serializer: Serializer,
    keys: KeySpace,
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
      return isPromise(text)
        ? Promise.resolve(text).then(checkString).catch(failSerialize)
        : checkString(text);
    } catch (error) {
      return failSerialize(error);
    }
  }

  /** What the serializer makes of a text. @throws what it throws, and a TypeError for what is not an object */
  parse(text: string): Awaitable<Fields> {
    const session = this.#serializer.parse(text);
    return isPromise(session) ? Promise.resolve(session).then(checkObject) : checkObject(session);
  }

  /** What of a session is kept: it, serialized and read back. @throws StoreError `ERR_SESSION_SERIALIZE` */
  async fieldsOf(text: string): Promise<Fields> {
    try {
      return await this.parse(text);
    } catch (error) {
      return failSerialize(error);
    }
  }

  /** The data of a record. The key of a long sid is a digest: its data begins with the sid, in a line of its own. */
  pack(key: string, sid: string, text: string): string {
    const plain = this.#keys.isDigest(key) ? `${JSON.stringify(sid)}\n${text}` : text;
    return this.#encryption === undefined ? plain : this.#encryption.seal(key, plain);
  }

  #unpack(key: string, record: StoredRecord): string {
    return this.#encryption === undefined ? record.data : this.#encryption.open(key, record.data);
  }

  /** The serialized session in the data of a record. @throws Error if it is encrypted and cannot be decrypted */
  textOf(key: string, record: StoredRecord): string {
    const plain = this.#unpack(key, record);
    return this.#keys.isDigest(key) ? plain.slice(plain.indexOf("\n") + 1) : plain;
  }

  /** The sid of a record; `undefined` if it should be in the data and is not. */
  sidOf(key: string, record: StoredRecord): string | undefined {
    if (!this.#keys.isDigest(key)) return this.#keys.sidOf(key);
    try {
      const plain = this.#unpack(key, record);
      return this.#keys.listed(JSON.parse(plain.slice(0, Math.max(0, plain.indexOf("\n")))));
    } catch {
      return undefined;
    }
  }

  /** The session in a record, with the current expiry in its cookie; `null` and a report if it cannot be read. */
  decode(key: string, record: StoredRecord): Awaitable<Decoded | null> {
    if (record === UNREADABLE) return this.#corrupt(key, new TypeError("Not a record of this store"));
    try {
      const text = this.textOf(key, record);
      const fields = this.parse(text);
      return isPromise(fields)
        ? fields
            .then(parsed => decoded(parsed, text, record))
            .then(undefined, cause => this.#corrupt(key, cause))
        : decoded(fields, text, record);
    } catch (cause) {
      return this.#corrupt(key, cause);
    }
  }

  #corrupt(key: string, cause: unknown): null {
    this.#onCorrupt(key, cause);
    return null;
  }
}

function decoded(fields: Fields, text: string, record: StoredRecord): Decoded {
  const session = fields as unknown as SessionData;
  refreshCookieExpiry(session, record.expiresAt - record.slack);
  return { session, text };
}

function checkString(text: unknown): string {
  if (typeof text !== "string") throw new TypeError(`The serializer's stringify gave ${typeof text}`);
  return text;
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
