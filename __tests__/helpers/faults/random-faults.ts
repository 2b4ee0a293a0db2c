import type { Call, Fault, FaultProxy } from "./fault-proxy.js";

export interface RandomFaults extends Partial<Record<Exclude<Fault, "forward">, number>> {
  /** The probability that a call first releases one held request. */
  release?: number;
  /** The calls that may fail: all by default. */
  only?: (call: Call) => boolean;
}

/** Injects faults with the given probabilities, which add up to at most 1. A seeded `random` repeats the choices. */
export function injectRandomFaults(proxy: FaultProxy, random: () => number, faults: RandomFaults): void {
  const { release = 0, only = () => true, ...probabilities } = faults;
  proxy.intercept(call => {
    if (random() < release) void proxy.release(1);
    let rest = random();
    if (!only(call)) return "forward";
    for (const [fault, probability] of Object.entries(probabilities)) {
      rest -= probability;
      if (rest < 0) return fault as Fault;
    }
    return "forward";
  });
}
