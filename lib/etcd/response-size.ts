/** gRPC refuses answers over 4 MiB, and etcd3 then refuses everything else for 5 s: answers stay below. */
const MAX_ANSWER_BYTES = 3.5 * 1024 * 1024;

/** Two records of the largest size that etcd takes fit into any answer. */
const ALWAYS_SAFE = 2;

/** Records up to this size are expected at any time, whatever was seen. */
const USUAL_BYTES = 32 * 1024;

/** A large record is remembered for one to two of these. */
const MEMORY_MS = 10 * 60 * 1000;

/**
 * How many records to ask etcd for at once. It can bound an answer by count but not by bytes, so this goes by the
 * sizes that were seen lately, and asks for no more records at once than it has seen sizes.
 */
export class AnswerBudget {
  #seen = 0;
  #largest = USUAL_BYTES;
  #largestBefore = USUAL_BYTES;
  #since = Date.now();

  /** The size of a record that was read or written, in bytes. */
  note(bytes: number): void {
    this.#seen += 1;
    if (bytes <= this.#largest) return;
    this.#forgetOld();
    this.#largest = bytes;
  }

  /** An answer was too large after all. */
  tooLarge(): void {
    this.#seen = 0;
    this.note(MAX_ANSWER_BYTES / ALWAYS_SAFE);
  }

  get records(): number {
    this.#forgetOld();
    const fitting = Math.floor(MAX_ANSWER_BYTES / Math.max(this.#largest, this.#largestBefore));
    // A server or a client with a higher limit may have shown a larger one: something has to be asked for.
    return Math.max(1, Math.min(Math.max(ALWAYS_SAFE, this.#seen), fitting));
  }

  #forgetOld(): void {
    const now = Date.now();
    if (now - this.#since < MEMORY_MS) return;
    this.#largestBefore = this.#largest;
    this.#largest = USUAL_BYTES;
    this.#since = now;
  }
}
