import { SingleBar } from "cli-progress";
import { formatDuration } from "./units.js";

/** Between two lines if stderr is not a terminal. */
const LINE_MS = 5000;
const BAR_MS = 100;

/** Shows on stderr how far a command is: a bar on a terminal, now and then a line elsewhere. */
export class Progress {
  readonly #verb: string;
  readonly #total: number | undefined;
  readonly #startedAt = performance.now();
  readonly #bar: SingleBar | undefined;
  #done = 0;
  #shownAt = performance.now();

  /**
   * @param verb - what is done to the sessions, such as `destroyed`
   * @param total - the number of sessions, if it is known
   */
  constructor(verb: string, total?: number) {
    this.#verb = verb;
    this.#total = total;
    if (process.stderr.isTTY !== true || process.env.TERM === "dumb") return;
    const format = total === undefined ? `${verb} {value}{speed}` : `${verb} [{bar}] {value}/{total}{speed}`;
    this.#bar = new SingleBar({
      format,
      stream: process.stderr,
      clearOnComplete: true,
      stopOnComplete: false,
      barsize: 24,
      fps: 1000 / BAR_MS,
      gracefulExit: false,
      barCompleteChar: "=",
      barIncompleteChar: "-",
    });
    this.#bar.start(total ?? 0, 0, { speed: "" });
    // The bar changes a setting of the terminal, also if a second ^C ends the process.
    process.once("exit", () => this.stop());
  }

  get done(): number {
    return this.#done;
  }

  add(count: number): void {
    this.#done += count;
    // What was added in the meantime is counted too.
    if (this.#total !== undefined && this.#done > this.#total) this.#bar?.setTotal(this.#done);
    this.#bar?.update(this.#done, { speed: this.#speed() });
    if (this.#bar !== undefined || performance.now() - this.#shownAt < LINE_MS) return;
    this.#shownAt = performance.now();
    const of = this.#total === undefined ? "" : ` of ${this.#total}`;
    process.stderr.write(`${this.#verb} ${this.#done}${of}${this.#speed()}\n`);
  }

  /** Removes the bar. */
  stop(): void {
    if (this.#bar?.isActive) this.#bar.stop();
  }

  /** The rate, and the time that is left at this rate. */
  #speed(): string {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    if (seconds < 0.5 || this.#done === 0) return "";
    const rate = this.#done / seconds;
    const left = Math.max(0, (this.#total ?? 0) - this.#done);
    const time = this.#total === undefined ? "" : `, ${formatDuration(Math.ceil(left / rate) * 1000)} left`;
    return ` (${Math.round(rate)}/s${time})`;
  }
}
