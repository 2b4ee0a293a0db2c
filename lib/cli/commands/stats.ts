import type { Command } from "commander";
import { internalsOf } from "../../core/abstract-store.js";
import { examples, onStore, type Process } from "../command.js";
import { EXIT } from "../errors.js";
import { type FilterOptions, filterOf, filterOptions, hasFilter } from "../filters.js";
import { Histogram } from "../histogram.js";
import { readRecords, warnIfNoUsers } from "../records.js";
import { color } from "../terminal.js";
import { formatCount, formatDuration, formatSize } from "../units.js";

const SIZES = [
  128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576,
];
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const AGES = [
  MINUTE,
  5 * MINUTE,
  15 * MINUTE,
  HOUR,
  3 * HOUR,
  12 * HOUR,
  DAY,
  3 * DAY,
  7 * DAY,
  30 * DAY,
  90 * DAY,
];

/** `stats`: how many sessions there are, how large, and how long unused. */
export function addStats(program: Command, current: Process): void {
  const command = filterOptions(program.command("stats")).description(
    "count the sessions, their sizes and how long they were not used. Reads all records of the prefix",
  );
  onStore<FilterOptions, []>(command, current, async ({ store, options, terminal, signal }) => {
    const { now } = internalsOf(store);
    const matches = filterOf(store, options);
    const states = { live: 0, ended: 0, destroyed: 0, unreadable: 0 };
    const [sizes, ages] = [new Histogram(SIZES), new Histogram(AGES)];
    let signedIn = 0;
    await readRecords({ store, signal, terminal }, page => {
      const time = now();
      for (const record of page) {
        states[record.state] += 1;
        if (!matches(record)) continue;
        sizes.add(record.bytes);
        ages.add(Math.max(0, time - record.activeAt));
        if (record.user !== undefined) signedIn += 1;
      }
    });
    await warnIfNoUsers(options, { store, terminal, signal });
    const { count } = sizes;
    const summary = { sessions: count, signedIn, anonymous: count - signedIn };
    const others = { ended: states.ended, destroyed: states.destroyed, unreadable: states.unreadable };
    const value = {
      ...summary,
      ...(!hasFilter(options) && others),
      bytes: sizes.summary(),
      idleMs: ages.summary(),
    };
    await terminal.result(value, () => {
      const { sum, mean, max } = sizes.summary();
      const lines = [
        `${formatCount(count, "session")}, ${signedIn} signed in, ${count - signedIn} anonymous`,
      ];
      if (!hasFilter(options)) {
        lines.push(
          `Besides: ${others.ended} ended and not deleted yet, ${others.destroyed} tombstones of destroyed ones, ${others.unreadable} unreadable`,
        );
      }
      if (count === 0) return lines.join("\n");
      lines.push(
        "",
        `${color("bold", "Size")}: ${formatSize(sum)} in all, ${formatSize(mean)} on average, ${formatSize(max)} at most`,
      );
      lines.push(...sizes.draw(formatSize));
      lines.push(
        "",
        `${color("bold", "Time since last use")}: ${formatDuration(ages.summary().mean)} on average, ${formatDuration(ages.summary().max)} at most`,
      );
      lines.push(...ages.draw(formatDuration));
      return lines.join("\n");
    });
    return EXIT.ok;
  });
  examples(command, ["stats", "stats --anonymous", "stats --store etcd://127.0.0.1 --json"]);
}
