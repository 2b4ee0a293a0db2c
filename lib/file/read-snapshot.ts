import type { Table } from "./environment.js";

/**
 * Lets a read see what other processes have committed. Reads of the same millisecond and tick share a snapshot, which
 * ends with the tick: lmdb-js keeps it until the event loop turns, and no page is used again for as long.
 */
export class ReadSnapshot {
  readonly #root: Table;
  /** The millisecond in which the snapshot of the reads began; 0 if the next read needs a new one. */
  #beganAt = 0;
  #isEnding = false;
  readonly #end = () => {
    this.#isEnding = false;
    this.#beganAt = 0;
    this.#root.resetReadTxn();
  };

  constructor(root: Table) {
    this.#root = root;
  }

  /** Call it before each read. */
  begin(): void {
    const now = Date.now();
    if (this.#beganAt === now) return;
    this.#root.resetReadTxn();
    this.#beganAt = now;
    if (this.#isEnding) return;
    this.#isEnding = true;
    process.nextTick(this.#end);
  }

  /** Call it when a write was done, so that later reads of the tick see the write. */
  expire(): void {
    this.#beganAt = 0;
  }
}
