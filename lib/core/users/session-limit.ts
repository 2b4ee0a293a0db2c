import { inspect } from "node:util";
import { StoreError } from "../../errors.js";
import { hasEnded } from "../expiry.js";
import type { Operation } from "../operation.js";
import { rules, secretRule, typeName } from "../options.js";
import type { Awaitable, WriteResult } from "../record.js";
import type { StoreParts } from "../store-parts.js";
import { endSession } from "./end-session.js";
import type { UserForms } from "./user-ids.js";
import { type PossibleSession, possibleSessionsOf, readList } from "./user-list.js";

/** The option `maxSessionsPerUser`. */
export interface SessionLimitOptions {
  /** The most sessions that a user has at the same time. */
  max: number;
  /**
   * What happens to a sign-in beyond: `"reject"` fails the save with `ERR_TOO_MANY_SESSIONS`, `"end-oldest"` destroys the
   * sessions that were created first. @defaultValue `"end-oldest"`
   */
  onExceeded?: "reject" | "end-oldest" | undefined;
}

export const sessionLimitRule = secretRule(
  limitProblem,
  'an object { max, onExceeded? } with a positive integer, and "reject" or "end-oldest"',
);

function limitProblem(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return `it is ${typeName(value)}`;
  const { max, onExceeded, ...others } = value as SessionLimitOptions;
  if (!rules.positiveInteger.test(max)) return `\`max\` is ${inspect(max, { depth: -1 })}`;
  if (onExceeded !== undefined && onExceeded !== "reject" && onExceeded !== "end-oldest") {
    return `\`onExceeded\` is ${inspect(onExceeded, { depth: -1 })}`;
  }
  const [unknown] = Object.keys(others);
  return unknown === undefined ? undefined : `it has \`${unknown}\``;
}

/**
 * Makes room for the sign-in of a user and writes the session, again if another sign-in of the user was first.
 *
 * @param key - the key of the session
 * @param write - writes it if the user's list still has this token
 * @throws StoreError `ERR_TOO_MANY_SESSIONS`
 */
export function writeWithinLimit<T extends { readonly result: WriteResult }>(
  parts: StoreParts,
  limit: SessionLimitOptions,
  user: UserForms,
  key: string,
  operation: Operation,
  write: (listToken: unknown) => Awaitable<T>,
): Awaitable<T> {
  return parts.signIns.run(user[0], operation, async () => {
    for (;;) {
      operation.throwIfAbandoned();
      const attempt = await write(await makeRoom(parts, limit, user, key, operation));
      const { result } = attempt;
      if (result.written || result.listChanged !== true) return attempt;
    }
  });
}

/**
 * Makes room for the sign-in of a user. Returns the token of the list that was read: a write that depends on it is
 * rejected if another sign-in was first.
 *
 * A session that has ended but can still be saved by a slow request is ended for good, or the limit could be exceeded.
 *
 * @param key - the key of the session that signs in, which does not count
 */
async function makeRoom(
  parts: StoreParts,
  { max, onExceeded = "end-oldest" }: SessionLimitOptions,
  user: UserForms,
  key: string,
  operation: Operation,
): Promise<unknown> {
  const { settings } = parts;
  const { entries, token } = await readList(parts, user, operation);
  const others = possibleSessionsOf(entries, user, settings).filter(session => session.key !== key);
  const excess = others.length - max + 1;
  if (excess <= 0) return token;
  const now = settings.now();
  const isEnded = ({ found }: PossibleSession) => hasEnded(found.record, now, settings.lifetimes);
  const liveCount = others.filter(session => !isEnded(session)).length;
  if (onExceeded === "reject" && liveCount >= max) {
    throw new StoreError(
      "ERR_TOO_MANY_SESSIONS",
      `The user has ${liveCount} sessions, and \`maxSessionsPerUser.max\` is ${max}: end one of them first (\`findByUser\`, \`destroyByHandle\`).`,
    );
  }
  const oldestFirst = others.sort(
    (a, b) => Number(isEnded(b)) - Number(isEnded(a)) || a.found.record.createdAt - b.found.record.createdAt,
  );
  await Promise.all(
    oldestFirst.slice(0, excess).map(each => endSession(parts, user, each.key, each.found, operation)),
  );
  return token;
}
