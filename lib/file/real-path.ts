import { lstatSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/**
 * The path without links: LMDB's lock file stands beside the file, and whoever opens the same file has to find the
 * same lock. For a missing file it is the path where the file will be, also if a link leads there.
 */
export function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const place = join(realpathSync(dirname(path)), basename(path));
  const isLink = lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink();
  return isLink ? realPathOf(resolve(dirname(place), readlinkSync(place))) : place;
}
