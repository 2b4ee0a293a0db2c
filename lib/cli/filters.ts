import { type Command, Option } from "commander";
import { type AbstractStore, internalsOf } from "../core/abstract-store.js";
import type { SessionRecord } from "../core/session-records.js";
import { UsageError } from "./errors.js";
import { parseDuration, parseSize, parseTime } from "./units.js";

/** The options of commands that choose sessions. */
export interface FilterOptions {
  readonly user?: string;
  readonly anonymous?: boolean;
  readonly idle?: number;
  readonly larger?: number;
  readonly createdBefore?: number;
}

export function filterOptions(command: Command): Command {
  return command
    .option("--user <user>", "only sessions of this user")
    .addOption(new Option("--anonymous", "only sessions without a user").conflicts("user"))
    .option("--idle <duration>", "only sessions not used for so long, such as 12h or 30d", parseDuration)
    .option("--larger <size>", "only sessions of more bytes, such as 100KB", parseSize)
    .option("--created-before <date>", "only sessions created before, such as 2026-01-31", parseTime);
}

export function hasFilter(options: FilterOptions): boolean {
  const { user, anonymous, idle, larger, createdBefore } = options;
  return [user, anonymous, idle, larger, createdBefore].some(value => value !== undefined);
}

/** What filters look at. */
type Filtered = Pick<SessionRecord, "state" | "user" | "activeAt" | "createdAt" | "bytes">;

/** Chooses live sessions. The time of `--idle` ends when the filter is made. */
export function filterOf(store: AbstractStore, options: FilterOptions): (record: Filtered) => boolean {
  const { user, anonymous, idle, larger, createdBefore } = options;
  const { records, now } = internalsOf(store);
  const users = user === undefined ? undefined : formsOf(user, records.formsOfUser);
  const usedBefore = idle === undefined ? undefined : now() - idle;
  return record =>
    record.state === "live" &&
    (users === undefined || (record.user !== undefined && users.includes(record.user))) &&
    (anonymous === undefined || record.user === undefined) &&
    (usedBefore === undefined || record.activeAt <= usedBefore) &&
    (larger === undefined || record.bytes > larger) &&
    (createdBefore === undefined || record.createdAt < createdBefore);
}

/** What records may have for a user. @throws UsageError for what is no user */
export function formsOf(user: string, formsOfUser: (user: string) => readonly string[]): readonly string[] {
  try {
    return formsOfUser(user);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The user of a record for people. A keyed digest stays one. */
export function nameOfUser(user: string): string {
  if (!user.includes("%") || /^%[sh]/.test(user)) return user;
  try {
    return decodeURIComponent(user);
  } catch {
    return user;
  }
}
