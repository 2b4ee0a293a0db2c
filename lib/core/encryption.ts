import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import { secretRule, typeName } from "./options.js";

/** The option `encryption`. */
export interface EncryptionOptions {
  /**
   * Keys of 32 bytes, as bytes or in base64. The first one encrypts, all of them decrypt. To change the key, put a new
   * one in front. Drop the old one when all sessions that it encrypted have ended or have been saved again.
   */
  keys: readonly (Uint8Array | string)[];
  /**
   * Whether sessions that were stored without encryption are found. While this is true, anyone who can write to the
   * backend can forge sessions. @defaultValue `false`
   */
  acceptUnencrypted?: boolean | undefined;
}

const ALGORITHM = "aes-256-gcm";
const KEY_BYTES = 32;
/** NIST SP 800-38D, 8.2.2: random nonces of 96 bits, for at most 2^32 writes with one key. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_BYTES = 6;

/** Begins encrypted data. The id of the key, a colon, then nonce, text and tag in base64 follow. */
const MARK = "enc1:";

export const encryptionRule = secretRule(
  encryptionProblem,
  `an object { keys: [current, ...older] } with keys of ${KEY_BYTES} bytes (as bytes or in base64), and optionally \`acceptUnencrypted\` (a boolean)`,
);

function encryptionProblem(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return `it is ${typeName(value)}`;
  const { keys, acceptUnencrypted, ...others } = value as EncryptionOptions;
  if (!Array.isArray(keys)) return `\`keys\` is ${typeName(keys)}`;
  if (keys.length === 0) return "`keys` is empty";
  for (const [index, key] of keys.entries()) {
    const bytes = bytesOf(key);
    if (bytes === undefined)
      return `\`keys[${index}]\` is ${typeof key === "string" ? "not valid base64" : typeName(key)}`;
    if (bytes.length !== KEY_BYTES) return `\`keys[${index}]\` has ${bytes.length} bytes`;
  }
  if (acceptUnencrypted !== undefined && typeof acceptUnencrypted !== "boolean") {
    return `\`acceptUnencrypted\` is ${typeName(acceptUnencrypted)}`;
  }
  const [unknown] = Object.keys(others);
  return unknown === undefined ? undefined : `it has \`${unknown}\``;
}

function bytesOf(key: unknown): Uint8Array | undefined {
  if (key instanceof Uint8Array) return key;
  if (typeof key !== "string" || !/^[A-Za-z0-9+/_-]+=?$/.test(key)) return undefined;
  return Buffer.from(key, "base64");
}

interface Key {
  id: string;
  secret: KeyObject;
}

/** Encrypts the data of records with AES-256-GCM. The key of the record is authenticated with it. */
export class Encryption {
  readonly #keys: readonly Key[];
  readonly #acceptUnencrypted: boolean;

  constructor({ keys, acceptUnencrypted = false }: EncryptionOptions) {
    this.#keys = keys.map(key => {
      const bytes = bytesOf(key) as Uint8Array;
      return { id: keyIdOf(bytes), secret: createSecretKey(bytes) };
    });
    this.#acceptUnencrypted = acceptUnencrypted;
  }

  /** The keys, for digests. The current one is the first. */
  get secrets(): KeyObject[] {
    return this.#keys.map(({ secret }) => secret);
  }

  seal(storeKey: string, text: string): string {
    const { id, secret } = this.#keys[0] as Key;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, secret, nonce).setAAD(Buffer.from(storeKey));
    const sealed = [nonce, cipher.update(text, "utf8"), cipher.final()];
    return `${MARK}${id}:${Buffer.concat([...sealed, cipher.getAuthTag()]).toString("base64")}`;
  }

  /** @throws Error if no key decrypts it, or if it was stored under another key or changed */
  open(storeKey: string, data: string): string {
    if (!data.startsWith(MARK)) {
      if (this.#acceptUnencrypted) return data;
      throw new Error("The record is not encrypted (option `encryption.acceptUnencrypted`)");
    }
    const [id, text = ""] = data.slice(MARK.length).split(":");
    const key = this.#keys.find(candidate => candidate.id === id);
    if (key === undefined) throw new Error("The record is encrypted with a key that the store does not have");
    const sealed = Buffer.from(text, "base64");
    const tagAt = sealed.length - TAG_BYTES;
    if (tagAt < NONCE_BYTES) throw new Error("The encrypted record is truncated");
    const decipher = createDecipheriv(ALGORITHM, key.secret, sealed.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(storeKey))
      .setAuthTag(sealed.subarray(tagAt));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, tagAt)), decipher.final()]).toString();
  }
}

/** Identifies a key without revealing anything about it. */
function keyIdOf(key: Uint8Array): string {
  const hash = createHash("sha256").update("express-session-stores key id\n").update(key).digest();
  return hash.subarray(0, KEY_ID_BYTES).toString("base64url");
}
