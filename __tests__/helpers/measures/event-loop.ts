import { monitorEventLoopDelay } from "node:perf_hooks";

/** Measures how late this process does its due work, such as on a machine that other programs keep busy. */
export class EventLoop {
  readonly #histogram = monitorEventLoopDelay({ resolution: 10 });

  constructor() {
    this.#histogram.enable();
  }

  /** The longest delay since the beginning. Everything that a test waits for may be this much later. */
  get heldUpMs(): number {
    return this.#histogram.max / 1e6;
  }

  stop(): void {
    this.#histogram.disable();
  }
}
