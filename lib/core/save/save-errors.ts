import { StoreError } from "../../errors.js";
import type { Step } from "./next-step.js";
import type { Origin } from "./tracked-sessions.js";

/** A step that does not fail. */
type AllowedStep = Exclude<Step, { kind: "conflict" | "unreadable" }>;

/** @throws StoreError for a step that fails */
export function assertAllowed(step: Step, origin: Origin): asserts step is AllowedStep {
  if (step.kind === "conflict") throw conflictError();
  if (step.kind === "unreadable") throw unreadableError(origin);
}

function conflictError(): StoreError {
  return new StoreError(
    "ERR_SESSION_CONFLICT",
    "Another request changed the session since it was loaded: load it again and repeat the change.",
  );
}

export function unreadableError(origin: Origin): StoreError {
  const advice =
    origin === "loaded"
      ? "Another request changed the session, and what it saved cannot be read: the changes could not be merged."
      : "What is stored under the session's id cannot be read and was left in place: destroy the session first.";
  return new StoreError("ERR_SESSION_SERIALIZE", advice);
}
