import { randomBytes } from "node:crypto";

/**
 * Versions are `<lineage>.`, then `<lineage>.<write>`. The lineage is chosen when a record begins and kept by every
 * later write, so a record that was removed and created again under the same sid is told from one that was changed.
 * Both parts come from here: random for each source, then counted, so no two writes of any process share one.
 */
export class VersionSource {
  readonly #source = randomBytes(6).toString("base64url");
  #count = 0;

  #next(): string {
    this.#count += 1;
    return this.#source + this.#count.toString(36);
  }

  /** The version of a record that begins. */
  begin(): string {
    return `${this.#next()}.`;
  }

  /** The version of a further write of the record that had `version`. */
  follow(version: string): string {
    return lineageOf(version) + this.#next();
  }
}

/** The lineage, with its dot: a version without one has no other. */
export function lineageOf(version: string): string {
  const end = version.indexOf(".") + 1;
  return end === 0 ? version : version.slice(0, end);
}
