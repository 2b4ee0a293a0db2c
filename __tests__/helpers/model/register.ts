/** One operation on a register. Times are numbers in the order of calls and responses. */
export interface Interval {
  readonly start: number;
  /** `Infinity` if the operation may take effect at any later time. */
  readonly end: number;
}

/** A write. */
export interface ValueWrite extends Interval {
  readonly value: unknown;
  /** Whether the write was acknowledged. */
  readonly isSure: boolean;
}

/** All operations on one value: its write and its reads. No two writes have the same value. */
interface Cluster {
  readonly write: ValueWrite;
  readonly reads: Interval[];
}

/** The time from the first end of an operation on a value to the last start of such an operation. */
interface Zone {
  readonly value: unknown;
  readonly from: number;
  readonly to: number;
}

/**
 * The operations on one register, and whether they can have taken place one after the other. Each must fit between its
 * call and its response, and each read must return the last written value.
 *
 * This needs no search if all values differ (Gibbons and Korach, Testing Shared Memories, 1997). No value may be read
 * before it is written. No two values may each be current at a time when the other is not. No value may be current only
 * while another one is.
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

  /** Returns two values that contradict each other, if there are any. */
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
