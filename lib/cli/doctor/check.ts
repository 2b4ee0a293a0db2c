/** One thing that was looked at. */
export interface Check {
  readonly check: string;
  readonly status: "ok" | "unknown" | "warning" | "problem";
  readonly detail: string;
  /** What to do. */
  readonly advice?: string | undefined;
}

export function ok(check: string, detail: string): Check {
  return { check, status: "ok", detail };
}

export function unknown(check: string, detail: string): Check {
  return { check, status: "unknown", detail };
}

export function warning(check: string, detail: string, advice: string): Check {
  return { check, status: "warning", detail, advice };
}

export function problem(check: string, detail: string, advice: string): Check {
  return { check, status: "problem", detail, advice };
}

/** Seconds: the store allows for a minute, its grace period. */
const NOTABLE_SECONDS = 10;
const GRACE_SECONDS = 60;

/**
 * Compares the clock of a response with this host's.
 *
 * @param date - the header `Date`, in whole seconds
 * @param sentAt - when the request was sent, and `receivedAt` when the response came, in epoch milliseconds
 */
export function checkClock(
  date: string | undefined,
  sentAt: number,
  receivedAt: number,
  whose: string,
): Check {
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return unknown("clock", `${whose} does not send its time`);
  // The header has cut off half a second on average.
  const seconds = (theirs + 500 - (sentAt + receivedAt) / 2) / 1000;
  const amount = Math.abs(seconds);
  if (amount < 1.5) return ok("clock", `as ${whose}'s, within 1.5 s`);
  const detail = `${amount.toFixed(0)} s ${seconds > 0 ? "behind" : "ahead of"} ${whose}'s`;
  if (amount < NOTABLE_SECONDS) return ok("clock", detail);
  const advice =
    "Synchronize the clocks of all hosts (chrony or ntpd): sessions end too early or too late by the difference.";
  return amount < GRACE_SECONDS ? warning("clock", detail, advice) : problem("clock", detail, advice);
}
