import { performance } from "node:perf_hooks";

/** The median; of an even number of values, the lower of the middle ones. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/**
 * Runs `operation(index, callback)` for each index, `inFlight` at a time, with callbacks as express-session does, so
 * that no promise of the benchmark's is measured. Operations a second, and latencies in ms.
 */
export function measure(count, inFlight, operation) {
  globalThis.gc?.();
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
        else if (done === count) {
          const perSecond = count / ((performance.now() - start) / 1000);
          latencies.sort();
          resolve({ perSecond, p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) });
        }
      });
    };
    for (let worker = 0; worker < Math.min(inFlight, count); worker++) begin();
  });
}

/** Runs `work` and returns what it gave, how long it took and the longest time it held the event loop, in ms. */
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

/** For each key of the first result, the median over rounds of the ratio of two contenders in the same round. */
export function ratio(rounds, ours, theirs, value = result => result.perSecond) {
  return median(rounds.map(round => value(round[ours]) / value(round[theirs])));
}
