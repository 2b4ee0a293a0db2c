import type { Command } from "commander";
import { AbstractStore, internalsOf } from "../../core/abstract-store.js";
import { type CopyOptions, type CopyProgress, copy, NOTHING_COPIED } from "../../migrate/copy.js";
import { examples, type Process } from "../command.js";
import { describeError, EXIT, Failure, UsageError } from "../errors.js";
import { type FilterOptions, filterOf, filterOptions, hasFilter } from "../filters.js";
import { describeStore } from "../kinds.js";
import { assertExists, closeStore, openSetting, openStore } from "../open-store.js";
import { Progress } from "../progress.js";
import { hasUsers } from "../records.js";
import { Terminal } from "../terminal.js";
import { formatCount, parseCount } from "../units.js";

interface Options extends FilterOptions {
  readonly from: string;
  readonly to: string;
  readonly concurrency?: number;
  readonly rate?: number;
  readonly dryRun?: boolean;
  readonly verify?: boolean;
  readonly withoutUsers?: boolean;
  readonly json?: boolean;
}

/** Errors that are shown without `--json`. */
const MAX_NOTED = 10;

/** `copy`: the sessions of a store into another one, while the site runs. */
export function addCopy(program: Command, current: Process): void {
  const command = filterOptions(program.command("copy"))
    .description(
      "copy the sessions that another store does not have yet, while the site runs. Deletes nothing, and may be stopped and started again",
    )
    .requiredOption("--from <store>", "URL, or module that exports a store or a reader of { sid, session }")
    .requiredOption("--to <store>", "URL, or module that exports a store")
    .option("--concurrency <count>", "sessions that are written at the same time (16)", parseCount)
    .option("--rate <count>", "the most sessions that are written in a second", parseCount)
    .option("-n, --dry-run", "write nothing, and count what would be written")
    .option("--verify", "compare each session with what the new store then has")
    .option("--without-users", "copy sessions that have users to a store without the option `user`")
    .option("--json", "print JSON lines")
    .action(async (options: Options) => {
      const opened: AbstractStore[] = [];
      current.isChange = true;
      try {
        current.exitCode = await copyStores(options, opened, current.signal);
      } finally {
        await Promise.all(opened.map(closeStore));
      }
    });
  examples(command, [
    "copy --from file:./data/sessions.lmdb --to dynamodb://eu-west-1/sessions --dry-run",
    "copy --from file:./data/sessions.lmdb --to ./sessions.js --rate 500 --verify",
    "copy --from file:./data/sessions.lmdb --to ./sessions.js --idle 30d --anonymous --dry-run",
    "copy --from ./reader-of-old-sessions.js --to ./sessions.js",
  ]);
}

async function copyStores(options: Options, opened: AbstractStore[], signal: AbortSignal): Promise<number> {
  const terminal = new Terminal(options.json === true);
  const from = await openSetting(options.from, "--from");
  if (from instanceof AbstractStore) {
    opened.push(from);
    from.on("error", () => {});
    assertExists(from);
  }
  const filter = filterOfCopy(from, options);
  const to = await openStore(options.to, "--to");
  opened.push(to);
  to.on("error", () => {});
  if (!options.withoutUsers) await assertUsersAreKept(from, to, signal);
  // A scan more, which only somebody who watches wants.
  const isCounted = from instanceof AbstractStore && process.stderr.isTTY === true;
  const total = isCounted ? await from.length({ signal }) : undefined;
  terminal.note(`${options.dryRun ? "Looking at what would be copied" : "Copying"} to ${describeStore(to)}`);
  const progress = new Progress("read", total);
  let counts = NOTHING_COPIED;
  let failure: unknown;
  try {
    const { concurrency, rate, dryRun, verify } = options;
    counts = await copy({
      from: from as CopyOptions["from"],
      to,
      concurrency,
      rate,
      dryRun,
      verify,
      filter,
      signal,
      onProgress(latest) {
        progress.add(latest.seen - counts.seen);
        counts = latest;
      },
    });
  } catch (error) {
    failure = error;
  }
  progress.stop();
  if (failure instanceof TypeError && counts.seen === 0) throw new UsageError(failure.message);
  await report(terminal, options, counts);
  if (signal.aborted) {
    terminal.note("Interrupted. What was copied stays; run the command again to go on.");
    return EXIT.interrupted;
  }
  if (failure !== undefined) {
    throw new Failure("The copy ended early. Run the command again to go on.", { cause: failure });
  }
  return counts.failed > 0 ? EXIT.failure : EXIT.ok;
}

/** @throws UsageError if there is a filter, and `from` does not know what filters look at */
function filterOfCopy(from: unknown, options: Options): CopyOptions["filter"] {
  if (!hasFilter(options)) return undefined;
  if (!(from instanceof AbstractStore)) {
    throw new UsageError(
      "Filters need a store of express-session-stores for `--from`: a reader of another store does not know when its sessions were created and used.",
    );
  }
  const isChosen = filterOf(from, options);
  return (_session, record) => record !== undefined && isChosen({ state: "live", ...record });
}

/** The new store makes its own lists of users, with its own option. @throws UsageError if it has none and needs it */
async function assertUsersAreKept(from: unknown, to: AbstractStore, signal: AbortSignal): Promise<void> {
  if (!(from instanceof AbstractStore) || internalsOf(to).records.keepsUsers) return;
  if (!(await hasUsers(from, signal))) return;
  throw new UsageError(
    "The sessions have users, but the store of `--to` has no option `user`, so that nobody could end them by their user. Give a module whose store has the option, or use `--without-users`.",
  );
}

async function report(terminal: Terminal, { dryRun, verify }: Options, counts: CopyProgress): Promise<void> {
  const { seen, copied, present, ended, skipped, failed, different } = counts;
  const errors = counts.errors.map(({ sidHash, error }) => ({ sidHash, error: describeError(error) }));
  await terminal.result({ ...counts, errors, dryRun: dryRun === true }, () =>
    [
      `${formatCount(seen, "session")} read`,
      `  ${copied} ${dryRun ? "would be copied" : "copied"}`,
      `  ${present} present: the new store has them, or had them destroyed`,
      `  ${ended} ended`,
      ...(skipped > 0 ? [`  ${skipped} left out by the filters`] : []),
      `  ${failed} failed`,
      ...(verify ? [`  ${different} different from the new store's: changed there, or not copied`] : []),
    ].join("\n"),
  );
  // The JSON has more of them.
  const noted = terminal.isJson ? [] : errors.slice(0, MAX_NOTED);
  for (const { sidHash, error } of noted) terminal.note(`failed ${sidHash}: ${error}`);
  if (!terminal.isJson && failed > noted.length) terminal.note(`and ${failed - noted.length} more failed`);
}
