import { createHash, createHmac, createSecretKey } from "node:crypto";
import { kindOf, secretRule } from "./options.js";

/*
 * The key of a session is prefix + sid. Ordinary sids (letters, digits, `-`, `_`) are stored as they are; everything
 * else in a sid is percent-encoded, and a very long sid is replaced by its digest. So a key ends in a run of "plain"
 * characters that is the whole sid, and what stands before that run is the prefix: `a:` never lists `a:b:x`.
 */

const ORDINARY = /^[A-Za-z0-9_-]+$/;
const PLAIN = /^[A-Za-z0-9_%-]+$/;
const ENDS_PLAIN_OR_MARKED = /[A-Za-z0-9_%~-]$/;
const LONE_SURROGATE = /^[\ud800-\udfff]$/;

/** `%` followed by these letters is never the code of a byte. */
const LONE_SURROGATE_MARK = "%u";
const DIGEST_MARK = "%h";
const HASH_MARK = "%s";

const NONE: readonly string[] = [];

/** SHA-256 in base64url. */
const LISTED_DIGEST = /^[A-Za-z0-9_-]{43}$/;

/** Leaves room for the prefix below the smallest key limit of the backends (LMDB: 1,978 bytes). */
const MAX_ENCODED_SID = 1024;
export const MAX_PREFIX_BYTES = 512;

/** The option `hashIds`. */
export interface HashIdsOptions {
  /** Makes the digests an HMAC with this secret, which cannot be changed later. @defaultValue none */
  secret?: string | Uint8Array;
  /**
   * Whether sessions under keys from before are found, and moved at their next save. While it is true, a session that
   * does not exist costs two reads more, and a removal one more. @defaultValue `true`
   */
  findPlain?: boolean | undefined;
}

export const hashIdsRule = secretRule(
  hashIdsFault,
  "a boolean, or an object with some of secret (a non-empty string or bytes) and findPlain (a boolean)",
);

function hashIdsFault(value: unknown): string | undefined {
  if (typeof value === "boolean") return undefined;
  // Not what only looks like one because it has no keys: bytes, a Map.
  if (String(value) !== "[object Object]") return `it is ${kindOf(value)}`;
  const { secret, findPlain, ...others } = value as HashIdsOptions;
  // Left out it means a digest without a secret. Undefined it is an environment variable that is not set.
  if (Object.hasOwn(value as object, "secret")) {
    if (typeof secret !== "string" && !(secret instanceof Uint8Array))
      return `\`secret\` is ${kindOf(secret)}`;
    if (secret.length === 0) return "`secret` is empty";
  }
  if (findPlain !== undefined && typeof findPlain !== "boolean")
    return `\`findPlain\` is ${kindOf(findPlain)}`;
  const [unknown] = Object.keys(others);
  return unknown === undefined ? undefined : `it has \`${unknown}\``;
}

/** Turns sids into keys of one prefix, and back. */
export class KeySpace {
  /** What every key of this prefix begins with. */
  readonly start: string;
  /** Whether keys have a digest of the sid in place of it. */
  readonly isHashing: boolean;
  readonly #hash: ((sid: string) => string) | undefined;
  readonly #findsPlain: boolean;

  /** @param hashing - what the option `hashIds` says */
  constructor(prefix: string, hashing?: HashIdsOptions) {
    this.isHashing = hashing !== undefined;
    this.#hash = hashing && hashOf(hashing.secret);
    this.#findsPlain = hashing?.findPlain ?? true;
    // After a prefix such as `app1` the sid could not be told from the prefix (`app1` + `0x` is `app10` + `x`), so a
    // `~` is put between. A prefix that ends in `~` gets another, or `app1` and `app1~` would be the same.
    this.start = ENDS_PLAIN_OR_MARKED.test(prefix) ? `${prefix}~` : prefix;
  }

  keyOf(sid: string): string {
    return this.#hash === undefined ? this.#plainKeyOf(sid) : this.start + HASH_MARK + this.#hash(sid);
  }

  /** The key from before ids were hashed, if there may be one. */
  formerKeyOf(sid: string): string | undefined {
    return this.isHashing && this.#findsPlain ? this.#plainKeyOf(sid) : undefined;
  }

  /** Further keys that a removal has to remove: the former one, and that of a session named as listings name it. */
  otherKeysOf(id: string): readonly string[] {
    if (!this.isHashing) return NONE;
    const former = this.#findsPlain ? [this.#plainKeyOf(id)] : [];
    return LISTED_DIGEST.test(id) ? [...former, this.start + HASH_MARK + id] : former;
  }

  #plainKeyOf(sid: string): string {
    // Encoded it would be no shorter.
    if (sid.length > MAX_ENCODED_SID) return this.#digestKeyOf(sid);
    const encoded = ORDINARY.test(sid) ? sid : encode(sid);
    return encoded.length <= MAX_ENCODED_SID ? this.start + encoded : this.#digestKeyOf(sid);
  }

  #digestKeyOf(sid: string): string {
    return this.start + DIGEST_MARK + digest(sid);
  }

  /** Whether a key that begins with `start` is of this prefix, and not of one that is longer. */
  owns(key: string): boolean {
    return key.startsWith(this.start) && PLAIN.test(key.slice(this.start.length));
  }

  /** The sid of a key that is owned and not a digest of a long one; as listings give it. */
  sidOf(key: string): string {
    const encoded = key.slice(this.start.length);
    if (encoded.startsWith(HASH_MARK)) return encoded.slice(HASH_MARK.length);
    return this.listed(plainSidOf(encoded));
  }

  /** What listings give for a sid: its digest, if keys have that. */
  listed(sid: string): string {
    return this.#hash === undefined ? sid : this.#hash(sid);
  }

  /** What stands for a sid in events and diagnostics: a digest, with hashed ids the one that listings give. */
  sidHash(sid: string): string {
    return this.#hash === undefined ? digest(sid) : this.#hash(sid);
  }

  /** The same, of the sid that a key was made of. */
  sidHashOf(key: string): string {
    const encoded = key.slice(this.start.length);
    const isDigest = encoded.startsWith(HASH_MARK) || encoded.startsWith(DIGEST_MARK);
    return isDigest ? encoded.slice(HASH_MARK.length) : this.sidHash(plainSidOf(encoded));
  }

  /** Whether the key is a digest, from which the sid cannot be had back: the data must carry it. */
  isDigest(key: string): boolean {
    return key.startsWith(DIGEST_MARK, this.start.length);
  }
}

function plainSidOf(encoded: string): string {
  return encoded.includes("%") ? decode(encoded) : encoded;
}

/** SHA-256 in base64url. */
export function digest(sid: string): string {
  // UTF-16, since UTF-8 would make all lone surrogates the same.
  return createHash("sha256").update(sid, "utf16le").digest("base64url");
}

function hashOf(secret: string | Uint8Array | undefined): (sid: string) => string {
  if (secret === undefined) return digest;
  const key = createSecretKey(typeof secret === "string" ? Buffer.from(secret) : secret);
  return sid => createHmac("sha256", key).update(sid, "utf16le").digest("base64url");
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
