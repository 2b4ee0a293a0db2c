/** A clock that stands still until it is moved. Starts now, because backends and express-session use the real one. */
export class Clock {
  #time = Date.now();

  /** For the option `now`. */
  readonly now = (): number => this.#time;

  /** The date so many seconds from now. */
  readonly in = (seconds: number): Date => new Date(this.#time + Math.round(seconds * 1000));

  readonly advance = (seconds: number): void => {
    this.#time += Math.round(seconds * 1000);
  };
}
