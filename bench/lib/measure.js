import { performance } from "node:perf_hooks";

/** The median. If the number of values is even, then it is the lower of the middle ones. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/**
 * Runs `operation(index, callback)` for each index, `inFlight` at a time. It uses callbacks, as express-session does,
 * so that no promise of the benchmark is measured. Returns the total time and the time of each operation, in ms.
 */
export function measure(count, inFlight, operation) {
  const latencies = new Float64Array(count);
  let next = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const begin = () => {
      const index = next++;
      const began = performance.now();
      operation(index, error => {
        if (error) return reject(error);
        latencies[index] = performance.now() - began;
        done += 1;
        if (next < count) begin();
        else if (done === count) resolve({ ms: performance.now() - start, latencies });
      });
    };
    for (let worker = 0; worker < Math.min(inFlight, count); worker++) begin();
  });
}

/** Summarizes several calls of {@link measure}: operations per second, and latencies in ms. */
export function summary(measured) {
  const latencies = measured.flatMap(part => [...part.latencies]);
  const ms = measured.reduce((sum, part) => sum + part.ms, 0);
  return {
    perSecond: latencies.length / (ms / 1000),
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
  };
}

/** Runs `work` and returns its result, its duration and the longest time that it held the event loop, in ms. */
export async function measureHold(work) {
  globalThis.gc?.();
  let longest = 0;
  let running = true;
  let last = performance.now();
  const watch = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (running) setImmediate(watch);
  };
  setImmediate(watch);
  await new Promise(resolve => setImmediate(resolve));
  longest = 0;
  last = performance.now();
  const start = performance.now();
  const result = await work();
  const ms = performance.now() - start;
  longest = Math.max(longest, performance.now() - last);
  running = false;
  return { result, ms, holdMs: longest };
}

/** Runs `work` and returns how long the event loop was busy in that time, in ms. Waiting for a disk is not work. */
export async function measureWork(work) {
  globalThis.gc?.();
  await new Promise(resolve => setImmediate(resolve));
  const before = performance.eventLoopUtilization();
  await work();
  return performance.eventLoopUtilization(before).active;
}

/**
 * Runs `work(name)` for each contender, round by round, starting each round with another one. A first round warms up
 * and does not count. Returns, for each round, the results of `work` by contender.
 */
export async function interleave(names, rounds, work, { warmUp = true } = {}) {
  const measured = [];
  for (let round = warmUp ? 0 : 1; round <= rounds; round++) {
    const results = {};
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(turn + round) % names.length];
      results[name] = await work(name);
    }
    if (round > 0) measured.push(Object.fromEntries(names.map(name => [name, results[name]])));
  }
  return measured;
}

/** The median over all rounds of the ratio of two contenders in the same round. */
export function ratio(rounds, ours, theirs, value) {
  return median(rounds.map(round => value(round[ours]) / value(round[theirs])));
}
