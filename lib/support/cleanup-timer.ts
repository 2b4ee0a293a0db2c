import { runInBackground } from "./background.js";

/** Seconds between the sweeps of stores that keep their sessions on this machine. */
export const DEFAULT_CLEANUP_SECONDS = 60;

/** Runs a sweep at an interval. Never keeps the process alive, and never runs two sweeps at the same time. */
export class CleanupTimer {
  readonly #seconds: number;
  readonly #sweep: () => Promise<unknown>;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #isRunning = false;

  /** @param seconds - the interval; 0 means never */
  constructor(seconds: number, sweep: () => Promise<unknown>, onError: (error: unknown) => void) {
    this.#seconds = seconds;
    this.#sweep = sweep;
    this.#onError = onError;
  }

  /** Call it with the first write: a store that is not used has no timer. */
  start(): void {
    if (this.#seconds === 0 || this.#timer !== undefined) return;
    this.#timer = runInBackground(() => setInterval(() => this.#run(), this.#seconds * 1000));
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#sweep()
      .catch(this.#onError)
      .finally(() => {
        this.#isRunning = false;
      });
  }
}
