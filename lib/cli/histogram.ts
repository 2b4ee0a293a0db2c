const MAX_BAR = 40;

/** Counts values in ranges, and draws them. */
export class Histogram {
  /** The ends of the ranges, in ascending order. A value belongs to the first range whose end is above it. */
  readonly #ends: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #max = 0;

  constructor(ends: readonly number[]) {
    this.#ends = ends;
    this.#counts = [...ends.map(() => 0), 0];
  }

  add(value: number): void {
    const index = this.#ends.findIndex(end => value < end);
    const at = index < 0 ? this.#ends.length : index;
    this.#counts[at] = (this.#counts[at] as number) + 1;
    this.#sum += value;
    this.#max = Math.max(this.#max, value);
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** Sum, mean and maximum, and the ranges that have values: `below` is `null` for the last one. */
  summary() {
    const { count } = this;
    const mean = count === 0 ? 0 : Math.round(this.#sum / count);
    const ranges = this.#counts.map((number, index) => ({ below: this.#ends[index] ?? null, count: number }));
    return { sum: this.#sum, mean, max: this.#max, ranges: ranges.filter(range => range.count > 0) };
  }

  /** A line for each range from the first to the last that has values. @param format - writes the end of a range */
  draw(format: (end: number) => string): string[] {
    const used = this.#counts.flatMap((count, index) => (count > 0 ? [index] : []));
    const [first = 0, last = -1] = [used[0], used.at(-1)];
    const most = Math.max(...this.#counts);
    const digits = String(most).length;
    const labels = this.#counts.map((_, index) =>
      index === this.#ends.length
        ? `>= ${format(this.#ends.at(-1) as number)}`
        : `< ${format(this.#ends[index] as number)}`,
    );
    const width = Math.max(...labels.map(label => label.length));
    return this.#counts.slice(first, last + 1).map((count, offset) => {
      const bar = "#".repeat(count === 0 ? 0 : Math.max(1, Math.round((count / most) * MAX_BAR)));
      const label = (labels[first + offset] as string).padStart(width);
      return `  ${label}  ${String(count).padStart(digits)}  ${bar}`.trimEnd();
    });
  }
}
