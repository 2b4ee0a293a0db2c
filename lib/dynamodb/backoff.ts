import { setTimeout as delay } from "node:timers/promises";

const FIRST_MS = 25;
const MAX_MS = 1000;

/** A pause before what a batch left unprocessed is sent again: doubled for each repetition, with jitter. */
export function backoff(repetition: number): Promise<void> {
  return delay(Math.min(MAX_MS, FIRST_MS * 2 ** repetition) * (0.5 + Math.random() / 2));
}
