import { createHash, createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { secretRule, typeName } from "./options.js";

/** The option `hashIds`. */
export interface HashIdsOptions {
  /** Makes the digests an HMAC-SHA-256 with this secret, a non-empty string or bytes. @defaultValue SHA-256 alone */
  secret?: string | Uint8Array;
}

/** What the option `hashIds` must be. */
export const hashIdsRule = secretRule(
  hashIdsProblem,
  "a boolean, or an object `{ secret? }` with a non-empty string or bytes",
);

function hashIdsProblem(value: unknown): string | undefined {
  if (typeof value === "boolean") return undefined;
  // Bytes or a Map have no keys either, but are no options.
  if (String(value) !== "[object Object]") return `it is ${typeName(value)}`;
  const { secret, ...others } = value as HashIdsOptions;
  // A missing secret selects plain SHA-256. `undefined` is rejected: most likely an unset environment variable.
  if (Object.hasOwn(value as object, "secret")) {
    if (typeof secret !== "string" && !(secret instanceof Uint8Array))
      return `\`secret\` is ${typeName(secret)}`;
    if (secret.length === 0) return "`secret` is empty";
  }
  const [unknown] = Object.keys(others);
  return unknown === undefined ? undefined : `it has \`${unknown}\``;
}

/** The length of a digest: 32 bytes in base64url. */
const DIGEST = /^[A-Za-z0-9_-]{43}$/;

/** SHA-256 in base64url. */
export function digest(sid: string): string {
  // UTF-16, since UTF-8 would make all lone surrogates the same.
  return createHash("sha256").update(sid, "utf16le").digest("base64url");
}

/** Whether a text may be a digest. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

export function secretKeyOf(secret: string | Uint8Array): KeyObject {
  return createSecretKey(typeof secret === "string" ? Buffer.from(secret) : secret);
}

/** The function that turns sids into digests, as the option says. */
export function sidHasher({ secret }: HashIdsOptions): (sid: string) => string {
  if (secret === undefined) return digest;
  const key = secretKeyOf(secret);
  return sid => createHmac("sha256", key).update(sid, "utf16le").digest("base64url");
}
