import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import { kindOf, secretRule } from "./options.js";

/** The option `encryption`. */
export interface EncryptionOptions {
  /**
   * Keys of 32 bytes, as bytes or in base64. The first one encrypts, all of them decrypt: to change the key, put a new
   * one in front, and drop the old one when all sessions that it encrypted have ended or been saved again.
   */
  keys: readonly (Uint8Array | string)[];
  /**
   * Whether sessions that were stored without encryption are found: for the time after it has been turned on. Who can
   * write to the backend can then make up sessions. @defaultValue `false`
   */
  acceptPlain?: boolean | undefined;
}

const ALGORITHM = "aes-256-gcm";
const KEY_BYTES = 32;
/** NIST SP 800-38D, 8.2.2: random nonces of 96 bits, for at most 2^32 writes with one key. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_BYTES = 6;

/** What encrypted data begins with; then the id of the key, a colon, and nonce, tag and text in base64. */
const MARK = "enc1:";

export const encryptionRule = secretRule(
  encryptionFault,
  `an object { keys: [current, ...older] } with keys of ${KEY_BYTES} bytes (as bytes or in base64), and acceptPlain (a boolean) if need be`,
);

function encryptionFault(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return `it is ${kindOf(value)}`;
  const { keys, acceptPlain, ...others } = value as EncryptionOptions;
  if (!Array.isArray(keys)) return `\`keys\` is ${kindOf(keys)}`;
  if (keys.length === 0) return "`keys` is empty";
  for (const [index, key] of keys.entries()) {
    const bytes = bytesOf(key);
    if (bytes === undefined)
      return `\`keys[${index}]\` is ${typeof key === "string" ? "no base64" : kindOf(key)}`;
    if (bytes.length !== KEY_BYTES) return `\`keys[${index}]\` has ${bytes.length} bytes`;
  }
  if (acceptPlain !== undefined && typeof acceptPlain !== "boolean") {
    return `\`acceptPlain\` is ${kindOf(acceptPlain)}`;
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

/** Encrypts the data of records with AES-256-GCM, bound to the key that the store keeps it under. */
export class Encryption {
  readonly #keys: readonly Key[];
  readonly #acceptPlain: boolean;

  constructor({ keys, acceptPlain = false }: EncryptionOptions) {
    this.#keys = keys.map(key => {
      const bytes = bytesOf(key) as Uint8Array;
      return { id: keyIdOf(bytes), secret: createSecretKey(bytes) };
    });
    this.#acceptPlain = acceptPlain;
  }

  seal(storeKey: string, text: string): string {
    const { id, secret } = this.#keys[0] as Key;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, secret, nonce).setAAD(Buffer.from(storeKey));
    const sealed = [nonce, cipher.update(text, "utf8"), cipher.final()];
    return `${MARK}${id}:${Buffer.concat([...sealed, cipher.getAuthTag()]).toString("base64")}`;
  }

  /** @throws Error if no key opens it, or it was stored under another key, or changed */
  open(storeKey: string, data: string): string {
    if (!data.startsWith(MARK)) {
      if (this.#acceptPlain) return data;
      throw new Error("The record is not encrypted (option `encryption.acceptPlain`)");
    }
    const [id, text = ""] = data.slice(MARK.length).split(":");
    const key = this.#keys.find(candidate => candidate.id === id);
    if (key === undefined) throw new Error("The record is encrypted with a key that the store does not have");
    const sealed = Buffer.from(text, "base64");
    const tagAt = sealed.length - TAG_BYTES;
    if (tagAt < NONCE_BYTES) throw new Error("The encrypted record is cut short");
    const decipher = createDecipheriv(ALGORITHM, key.secret, sealed.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(storeKey))
      .setAuthTag(sealed.subarray(tagAt));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, tagAt)), decipher.final()]).toString();
  }
}

/** Tells keys apart and says nothing about them. */
function keyIdOf(key: Uint8Array): string {
  const hash = createHash("sha256").update("express-session-stores key id\n").update(key).digest();
  return hash.subarray(0, KEY_ID_BYTES).toString("base64url");
}
