import { EXIT } from "./errors.js";

/** A signal that ^C aborts. The second ^C ends the process immediately. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  process.on("SIGINT", () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    process.stderr.write("\nStopping. Press ^C again to end at once.\n");
    controller.abort(new Interrupted());
  });
  return controller.signal;
}

/** The reason of the signal. */
export class Interrupted extends Error {
  constructor() {
    super("Interrupted");
  }
}
