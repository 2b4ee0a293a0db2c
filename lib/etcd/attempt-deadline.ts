import { Operation } from "../core/operation.js";

/** An attempt gets a third of the time, but not less than a healthy member may need. */
const SHARE = 1 / 3;
const MIN_ATTEMPT_MS = 1000;

/**
 * The attempts at one call of etcd3, which sends a call that failed to another member. Without an answer an attempt
 * fails before the time of the call is up, so that one member that hangs does not fail the call. When it is up, none is
 * begun: it would fail at once, and etcd3 would hold that against a healthy member.
 */
export class Attempts {
  /** How many have begun. */
  count = 0;
  /** For etcd3, which reads the deadline before each attempt. */
  readonly callOptions: { readonly deadline: number };

  /** @param operations - those that wait for the answer */
  constructor(operations: readonly Operation[]) {
    const end = Operation.clientDeadline(operations);
    const attemptMs = Math.max(MIN_ATTEMPT_MS, (end - Date.now()) * SHARE);
    const begin = () => {
      const now = Date.now();
      if (now >= end) throw new Error("The time for this call is up.");
      this.count += 1;
      return Math.min(end, now + attemptMs);
    };
    this.callOptions = {
      get deadline() {
        return begin();
      },
    };
  }
}
