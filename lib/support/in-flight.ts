/** Counts what is in flight. A count and not a Set of promises, which would keep settled work alive for longer. */
export class InFlight {
  #count = 0;
  #onDrained: (() => void) | undefined;

  readonly #settled = (): void => {
    this.#count -= 1;
    if (this.#count === 0) this.#onDrained?.();
  };

  /** Counts `work` until it settles, and returns it. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#count += 1;
    work.then(this.#settled, this.#settled);
    return work;
  }

  /** Resolves when nothing is in flight. Call it once, when nothing new begins. */
  async drained(): Promise<void> {
    if (this.#count === 0) return;
    await new Promise<void>(resolve => {
      this.#onDrained = resolve;
    });
  }
}
