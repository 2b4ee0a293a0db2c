/**
 * Stops the clock of express-session and of the stores, so that it moves only with {@link advance}. The test calls
 * `jest.useRealTimers()` in the end.
 */
export function stopClock(): void {
  jest.useFakeTimers({
    doNotFake: [
      "hrtime",
      "nextTick",
      "performance",
      "queueMicrotask",
      "setImmediate",
      "clearImmediate",
      "setInterval",
      "clearInterval",
      "setTimeout",
      "clearTimeout",
    ],
  });
}

export function advance(ms: number): void {
  jest.setSystemTime(Date.now() + ms);
}
