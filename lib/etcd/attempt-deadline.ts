// HACK: etcd3 has no deadline for each attempt and does not report attempts. It reads `deadline` once before each
// attempt, so a getter serves as both. A test fails if a new release of etcd3 reads it at other times.
import { Operation } from "../core/operation.js";

/** An attempt has a third of the time, but not less than a healthy member may need. */
const SHARE = 1 / 3;
const MIN_ATTEMPT_MS = 1000;

/**
 * The deadlines of the attempts at one call. etcd3 sends a call that failed to another member.
 *
 * An attempt without a response fails before the time of the call is up, so that one member that hangs does not fail
 * the call. No attempt begins after that time, because etcd3 would count its failure against a healthy member.
 */
export class AttemptDeadlines {
  /** How many attempts have begun. */
  count = 0;
  readonly callOptions: { readonly deadline: number };

  /** @param operations - the operations that wait for the response */
  constructor(operations: readonly Operation[]) {
    const end = Operation.requestDeadline(operations);
    const attemptMs = Math.max(MIN_ATTEMPT_MS, (end - Date.now()) * SHARE);
    const begin = () => {
      const now = Date.now();
      if (now >= end) throw new Error("Time limit reached; no further attempt is made");
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
