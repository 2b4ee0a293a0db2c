/** One operation on a register. Times are numbers in the order in which calls and responses came. */
export interface Interval {
  readonly start: number;
  /** `Infinity` if it may take effect at any later time. */
  readonly end: number;
}

/** A write. */
export interface ValueWrite extends Interval {
  readonly value: unknown;
  /** Whether it was acknowledged. */
  readonly isSure: boolean;
}

/** Everything that is known of one value: who wrote it and who read it. No two writes have the same value. */
interface Cluster {
  readonly write: ValueWrite;
  readonly reads: Interval[];
}

/** The time from the first end of an operation on a value to the last start of one. */
interface Zone {
  readonly value: unknown;
  readonly from: number;
  readonly to: number;
}

/**
 * What happened to one register, and whether its operations can have taken place one after the other, each between its
 * call and its response, so that each read returns what was written last.
 *
 * That needs no search if all values differ (Gibbons and Korach, Testing Shared Memories, 1997): no value may be
 * read before it is written, no two values may each be current at a time when the other is not, and no value may
 * be current only while another one is.
 */
export class Register {
  readonly #clusters = new Map<unknown, Cluster>();

  write(write: ValueWrite): void {
    this.#clusters.set(write.value, { write, reads: [] });
  }

  /** Returns what is wrong with the read alone. */
  read(value: unknown, read: Interval): string | undefined {
    const cluster = this.#clusters.get(value);
    if (cluster === undefined) return `nobody wrote ${show(value)}`;
    if (read.end < cluster.write.start) return `${show(value)} was read before it was written`;
    cluster.reads.push(read);
    return undefined;
  }

  /** Returns which two values contradict each other, if any do. */
  contradiction(): string | undefined {
    const forward: Zone[] = [];
    const backward: Zone[] = [];
    for (const { write, reads } of this.#clusters.values()) {
      const { value, isSure } = write;
      if (!isSure && reads.length === 0) continue;
      const all = [write, ...reads];
      const firstEnd = Math.min(...all.map(({ end }) => end));
      const lastStart = Math.max(...all.map(({ start }) => start));
      if (firstEnd < lastStart) forward.push({ value, from: firstEnd, to: lastStart });
      else backward.push({ value, from: lastStart, to: firstEnd });
    }
    for (const [index, zone] of forward.entries()) {
      const overlapping = forward.slice(index + 1).find(({ from, to }) => from < zone.to && zone.from < to);
      if (overlapping !== undefined) {
        return `${show(zone.value)} and ${show(overlapping.value)} were each read after the other was written over it`;
      }
      const inside = backward.find(({ from, to }) => zone.from < from && to < zone.to);
      if (inside !== undefined) {
        return `${show(inside.value)} was written while nothing but ${show(zone.value)} was there: it was lost or undone`;
      }
    }
    return undefined;
  }
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
