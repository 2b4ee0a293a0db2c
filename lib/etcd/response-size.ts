/** gRPC rejects responses above 4 MiB, and etcd3 then rejects every other request for 5 s. */
const MAX_RESPONSE_BYTES = 3.5 * 1024 * 1024;

/** Two records of the largest size that etcd takes fit into any response. */
const MIN_RECORDS = 2;

/** Records up to this size are expected at any time, whatever was observed. */
const USUAL_BYTES = 32 * 1024;

/** A large record is remembered for one to two of these periods. */
const MEMORY_MS = 10 * 60 * 1000;

/**
 * How many records to request together. etcd can limit a response by count but not by bytes. So the limit follows the
 * sizes that were observed lately, and is never higher than the number of sizes that were observed.
 */
export class ResponseSizeLimit {
  #observed = 0;
  #largest = USUAL_BYTES;
  #largestBefore = USUAL_BYTES;
  #since = Date.now();

  /** Call it with the size in bytes of each record that was read or is written. */
  observe(bytes: number): void {
    this.#observed += 1;
    if (bytes <= this.#largest) return;
    this.#forgetOld();
    this.#largest = bytes;
  }

  /** Call it if a response was too large in spite of the limit. */
  tooLarge(): void {
    this.#observed = 0;
    this.observe(MAX_RESPONSE_BYTES / MIN_RECORDS);
  }

  get maxRecords(): number {
    this.#forgetOld();
    const fitting = Math.floor(MAX_RESPONSE_BYTES / Math.max(this.#largest, this.#largestBefore));
    // At least 1: a server and a client with higher limits may have larger records than fit here.
    return Math.max(1, Math.min(Math.max(MIN_RECORDS, this.#observed), fitting));
  }

  #forgetOld(): void {
    const now = Date.now();
    if (now - this.#since < MEMORY_MS) return;
    this.#largestBefore = this.#largest;
    this.#largest = USUAL_BYTES;
    this.#since = now;
  }
}
