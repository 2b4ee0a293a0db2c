// Another build of this package as a contender, to compare two versions in one run:
// BENCH_BASELINE=/path/to/its/dist npm run bench -- operations memory
import { join } from "node:path";

const baseline = process.env.BENCH_BASELINE;

/**
 * Returns the contenders `ours` and, if there is a baseline, `baseline`. `open` gets the function that finds a file of
 * dist.
 */
export function versionsOf(open) {
  const dist = join(import.meta.dirname, "..", "..", "dist");
  const of = folder => open(file => join(folder, file));
  return baseline === undefined ? { ours: of(dist) } : { ours: of(dist), baseline: of(baseline) };
}
