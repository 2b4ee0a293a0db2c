/** What a store and a request see of a clock. */
export interface ReadableClock {
  /** For the option `now`. */
  now(): number;
  /** The date so many seconds from now. */
  in(seconds: number): Date;
}

/** A clock that stands still until it is moved. Starts now, because backends use the real clock. */
export class Clock implements ReadableClock {
  #time = Date.now();

  readonly now = (): number => this.#time;

  readonly in = (seconds: number): Date => dateIn(this.#time, seconds);

  /** Moves the clock, back if `seconds` is negative. */
  readonly advance = (seconds: number): void => {
    this.#time += Math.round(seconds * 1000);
  };

  /** The clock of another host, which is always so many seconds ahead of this one. */
  readonly ahead = (seconds: number): ReadableClock => {
    const now = () => this.#time + Math.round(seconds * 1000);
    return { now, in: later => dateIn(now(), later) };
  };
}

function dateIn(time: number, seconds: number): Date {
  return new Date(time + Math.round(seconds * 1000));
}
