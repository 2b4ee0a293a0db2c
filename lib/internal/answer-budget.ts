/** gRPC refuses answers over 4 MiB, and etcd3 then refuses everything else for 5 s: answers stay well below. */
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;

/** Two records of the largest size that etcd takes fit into any answer. */
const ALWAYS_SAFE = 2;

/** The share of the largest size that is still remembered after one more record. */
const MEMORY = 0.99;

/**
 * How many records to ask etcd for at once. It can bound an answer by count but not by bytes, so this goes by the
 * sizes seen lately, and asks for no more records at once than it has seen sizes.
 */
export class AnswerBudget {
  #seen = 0;
  #largest = 1;

  /** The size of a record that was read or written, in bytes. */
  note(bytes: number): void {
    this.#seen += 1;
    this.#largest = Math.max(bytes, this.#largest * MEMORY);
  }

  /** An answer was too large after all: what is known of the sizes is not to be relied on. */
  reset(): void {
    this.#seen = 0;
  }

  get records(): number {
    return Math.max(
      1,
      Math.min(Math.max(ALWAYS_SAFE, this.#seen), Math.floor(MAX_ANSWER_BYTES / this.#largest)),
    );
  }
}
