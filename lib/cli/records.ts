import { type AbstractStore, internalsOf } from "../core/abstract-store.js";
import { isDigest } from "../core/hashed-ids.js";
import type { SessionRecord } from "../core/session-records.js";
import type { Run } from "./command.js";
import { Failure } from "./errors.js";
import type { FilterOptions } from "./filters.js";
import { Progress } from "./progress.js";
import { formatCount } from "./units.js";

/**
 * The records that have these ids: sids, or the digests that listings and events show. A digest of a store that does not
 * hash its ids needs a scan.
 */
export async function findRecords(
  store: AbstractStore,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, SessionRecord>> {
  const { records } = internalsOf(store);
  const found = new Map<string, SessionRecord>();
  const missing = new Set<string>();
  for (const id of ids) {
    signal.throwIfAborted();
    const record = await records.find(id);
    if (record !== undefined) found.set(id, record);
    else if (isDigest(id)) missing.add(id);
  }
  if (missing.size === 0) return found;
  for await (const page of records.all(signal)) {
    for (const record of page) {
      if (missing.delete(record.sidHash)) found.set(record.sidHash, record);
    }
    if (missing.size === 0) break;
  }
  return found;
}

/** Reads all records of a prefix, with a progress on stderr. */
export async function readRecords(
  { store, signal, terminal }: Pick<Run<object>, "store" | "signal" | "terminal">,
  onPage: (page: readonly SessionRecord[]) => void,
): Promise<void> {
  const progress = new Progress("read");
  try {
    for await (const page of internalsOf(store).records.all(signal)) {
      onPage(page);
      progress.add(page.length);
    }
  } catch (error) {
    progress.stop();
    if (signal.aborted) terminal.note(`Interrupted after ${formatCount(progress.done, "record")}.`);
    throw error;
  }
  progress.stop();
}

/** Whether any session has a user. */
export async function hasUsers(store: AbstractStore, signal: AbortSignal): Promise<boolean> {
  for await (const page of internalsOf(store).records.all(signal)) {
    if (page.some(({ user }) => user !== undefined)) return true;
  }
  return false;
}

const NO_USERS =
  "No session has a user: the application does not use the option `user`, so that `--anonymous` means every session.";

/** Says so if a listing by `--anonymous` means nothing. */
export async function warnIfNoUsers(
  { anonymous }: FilterOptions,
  { store, terminal, signal }: Pick<Run<object>, "store" | "signal" | "terminal">,
): Promise<void> {
  if (anonymous && !(await hasUsers(store, signal))) terminal.note(NO_USERS);
}

/** Keeps `--anonymous` from removing every session where nobody has a user. @throws Failure */
export async function assertUsers({ options, store, signal }: Run<FilterOptions>): Promise<void> {
  if (options.anonymous && !(await hasUsers(store, signal)))
    throw new Failure(`${NO_USERS} Nothing was destroyed.`);
}
