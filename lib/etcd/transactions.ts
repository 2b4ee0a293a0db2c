import type { Etcd3, ICompare, IKeyValue, IRequestOp, ITxnRequest, ITxnResponse } from "etcd3";
import type { Operation } from "../core/operation.js";
import type { Awaitable } from "../core/record.js";
import { StoreError, tooLarge } from "../errors.js";
import { type Batchable, Batcher } from "../support/batcher.js";
import { AttemptDeadlines } from "./attempt-deadline.js";
import { isPerOperationError, isRequestTooLarge, isResponseTooLarge } from "./errors.js";
import { endOfPrefix } from "./pages.js";
import type { ResponseSizeLimit } from "./response-size.js";
import { isNeverRemoved, isRemovedBy } from "./value.js";

/** etcd's default for `--max-request-bytes`, and room for what goes around key and value. */
const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;
const REQUEST_OVERHEAD_BYTES = 512;

/** etcd's default for `--max-txn-ops` is 128, and the operations of a nested transaction count on top of it. */
const MAX_TXN_OPERATIONS = 100;
const MAX_TXN_BYTES = 1024 * 1024;

/** Requests in flight. More would not be faster, because each batch would be smaller. */
const MAX_IN_FLIGHT = 4;

/** The put of an entry in the list of a user. */
export interface EntryPut {
  readonly key: string;
  readonly value: Buffer;
  readonly lease: string;
  /** If given, the write takes place only if no key of the list was created after this revision. */
  readonly list: { readonly prefix: string; readonly revision: string } | undefined;
}

/** A conditional put or delete. */
export interface Write {
  readonly key: string;
  /** Left out, the key is deleted. */
  readonly value?: Buffer;
  readonly lease?: string;
  /** The write takes place if the key has this revision or, if that is `undefined`, does not exist. */
  readonly revision?: string | undefined;
  /** Put in the same transaction. */
  readonly entry?: EntryPut | undefined;
  /** If given, the write takes place whatever is stored, unless this removal did before. */
  readonly removalId?: string;
  readonly operation: Operation;
}

export interface WriteOutcome {
  readonly isDone: boolean;
  /** The revision of what was written. */
  readonly revision: string;
  /** What is stored, if nothing was written. */
  readonly current: IKeyValue | undefined;
  /** Whether the write was sent more than once, so that an earlier attempt may have taken place. */
  readonly isRetried: boolean;
}

interface QueuedRead extends Batchable {
  readonly request: IRequestOp;
  readonly operation: Operation;
}

interface QueuedWrite extends Batchable {
  readonly operation: Operation;
  readonly requests: IRequestOp[];
  /** If this holds, the requests are done. */
  readonly compare: ICompare;
  /** The write in a transaction of its own, which also decides whatever `compare` does not. */
  readonly txn: ITxnRequest;
  /** Whether `txn` succeeds if the write takes place, or else fails. */
  readonly succeedsIfDone: boolean;
  isRetried: boolean;
}

/** Sends reads and writes, in one transaction if they wait at the same time. */
export class Transactions {
  readonly #kv: Etcd3["kv"];
  readonly #responseSize: ResponseSizeLimit;
  readonly #reads: Batcher<QueuedRead, IKeyValue | undefined>;
  /** A result may itself be a promise, so that one slow operation does not delay the rest of its batch. */
  readonly #writes: Batcher<QueuedWrite, Awaitable<WriteOutcome>>;
  /** How much goes into one request. It shrinks when the server rejects a request of that size. */
  #maxBytes = MAX_TXN_BYTES;

  constructor(kv: Etcd3["kv"], responseSize: ResponseSizeLimit) {
    this.#kv = kv;
    this.#responseSize = responseSize;
    const shared = { maxInFlight: MAX_IN_FLIGHT, retryIndividually: isPerOperationError };
    this.#reads = new Batcher({
      ...shared,
      send: reads => this.#sendReads(reads),
      allowSameKey: true,
      limits: () => ({ items: Math.min(MAX_TXN_OPERATIONS, responseSize.maxRecords), bytes: MAX_TXN_BYTES }),
    });
    this.#writes = new Batcher({
      ...shared,
      send: writes => this.#sendWrites(writes),
      // etcd rejects a transaction that writes a key twice.
      allowSameKey: false,
      limits: () => ({ items: MAX_TXN_OPERATIONS, bytes: this.#maxBytes }),
    });
  }

  read(key: string, operation: Operation): Promise<IKeyValue | undefined> {
    return this.#reads.add({ key, request: rangeOf(Buffer.from(key)), size: key.length, operation });
  }

  /** @throws StoreError if the value is too large for etcd's default limit */
  write(write: Write): Promise<WriteOutcome> {
    const bytes = write.value?.length ?? 0;
    const { entry } = write;
    const entryBytes = entry === undefined ? 0 : entry.key.length + entry.value.length;
    const size = write.key.length + bytes + entryBytes + REQUEST_OVERHEAD_BYTES;
    if (size > MAX_REQUEST_BYTES) throw tooLarge(bytes, MAX_REQUEST_BYTES, "etcd's limit for a request");
    this.#responseSize.observe(bytes);
    return this.#writes.add(queued(write, size)) as Promise<WriteOutcome>;
  }

  /** An unconditional delete. Unlike transactions, a full database takes it. */
  async delete(key: string, operation: Operation): Promise<void> {
    await this.#kv.deleteRange({ key: Buffer.from(key) }, new AttemptDeadlines([operation]).callOptions);
  }

  /** Deletes keys, whatever is stored there. */
  async deleteAll(keys: readonly string[], operation: Operation): Promise<void> {
    for (let from = 0; from < keys.length; from += MAX_TXN_OPERATIONS) {
      const success = keys.slice(from, from + MAX_TXN_OPERATIONS).map(key => deleteOf(Buffer.from(key)));
      await this.#kv.txn({ success }, new AttemptDeadlines([operation]).callOptions);
    }
  }

  async #sendReads(reads: QueuedRead[]): Promise<(IKeyValue | undefined)[]> {
    const { callOptions } = new AttemptDeadlines(reads.map(({ operation }) => operation));
    const requests = reads.map(({ request }) => request);
    const [{ request_range } = {}, ...more] = requests;
    // A range costs less than a transaction with a range.
    if (request_range && more.length === 0)
      return [(await this.#kv.range(request_range, callOptions)).kvs[0]];
    const { responses } = await this.#kv.txn({ success: requests }, callOptions);
    return responses.map(({ response_range }) => response_range.kvs[0]);
  }

  async #sendWrites(writes: QueuedWrite[]): Promise<Awaitable<WriteOutcome>[]> {
    const [first, ...more] = writes as [QueuedWrite, ...QueuedWrite[]];
    try {
      if (more.length > 0) return await this.#sendTogether(writes);
      const response = await this.#txn(first.txn, writes);
      return [outcomeOf(first, response, response.header.revision)];
    } catch (error) {
      if (isRequestTooLarge(error)) this.#learnLimit(writes);
      throw error;
    }
  }

  /**
   * One transaction that compares the conditions of all. If one does not hold, which is rare, all are sent again in
   * nested transactions, which are half as fast. If their responses may be too large for one, they are sent in parts.
   */
  async #sendTogether(writes: QueuedWrite[]): Promise<Awaitable<WriteOutcome>[]> {
    const together = {
      compare: writes.map(({ compare }) => compare),
      success: writes.flatMap(({ requests }) => requests),
    };
    const { succeeded, header } = await this.#txn(together, writes);
    const { revision } = header;
    if (succeeded)
      return writes.map(() => ({ isDone: true, revision, current: undefined, isRetried: false }));
    const { maxRecords } = this.#responseSize;
    if (writes.length > maxRecords) return await this.#sendInParts(writes, maxRecords);
    const nested = await this.#txn({ success: writes.map(({ txn }) => ({ request_txn: txn })) }, writes);
    return nested.responses.map(({ response_txn }, index) =>
      outcomeOf(writes[index] as QueuedWrite, response_txn, nested.header.revision),
    );
  }

  /** In requests of `size` writes, one after the other. A request that fails does not fail the writes of others. */
  async #sendInParts(writes: QueuedWrite[], size: number): Promise<Promise<WriteOutcome>[]> {
    const outcomes: Promise<WriteOutcome>[] = [];
    for (let from = 0; from < writes.length; from += size) {
      const part = writes.slice(from, from + size);
      const sent = this.#sendWrites(part).catch(error => {
        if (part.length === 1 || !isPerOperationError(error)) throw error;
        return this.#sendInParts(part, 1);
      });
      const own = part.map((_, index) => sent.then(all => all[index] as Awaitable<WriteOutcome>));
      await Promise.allSettled(own);
      outcomes.push(...own);
    }
    return outcomes;
  }

  async #txn(request: ITxnRequest, writes: QueuedWrite[]): Promise<ITxnResponse> {
    const attempts = new AttemptDeadlines(writes.map(({ operation }) => operation));
    let hasTakenPlace = false;
    try {
      return await this.#kv.txn(request, attempts.callOptions);
    } catch (error) {
      hasTakenPlace = isResponseTooLarge(error);
      throw error;
    } finally {
      if (hasTakenPlace || attempts.count > 1) for (const write of writes) write.isRetried = true;
    }
  }

  /** @throws StoreError if the server does not take a single write */
  #learnLimit(writes: QueuedWrite[]): void {
    const bytes = writes.reduce((sum, { size }) => sum + size, 0);
    if (writes.length === 1) {
      throw new StoreError(
        "ERR_SESSION_TOO_LARGE",
        `The session is ${bytes} bytes, which exceeds the limit of this etcd server for a request (\`--max-request-bytes\`).`,
      );
    }
    this.#maxBytes = Math.min(this.#maxBytes, bytes / 2);
  }
}

function rangeOf(key: Buffer): IRequestOp {
  return { request_range: { key } };
}

function deleteOf(key: Buffer): IRequestOp {
  return { request_delete_range: { key } };
}

function queued(
  { key, value, lease = "0", revision = "0", removalId, entry, operation }: Write,
  size: number,
): QueuedWrite {
  const keyBytes = Buffer.from(key);
  const request: IRequestOp =
    value === undefined ? deleteOf(keyBytes) : { request_put: { key: keyBytes, value, lease } };
  const requests = entry === undefined ? [request] : [request, putOf(entry)];
  const succeedsIfDone = removalId === undefined;
  const compare: ICompare = succeedsIfDone
    ? { key: keyBytes, target: "Mod", result: "Equal", mod_revision: revision }
    : isNeverRemoved(keyBytes);
  const txn = succeedsIfDone
    ? {
        compare: [compare, ...(entry?.list ? [isUnchanged(entry.list)] : [])],
        success: requests,
        failure: [rangeOf(keyBytes)],
      }
    : { compare: isRemovedBy(keyBytes, removalId), failure: requests };
  // etcd compares before it writes: two sign-ins in one transaction would not see each other.
  const isAlone = entry?.list !== undefined;
  const weight = requests.length;
  return { key, size, requests, compare, txn, weight, isAlone, succeedsIfDone, operation, isRetried: false };
}

function putOf({ key, value, lease }: EntryPut): IRequestOp {
  return { request_put: { key: Buffer.from(key), value, lease } };
}

/** True if no key of a list was created after a revision. etcd3 has no type for comparisons of a range. */
function isUnchanged({ prefix, revision }: NonNullable<EntryPut["list"]>): ICompare {
  const range = { key: Buffer.from(prefix), range_end: endOfPrefix(prefix) };
  return { ...range, target: "Create", result: "Less", create_revision: String(BigInt(revision) + 1n) };
}

function outcomeOf(
  { succeedsIfDone, isRetried }: QueuedWrite,
  { succeeded, responses }: Pick<ITxnResponse, "succeeded" | "responses">,
  revision: string,
): WriteOutcome {
  const isDone = succeeded === succeedsIfDone;
  return { isDone, revision, current: isDone ? undefined : responses[0]?.response_range.kvs[0], isRetried };
}
