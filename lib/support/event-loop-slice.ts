/** Work of many small steps lets others run when it has held the event loop for this long. */
const SLICE_MS = 5;

/** Keeps long loops from holding the event loop: `if (slice.isUsedUp) await slice.rest()` in each round. */
export class TimeSlice {
  #start = performance.now();

  get isUsedUp(): boolean {
    return performance.now() - this.#start >= SLICE_MS;
  }

  /** Waits for the next turn of the event loop. */
  async rest(): Promise<void> {
    // Not by node:timers/promises, which takes a millisecond to load: every cold start would pay it.
    await new Promise<void>(resolve => {
      setImmediate(resolve);
    });
    this.#start = performance.now();
  }
}
