import { monitorEventLoopDelay } from "node:perf_hooks";

/** Sees for how long this process does nothing of what is due, as on a machine that others keep busy. */
export class EventLoop {
  readonly #histogram = monitorEventLoopDelay({ resolution: 10 });

  constructor() {
    this.#histogram.enable();
  }

  /** The longest time since the beginning: so much later than asked for may anything come. */
  get heldUpMs(): number {
    return this.#histogram.max / 1e6;
  }

  stop(): void {
    this.#histogram.disable();
  }
}
