const DEFAULT_SECONDS = 60;

/** Runs a clean-up at an interval. Never keeps the process alive, and never runs twice at once. */
export class CleanupTimer {
  readonly #seconds: number;
  readonly #cleanup: () => Promise<unknown>;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #running = false;

  /** @param seconds - the option `cleanupInterval`; 0 means never */
  constructor(
    seconds: number = DEFAULT_SECONDS,
    cleanup: () => Promise<unknown>,
    onError: (error: unknown) => void,
  ) {
    this.#seconds = seconds;
    this.#cleanup = cleanup;
    this.#onError = onError;
  }

  /** Called with the first write: a store that is not used has no timer. */
  start(): void {
    if (this.#seconds === 0 || this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#run(), this.#seconds * 1000);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#cleanup()
      .catch(this.#onError)
      .finally(() => {
        this.#running = false;
      });
  }
}
