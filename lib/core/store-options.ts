import type { SessionData } from "express-session";
import type { Serializer } from "./codec.js";
import { Encryption, type EncryptionOptions, encryptionRule } from "./encryption.js";
import type { ExpiryPolicy } from "./expiry.js";
import { type HashIdsOptions, hashIdsRule, MAX_PREFIX_BYTES } from "./keys.js";
import { checkOptions, misuse, type Rule, rules } from "./options.js";

/** What to do when a session was changed by another request since it was loaded. */
export type ConflictPolicy = "merge" | "overwrite" | "error";

/** The options that every store takes. */
export interface StoreOptions {
  /**
   * What every key begins with. Stores with different prefixes share a backend without seeing each other.
   * At most 512 bytes. @defaultValue `"sess:"`
   */
  prefix?: string | undefined;
  /**
   * Lifetime in seconds of sessions whose cookie has no expiry, or a function of the session that returns it; 0 or
   * less means that the session is over. @defaultValue `86400` (one day)
   */
  ttl?: number | ((session: SessionData) => number) | undefined;
  /**
   * Seconds by which a touch must move the expiry to be written. Records live that much longer, so a skipped touch
   * never ends a session early. @defaultValue the smaller of 60 and 5 % of the session's lifetime; 0 in memory
   */
  touchAfter?: number | undefined;
  /** Seconds after which a session ends however busy it is. @defaultValue none */
  absoluteTimeout?: number | undefined;
  /** What happens to a save when another request changed the session since it was loaded. @defaultValue `"merge"` */
  conflict?: ConflictPolicy | undefined;
  /** Whether touches do nothing, so that only a save prolongs a session. @defaultValue `false` */
  disableTouch?: boolean | undefined;
  /** Turns sessions into strings and back; may be asynchronous. @defaultValue `JSON` */
  serializer?: Serializer | undefined;
  /** Milliseconds within which every operation ends; for listings and `clear`, every page. @defaultValue `5000` */
  timeoutMs?: number | undefined;
  /**
   * Whether keys in the backend have a digest of the sid (SHA-256, or an HMAC with a secret) in place of it, so that
   * who reads the backend cannot take over a session. Listings then give the digest, and `destroy` takes it.
   * @defaultValue `false`
   */
  hashIds?: boolean | HashIdsOptions | undefined;
  /**
   * Encrypts the sessions in the backend with AES-256-GCM. Expiry, version and time of creation stay readable; a
   * record that no key opens is absent and reported by the event `corrupt`. @defaultValue none
   */
  encryption?: EncryptionOptions | undefined;
  /** The clock, in epoch milliseconds; for tests. @defaultValue `Date.now` */
  now?: (() => number) | undefined;
}

/** The shared options, checked and with their defaults. */
export interface StoreSettings {
  prefix: string;
  expiry: ExpiryPolicy;
  conflict: ConflictPolicy;
  disableTouch: boolean;
  serializer: Serializer;
  timeoutMs: number;
  hashing: HashIdsOptions | undefined;
  encryption: Encryption | undefined;
  now: () => number;
}

const DEFAULT_PREFIX = "sess:";
const DEFAULT_TTL_SECONDS = 86_400;
const DEFAULT_TIMEOUT_MS = 5000;

const conflictPolicies: readonly unknown[] = ["merge", "overwrite", "error"] satisfies ConflictPolicy[];

const sharedRules: Record<keyof StoreOptions, Rule> = {
  prefix: {
    test: value =>
      typeof value === "string" &&
      Buffer.byteLength(value) <= MAX_PREFIX_BYTES &&
      Buffer.from(value).toString() === value,
    expected: `a well-formed string of at most ${MAX_PREFIX_BYTES} bytes`,
  },
  ttl: {
    test: value => typeof value === "function" || rules.seconds.test(value),
    expected: `${rules.seconds.expected}, or a function of the session that returns it`,
  },
  touchAfter: rules.secondsFromZero,
  absoluteTimeout: rules.seconds,
  conflict: { test: value => conflictPolicies.includes(value), expected: '"merge", "overwrite" or "error"' },
  disableTouch: rules.boolean,
  serializer: {
    test: value =>
      typeof (value as Serializer | null)?.stringify === "function" &&
      typeof (value as Serializer | null)?.parse === "function",
    expected: "an object with the functions `stringify` and `parse`",
  },
  timeoutMs: rules.milliseconds,
  hashIds: hashIdsRule,
  encryption: encryptionRule,
  now: rules.function,
};

/**
 * Checks the options of a store and fills in the defaults of the shared ones.
 *
 * @param ownRules - what the options of the backend must be
 * @param touchAfter - the default of `touchAfter` in seconds, if it is not the automatic one
 * @throws TypeError for an unknown or ill-typed option
 */
export function settingsOf(
  storeName: string,
  options: StoreOptions,
  ownRules: Record<string, Rule>,
  touchAfter: number | undefined,
): StoreSettings {
  checkOptions(storeName, options, { ...sharedRules, ...ownRules });
  const disableTouch = options.disableTouch ?? false;
  if (disableTouch && options.touchAfter !== undefined) {
    throw misuse("touchAfter", "left out, since `disableTouch` is true", options.touchAfter);
  }
  return {
    prefix: options.prefix ?? DEFAULT_PREFIX,
    expiry: {
      ttl: options.ttl ?? DEFAULT_TTL_SECONDS,
      // Without touches there is nothing to skip, so no slack either.
      touchAfterMs: disableTouch ? 0 : inMilliseconds(options.touchAfter ?? touchAfter),
      absoluteTimeoutMs: inMilliseconds(options.absoluteTimeout),
    },
    conflict: options.conflict ?? "merge",
    disableTouch,
    serializer: options.serializer ?? JSON,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    hashing: options.hashIds === true ? {} : options.hashIds || undefined,
    encryption: options.encryption && new Encryption(options.encryption),
    now: options.now ?? (() => Date.now()),
  };
}

function inMilliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.ceil(seconds * 1000);
}
