/**
 * Stops the clock of express-session and of the stores, so that only {@link advance} moves it. The test calls
 * `jest.useRealTimers()` at its end.
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
