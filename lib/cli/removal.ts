import { internalsOf } from "../core/abstract-store.js";
import type { Run } from "./command.js";
import { EXIT, Failure, UsageError } from "./errors.js";
import { type FilterOptions, filterOf, hasFilter } from "./filters.js";
import { describeStore } from "./kinds.js";
import { Progress } from "./progress.js";
import { assertUsers, readRecords } from "./records.js";
import { formatCount } from "./units.js";

/** The options of commands that remove sessions. */
export interface RemovalOptions extends FilterOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** Sessions that are destroyed at the same time. */
const CONCURRENCY = 25;

/** Destroys what the filters choose, or everything without filters, after a confirmation. Returns the exit code. */
export async function removeSessions(run: Run<RemovalOptions>): Promise<number> {
  const { store, options, terminal, signal } = run;
  if (!options.yes && !options.dryRun && !terminal.isInteractive) {
    throw new UsageError(
      "Without a terminal nobody can confirm this. Use `--yes` to destroy the sessions, or `--dry-run` to count them.",
    );
  }
  await assertUsers(run);
  // Once: a session that is not used while somebody thinks does not become one of the chosen.
  const matches = hasFilter(options) ? filterOf(store, options) : undefined;
  const matched = matches === undefined ? await store.length({ signal }) : await count(run, matches);
  if (options.dryRun || matched === 0) {
    const isDryRun = options.dryRun === true;
    await terminal.result({ matched, destroyed: 0, changed: 0, dryRun: isDryRun }, () =>
      isDryRun ? `Would destroy ${formatCount(matched, "session")}.` : "There are no such sessions.",
    );
    return EXIT.ok;
  }
  if (!options.yes) await confirm(run, matched);
  return await removeAndReport(run, matches, matched);
}

type Matches = ReturnType<typeof filterOf>;

async function count(run: Run<RemovalOptions>, matches: Matches): Promise<number> {
  let matched = 0;
  await readRecords(run, page => {
    matched += page.filter(matches).length;
  });
  return matched;
}

async function confirm({ store, terminal, signal }: Run<RemovalOptions>, matched: number): Promise<void> {
  terminal.note(
    `This destroys ${formatCount(matched, "session")} of ${describeStore(store)}. Nothing brings them back.`,
  );
  const answer = await terminal.ask("Type the number of sessions to go on: ", signal);
  if (answer.replaceAll(",", "") === String(matched)) return;
  throw new Failure("That is not the number of sessions. Nothing was destroyed.");
}

async function removeAndReport(
  run: Run<RemovalOptions>,
  matches: Matches | undefined,
  matched: number,
): Promise<number> {
  const { store, terminal, signal } = run;
  const progress = new Progress("destroyed", matched);
  let changed = 0;
  let failure: unknown;
  try {
    if (matches !== undefined) {
      await removeMatching(run, matches, isRemoved => {
        if (isRemoved) progress.add(1);
        else changed += 1;
      });
    } else {
      await internalsOf(store).records.clear(signal, removed => progress.add(removed));
    }
  } catch (error) {
    failure = error;
  }
  progress.stop();
  const destroyed = progress.done;
  await terminal.result(
    { matched, destroyed, changed, dryRun: false },
    () => `Destroyed ${formatCount(destroyed, "session")}.`,
  );
  if (changed > 0) {
    terminal.note(`${formatCount(changed, "session")} stayed, because they were used in the meantime.`);
  }
  if (signal.aborted) {
    terminal.note(
      `Interrupted after ${destroyed} of ${formatCount(matched, "session")}. Run the command again to go on.`,
    );
    return EXIT.interrupted;
  }
  if (failure !== undefined) throw failure;
  return EXIT.ok;
}

/** Destroys each session that a filter chooses, if it was not used since it was listed. */
async function removeMatching(
  { store, signal }: Run<RemovalOptions>,
  matches: Matches,
  onDone: (isRemoved: boolean) => void,
): Promise<void> {
  const { records } = internalsOf(store);
  for await (const page of records.all(signal)) {
    const chosen = page.filter(matches);
    const worker = async () => {
      for (let record = chosen.pop(); record !== undefined && !signal.aborted; record = chosen.pop()) {
        onDone(await records.remove(record));
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, worker));
    signal.throwIfAborted();
  }
}
