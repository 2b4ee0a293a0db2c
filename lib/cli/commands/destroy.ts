import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { internalsOf } from "../../core/abstract-store.js";
import { isDigest } from "../../core/hashed-ids.js";
import { examples, onStore, type Process, type Run } from "../command.js";
import { EXIT, UsageError } from "../errors.js";
import { filterOptions, hasFilter } from "../filters.js";
import { findRecords } from "../records.js";
import { type RemovalOptions, removeSessions } from "../removal.js";

/** `destroy`: the sessions with these ids, or those that filters choose. */
export function addDestroy(program: Command, current: Process): void {
  const command = removalOptions(program.command("destroy"))
    .description("destroy sessions: those with the given ids, or those that the filters choose")
    .argument("[sid...]", "ids, or the digests that listings and events show; `-` reads them from stdin");
  onStore<RemovalOptions, [string[]]>(
    command,
    current,
    async (run, given) => {
      if (given.length > 0 && hasFilter(run.options)) {
        throw new UsageError(
          "Give either ids or filters: a session with an id is destroyed whatever the filters say.",
        );
      }
      if (given.length > 0) return await destroyIds(run, await idsOf(given));
      if (hasFilter(run.options)) return await removeSessions(run);
      throw new UsageError("Which sessions? Give ids or filters; `clear` destroys all sessions.");
    },
    { isChange: true },
  );
  examples(command, [
    "destroy 8vHJt1fUUnYpW6lwy3tW1rGhCO_dSIuM9RhlLmxEJbs",
    "destroy - < ids.txt",
    "destroy --anonymous --idle 7d --dry-run",
    "destroy --larger 1MB --yes",
  ]);
}

/** `clear`: all sessions, or those that filters choose. */
export function addClear(program: Command, current: Process): void {
  const command = removalOptions(program.command("clear")).description(
    "destroy all sessions of the prefix, or those that the filters choose",
  );
  onStore<RemovalOptions, []>(command, current, removeSessions, { isChange: true });
  examples(command, ["clear --dry-run", "clear", "clear --created-before 2026-01-01 --yes"]);
}

function removalOptions(command: Command): Command {
  return filterOptions(command)
    .option("-n, --dry-run", "only count the sessions")
    .option("-y, --yes", "do not ask for the number of sessions");
}

/** The ids of the arguments. Those from stdin stay out of the list of processes and the history of the shell. */
async function idsOf(given: readonly string[]): Promise<string[]> {
  if (!given.includes("-")) return [...new Set(given)];
  const lines = (await text(process.stdin)).split("\n").map(line => line.trim());
  return [...new Set([...given.filter(id => id !== "-"), ...lines.filter(line => line !== "")])];
}

async function destroyIds(
  { store, options, terminal, signal }: Run<RemovalOptions>,
  ids: string[],
): Promise<number> {
  const { records, sidHash } = internalsOf(store);
  const found = await findRecords(store, ids, signal);
  let absent = 0;
  let done = 0;
  for (const id of ids) {
    if (signal.aborted) {
      terminal.note(`Interrupted after ${done} of ${ids.length} ids.`);
      return EXIT.interrupted;
    }
    const record = found.get(id);
    const isThere = record !== undefined && record.state !== "destroyed" && record.state !== "ended";
    const sid = record === undefined ? id : (records.sidOf(record) ?? id);
    // Also what is not there: a request may be saving it now. But a digest that was not found is no id.
    const isId = record !== undefined || !isDigest(id);
    if (!options.dryRun && isId) await store.destroy(sid);
    done += 1;
    if (!isThere) absent += 1;
    const hash = record?.sidHash ?? (isId ? sidHash(id) : id);
    const result = isThere ? (options.dryRun ? "would be destroyed" : "destroyed") : "absent";
    await terminal.result(
      { sidHash: hash, result, dryRun: options.dryRun === true },
      () => `${hash}  ${result}`,
    );
  }
  return absent > 0 ? EXIT.failure : EXIT.ok;
}
