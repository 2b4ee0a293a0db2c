import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Runs work that serves several requests, or none: batches, timers, sweeps. The work runs in the `AsyncLocalStorage`
 * context in which this module was loaded. So no request's context is kept alive, or seen in another request's spans.
 */
export const runInBackground: <T>(work: () => T) => T = AsyncLocalStorage.snapshot();
