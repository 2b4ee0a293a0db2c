import type { Command } from "commander";
import { type AbstractStore, internalsOf } from "../../core/abstract-store.js";
import { examples, onStore, type Process, type Run } from "../command.js";
import { EXIT } from "../errors.js";
import { kindOf } from "../kinds.js";
import { Progress } from "../progress.js";
import { readRecords } from "../records.js";
import { formatCount } from "../units.js";

interface SweepOptions {
  readonly dryRun?: boolean;
}

/** `sweep`: deletes what has ended now, and not when the backend or the next cleanup does. */
export function addSweep(program: Command, current: Process): void {
  const command = program
    .command("sweep")
    .description(
      "delete the records of ended sessions at once. File: those that ended a minute ago, of every prefix. DynamoDB: items whose TTL is past. etcd: what its leases should have deleted an hour ago",
    )
    .option("-n, --dry-run", "only count the records of this prefix that ended more than a minute ago");
  onStore<SweepOptions, []>(
    command,
    current,
    async run => {
      const { options, store, terminal, signal } = run;
      if (options.dryRun) {
        const ended = await countEnded(run);
        await terminal.result(
          { ended, deleted: 0, dryRun: true },
          () => `${formatCount(ended, "session")} ended more than a minute ago.`,
        );
        return EXIT.ok;
      }
      const progress = new Progress("deleted");
      store.on("expired", ({ reason }) => {
        if (reason === "removed") progress.add(1);
      });
      const interrupted = new Promise<undefined>(done => {
        signal.addEventListener("abort", () => done(undefined));
      });
      try {
        const deleted = await Promise.race([sweepStore(store, progress, signal), interrupted]);
        if (deleted !== undefined && !signal.aborted) {
          progress.stop();
          await terminal.result(
            { deleted, dryRun: false },
            () => `Deleted ${formatCount(deleted, "ended session")}.`,
          );
          return EXIT.ok;
        }
      } finally {
        progress.stop();
      }
      terminal.note(`Interrupted. ${formatCount(progress.done, "deletion")} were reported until then.`);
      return EXIT.interrupted;
    },
    { isChange: true },
  );
  examples(command, ["sweep --dry-run", "sweep --store file:./data/sessions.lmdb"]);
}

async function countEnded(run: Run<SweepOptions>): Promise<number> {
  const time = internalsOf(run.store).now();
  let count = 0;
  await readRecords(run, page => {
    count += page.filter(({ state, deleteAt }) => state === "ended" && deleteAt <= time).length;
  });
  return count;
}

async function sweepStore(store: AbstractStore, progress: Progress, signal: AbortSignal): Promise<number> {
  const { dynamodb } = kindOf(store);
  if (dynamodb !== undefined) {
    const [{ sweep }, { tableOf }] = await Promise.all([
      import("../../dynamodb/sweep.js"),
      import("../../dynamodb/store.js"),
    ]);
    // What was in flight when ^C came is not waited for.
    await sweep(tableOf(dynamodb), store.prefix, signal, () => progress.add(1)).catch(error => {
      if (!signal.aborted) throw error;
    });
    return progress.done;
  }
  const { cleanup } = store as AbstractStore & { cleanup?: () => Promise<number> };
  if (cleanup === undefined) throw new Error(`${store.constructor.name} has no cleanup.`);
  return await cleanup.call(store);
}
