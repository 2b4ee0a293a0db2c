import { setImmediate as nextTurn } from "node:timers/promises";

/** Work of many small steps lets others run when it has held the event loop for this long. */
const SLICE_MS = 5;

/** Keeps long loops from holding the event loop: `await slice.rest()` in each round. */
export class TimeSlice {
  #start = performance.now();

  /** Waits for the next turn of the event loop if this slice is used up. */
  async rest(): Promise<void> {
    if (performance.now() - this.#start < SLICE_MS) return;
    await nextTurn();
    this.#start = performance.now();
  }
}
