import type { Serializer } from "./codec.js";
import type { Ttl } from "./cookie.js";
import { Encryption, type EncryptionOptions, encryptionRule } from "./encryption.js";
import { type LifetimePolicy, TOMBSTONE_MS } from "./expiry.js";
import { type HashIdsOptions, hashIdsRule } from "./hashed-ids.js";
import { MAX_PREFIX_BYTES } from "./keys.js";
import { checkOptions, type Rule, rules } from "./options.js";
import { type SessionLimitOptions, sessionLimitRule } from "./users/session-limit.js";
import { UserIds, type UserOf } from "./users/user-ids.js";

/** What a save does if another request changed the session since it was loaded. */
export type ConflictPolicy = "merge" | "overwrite" | "error";

/** The options that every store accepts. */
export interface StoreOptions {
  /**
   * Begins every key. Stores with different prefixes share a backend without seeing each other's sessions. At most
   * 512 bytes. @defaultValue `"sess:"`
   */
  prefix?: string | undefined;
  /**
   * Lifetime in seconds of sessions whose cookie has no `maxAge`, or a function of the session as it is written that
   * returns it. Zero or less ends the session. @defaultValue `86400` (one day)
   */
  ttl?: Ttl | undefined;
  /**
   * Seconds by which a touch must move the last use of a session to be written. A session is found for that much
   * longer, so that a skipped touch never ends it early. All processes need the same value.
   * @defaultValue the smaller of 60 and 5 % of the session's lifetime; 0 in memory
   */
  touchAfter?: number | undefined;
  /** Seconds after its creation at which a session ends, however busy it is. @defaultValue none */
  absoluteTimeout?: number | undefined;
  /** What a save does if another request changed the session since it was loaded. @defaultValue `"merge"` */
  conflict?: ConflictPolicy | undefined;
  /** Whether touches do nothing, so that only saves keep a session alive. @defaultValue `false` */
  disableTouch?: boolean | undefined;
  /** Turns sessions into strings and back. May be asynchronous. @defaultValue `JSON` */
  serializer?: Serializer | undefined;
  /** Milliseconds within which every call ends; for listings and `clear`, every page. @defaultValue `5000` */
  timeoutMs?: number | undefined;
  /**
   * Whether keys in the backend contain a digest of the sid instead of the sid. Then nobody who reads the backend can
   * take over a session. Listings then show the digest, and `destroy` accepts it. A store with sessions is turned over
   * by moving them to another prefix. @defaultValue `false`
   */
  hashIds?: boolean | HashIdsOptions | undefined;
  /**
   * Encrypts the sessions in the backend with AES-256-GCM. Lifetime, last use, version and time of creation stay
   * readable. A record that no key decrypts is missing, and reported by the event `corrupt`. @defaultValue none
   */
  encryption?: EncryptionOptions | undefined;
  /**
   * The user of a session, or `undefined` if nobody is signed in to it, for `findByUser` and its like. With Passport:
   * `session => session.passport?.user`. Called with each session that is saved. The user is stored beside the session:
   * as a keyed digest with `hashIds: { secret }` or `encryption`, else as it is. All processes need the same option.
   * @defaultValue none: the store keeps no lists of users
   */
  user?: UserOf | undefined;
  /** Limits the sessions that a user has at the same time. Needs `user`. @defaultValue no limit */
  maxSessionsPerUser?: SessionLimitOptions | undefined;
  /** The clock, in epoch milliseconds; for tests. @defaultValue `Date.now` */
  now?: (() => number) | undefined;
}

/** The shared options, checked and with their defaults. */
export interface StoreSettings {
  readonly prefix: string;
  readonly ttl: Ttl;
  readonly lifetimes: LifetimePolicy;
  readonly conflict: ConflictPolicy;
  readonly disableTouch: boolean;
  readonly serializer: Serializer;
  readonly timeoutMs: number;
  readonly hashing: HashIdsOptions | undefined;
  readonly encryption: Encryption | undefined;
  readonly users: UserIds | undefined;
  readonly sessionLimit: SessionLimitOptions | undefined;
  /** The clock, in whole epoch milliseconds. */
  readonly now: () => number;
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
  user: rules.function,
  maxSessionsPerUser: sessionLimitRule,
  now: rules.function,
};

/**
 * Checks the options of a store and fills in the defaults of the shared ones.
 *
 * @param ownRules - what the options of the backend must be
 * @param touchAfter - the default of `touchAfter` in seconds; `undefined` makes it depend on the lifetime
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
    throw new TypeError("`touchAfter` cannot be combined with `disableTouch`");
  }
  if (options.maxSessionsPerUser !== undefined && options.user === undefined) {
    throw new TypeError("`maxSessionsPerUser` needs the option `user`, which tells the sessions' users");
  }
  const hashing = options.hashIds === true ? {} : options.hashIds || undefined;
  const encryption = options.encryption && new Encryption(options.encryption);
  if (options.user !== undefined && hashing !== undefined && hashing.secret === undefined) {
    throw new TypeError(
      "`user` cannot be combined with `hashIds` without a secret: a digest of a user is found by trying all users. Use `hashIds: { secret }`.",
    );
  }
  const { now } = options;
  return {
    prefix: options.prefix ?? DEFAULT_PREFIX,
    ttl: options.ttl ?? DEFAULT_TTL_SECONDS,
    lifetimes: {
      // Without touches none is skipped.
      touchAfterMs: disableTouch ? 0 : inMilliseconds(options.touchAfter ?? touchAfter),
      absoluteTimeoutMs: inMilliseconds(options.absoluteTimeout),
      tombstoneMs: TOMBSTONE_MS,
    },
    conflict: options.conflict ?? "merge",
    disableTouch,
    serializer: options.serializer ?? JSON,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    hashing,
    encryption,
    users: options.user && new UserIds(options.user, hashing, encryption),
    sessionLimit: options.maxSessionsPerUser,
    now: now === undefined ? () => Date.now() : () => Math.floor(now()),
  };
}

function inMilliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.ceil(seconds * 1000);
}
