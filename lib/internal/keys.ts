import { createHash } from "node:crypto";

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

/** Leaves room for the prefix below the smallest key limit of the backends (LMDB: 1,978 bytes). */
const MAX_ENCODED_SID = 1024;
export const MAX_PREFIX_BYTES = 512;

/** Turns sids into keys of one prefix, and back. */
export class KeySpace {
  /** What every key of this prefix begins with. */
  readonly start: string;

  constructor(prefix: string) {
    // After a prefix such as `app1` the sid could not be told from the prefix (`app1` + `0x` is `app10` + `x`), so a
    // `~` is put between. A prefix that ends in `~` gets another, or `app1` and `app1~` would be the same.
    this.start = ENDS_PLAIN_OR_MARKED.test(prefix) ? `${prefix}~` : prefix;
  }

  keyOf(sid: string): string {
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

  /** The sid of a key that is owned and not a digest. */
  sidOf(key: string): string {
    const encoded = key.slice(this.start.length);
    return encoded.includes("%") ? decode(encoded) : encoded;
  }

  /** Whether the key is a digest, from which the sid cannot be had back: the data must carry it. */
  isDigest(key: string): boolean {
    return key.startsWith(DIGEST_MARK, this.start.length);
  }
}

/** A digest of the sid: in keys of long sids, and in events, which must not show a sid. */
export function digest(sid: string): string {
  // UTF-16, since UTF-8 would make all lone surrogates the same.
  return createHash("sha256").update(sid, "utf16le").digest("base64url");
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
