/**
 * Knows whether anything is under way. A count and not a Set of promises: each table that a busy Set leaves behind
 * leads to its next one, which carries what has long been done through many garbage collections.
 */
export class UnderWay {
  #count = 0;
  #idle: (() => void) | undefined;

  readonly #ended = (): void => {
    this.#count -= 1;
    if (this.#count === 0) this.#idle?.();
  };

  /** Counts `work` until it settles, and returns it. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#count += 1;
    work.then(this.#ended, this.#ended);
    return work;
  }

  /** Resolves when nothing is under way. To be called once, when nothing new begins. */
  async end(): Promise<void> {
    if (this.#count > 0) {
      await new Promise<void>(resolve => {
        this.#idle = resolve;
      });
    }
  }
}
