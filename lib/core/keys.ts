import { digest, type HashIdsOptions, isDigest, sidHasher } from "./hashed-ids.js";

/*
 * The key of a session is prefix + sid. Ordinary sids (letters, digits, `-`, `_`) are stored as they are. All other
 * characters are percent-encoded, and a very long sid is replaced by its digest. So a key ends in a run of plain
 * characters that is the whole sid, and the prefix is what precedes this run: `a:` never lists `a:b:x`.
 */

const ORDINARY = /^[A-Za-z0-9_-]+$/;
const PLAIN = /^[A-Za-z0-9_%-]+$/;
const ENDS_PLAIN_OR_MARKED = /[A-Za-z0-9_%~-]$/;
const LONE_SURROGATE = /^[\ud800-\udfff]$/;

/** `%` followed by these letters is never the code of a byte. */
const LONE_SURROGATE_MARK = "%u";
const LONG_TEXT_MARK = "%h";
const HASHED_SID_MARK = "%s";

/** Precedes a user. No character of an encoded sid, and less than all of them. */
const USER_MARK = "!";
/** In a listing in the order of the keys, all sessions of a prefix come after it, and all users before it. */
export const AFTER_USERS = '"';

/** Leaves room for the prefix below the smallest key limit of the backends (LMDB: 1,978 bytes). */
const MAX_ENCODED_SID = 1024;
export const MAX_PREFIX_BYTES = 512;

/** Turns sids into keys of one prefix, and back. */
export class SessionKeys {
  /** What every key begins with. */
  readonly keyPrefix: string;
  readonly #hash: ((sid: string) => string) | undefined;

  /** @param hashing - the option `hashIds`, if it is on */
  constructor(prefix: string, hashing?: HashIdsOptions) {
    this.#hash = hashing && sidHasher(hashing);
    // After a prefix such as `app1` the sid could not be told from the prefix: `app1` + `0x` is `app10` + `x`. A `~`
    // separates them. A prefix that ends in `~` gets another one, or `app1` and `app1~` would be the same.
    this.keyPrefix = ENDS_PLAIN_OR_MARKED.test(prefix) ? `${prefix}~` : prefix;
  }

  /** @throws TypeError if the sid is not a non-empty string */
  keyOf(sid: unknown): string {
    if (typeof sid !== "string" || sid === "") {
      // The value is not shown: it may be a sid in a wrapper.
      throw new TypeError(
        `Expected \`sid\` to be a non-empty string, got ${sid === "" ? "an empty one" : typeof sid}`,
      );
    }
    return this.#hash === undefined
      ? this.#plainKeyOf(sid)
      : this.keyPrefix + HASHED_SID_MARK + this.#hash(sid);
  }

  /** The key of a session that is named as listings name it, if the id can be such a name and keys are hashed. */
  keyOfPublicId(id: string): string | undefined {
    return this.#hash !== undefined && isDigest(id) ? this.keyPrefix + HASHED_SID_MARK + id : undefined;
  }

  #plainKeyOf(sid: string): string {
    return this.keyPrefix + encodeText(sid, MAX_ENCODED_SID);
  }

  /** Whether keys are digests of sids, so that listings have no sids. */
  get hashesIds(): boolean {
    return this.#hash !== undefined;
  }

  /** The key of the list of a user, for backends that keep one. No session has such a key. */
  userKeyOf(user: string): string {
    return `${this.keyPrefix}${USER_MARK}${user}`;
  }

  /** Whether a key that begins with `keyPrefix` is of this prefix, and not of a longer one. */
  includes(key: string): boolean {
    return key.startsWith(this.keyPrefix) && PLAIN.test(key.slice(this.keyPrefix.length));
  }

  /** The sid of a key of this prefix, as listings show it. Not for keys for which {@link isDigest} is true. */
  sidOf(key: string): string {
    const encoded = key.slice(this.keyPrefix.length);
    if (encoded.startsWith(HASHED_SID_MARK)) return encoded.slice(HASHED_SID_MARK.length);
    return this.publicIdOf(plainSidOf(encoded));
  }

  /** What listings show for a sid: its digest if ids are hashed. */
  publicIdOf(sid: string): string {
    return this.#hash === undefined ? sid : this.#hash(sid);
  }

  /** Identifies a session in events and diagnostics: a digest; with hashed ids the one that listings show. */
  sidHash(sid: string): string {
    return this.#hash === undefined ? digest(sid) : this.#hash(sid);
  }

  /** The same for the sid that a key was made of. */
  sidHashOf(key: string): string {
    const encoded = key.slice(this.keyPrefix.length);
    const isHashed = encoded.startsWith(HASHED_SID_MARK) || encoded.startsWith(LONG_TEXT_MARK);
    return isHashed ? encoded.slice(HASHED_SID_MARK.length) : this.sidHash(plainSidOf(encoded));
  }

  /** Whether the key is the digest of a long sid, so that the data must contain the sid. */
  isDigest(key: string): boolean {
    return key.startsWith(LONG_TEXT_MARK, this.keyPrefix.length);
  }
}

/** A text in plain characters, at most `maxLength` of them, which must be 45 or more: beyond, its digest. */
export function encodeText(text: string, maxLength: number): string {
  if (ORDINARY.test(text) && text.length <= maxLength) return text;
  // Encoded it would be no shorter.
  const encoded = text.length <= maxLength ? encode(text) : undefined;
  return encoded !== undefined && encoded.length <= maxLength ? encoded : LONG_TEXT_MARK + digest(text);
}

function plainSidOf(encoded: string): string {
  return encoded.includes("%") ? decode(encoded) : encoded;
}

function encode(sid: string): string {
  let encoded = "";
  for (const character of sid) {
    if (ORDINARY.test(character)) encoded += character;
    else if (LONE_SURROGATE.test(character))
      encoded += LONE_SURROGATE_MARK + character.charCodeAt(0).toString(16);
    else for (const byte of Buffer.from(character)) encoded += `%${byte.toString(16).padStart(2, "0")}`;
  }
  return encoded;
}

function decode(encoded: string): string {
  return encoded.replace(
    /%u([0-9a-f]{4})|((?:%[0-9a-f]{2})+)/g,
    (_match, surrogate?: string, bytes?: string) =>
      surrogate === undefined
        ? Buffer.from((bytes as string).replaceAll("%", ""), "hex").toString()
        : String.fromCharCode(Number.parseInt(surrogate, 16)),
  );
}
