import { createHmac, type KeyObject } from "node:crypto";
import type { SessionData } from "express-session";
import { StoreError } from "../../errors.js";
import type { Encryption } from "../encryption.js";
import { type HashIdsOptions, secretKeyOf } from "../hashed-ids.js";
import { encodeText } from "../keys.js";
import { invalidArgument, typeName } from "../options.js";

/** The option `user`: the user of a session, or nothing for a session that nobody is signed in to. */
export type UserOf = (session: SessionData) => string | null | undefined;

/**
 * The user of a session as backends store it. The first form is that of new entries; the others are those of older
 * encryption keys.
 */
export type UserForms = readonly [string, ...string[]];

const MAX_USER_CHARACTERS = 1024;

/** Leaves room for the keys of sessions beside it, below LMDB's limit for a key. */
const MAX_ENCODED_USER = 256;

/** Begins the digest of a user. `%` followed by this letter is never the code of a byte. */
const DIGEST_MARK = "%s";

/** Separates the digests of users from those of sids. */
const PURPOSE = "express-session-stores user\n";

/**
 * Turns users into what backends store. A secret makes them keyed digests: the users of a site are few enough to find
 * each by its plain digest.
 */
export class UserIds {
  readonly #userOf: UserOf;
  /** The keys of the digests, the current one first. Without one, users are stored as they are. */
  readonly #secrets: readonly KeyObject[];

  constructor(userOf: UserOf, hashing: HashIdsOptions | undefined, encryption: Encryption | undefined) {
    this.#userOf = userOf;
    if (hashing?.secret !== undefined) this.#secrets = [secretKeyOf(hashing.secret)];
    else this.#secrets = encryption?.secrets ?? [];
  }

  /** @throws StoreError `ERR_SESSION_USER` if the option `user` throws, or returns what is no user */
  ofSession(session: SessionData): UserForms | undefined {
    let user: unknown;
    try {
      user = this.#userOf(session);
    } catch (cause) {
      throw new StoreError(
        "ERR_SESSION_USER",
        "The option `user` threw an error for this session; see `cause`.",
        {
          cause,
        },
      );
    }
    if (user === undefined || user === null) return undefined;
    const problem = problemOf(user);
    if (problem === undefined) return this.#formsOf(user as string);
    throw new StoreError(
      "ERR_SESSION_USER",
      `The option \`user\` must return a non-empty string of at most ${MAX_USER_CHARACTERS} characters, or undefined for a session without a user; it returned ${problem}.`,
    );
  }

  /** @throws TypeError for what is no user */
  ofArgument(user: unknown): UserForms {
    if (problemOf(user) === undefined) return this.#formsOf(user as string);
    const shown = typeof user === "string" ? `a string of ${user.length} characters` : user;
    throw invalidArgument("user", `a non-empty string of at most ${MAX_USER_CHARACTERS} characters`, shown);
  }

  #formsOf(user: string): UserForms {
    if (this.#secrets.length === 0) return [encodeText(user, MAX_ENCODED_USER)];
    return this.#secrets.map(secret => {
      // UTF-16, as for sids.
      const digest = createHmac("sha256", secret).update(PURPOSE).update(user, "utf16le").digest("base64url");
      return DIGEST_MARK + digest;
    }) as unknown as UserForms;
  }
}

/** Why a value is no user, in words that do not show it. */
function problemOf(user: unknown): string | undefined {
  if (typeof user !== "string") return typeName(user);
  if (user === "") return "an empty string";
  return user.length > MAX_USER_CHARACTERS ? `${user.length} characters` : undefined;
}
