/** Long loops let other work run after this time. */
const SLICE_MS = 5;

/** Waits for the next turn of the event loop. */
export async function nextTurn(): Promise<void> {
  // node:timers/promises takes a millisecond to load, which every cold start would pay.
  await new Promise<void>(resolve => {
    setImmediate(resolve);
  });
}

/** Keeps long loops from holding the event loop: `if (slice.isUsedUp) await slice.yield()` in each round. */
export class EventLoopSlice {
  #start = performance.now();

  get isUsedUp(): boolean {
    return performance.now() - this.#start >= SLICE_MS;
  }

  async yield(): Promise<void> {
    await nextTurn();
    this.#start = performance.now();
  }
}
