import type { Etcd3, ICompare, IKeyValue, IRequestOp, IResponseOp, ITxnRequest } from "etcd3";
import { AbstractStore } from "../core/abstract-store.js";
import type { Operation } from "../core/operation.js";
import {
  ABSENT,
  type Awaitable,
  canExtend,
  decodeRecord,
  type Expected,
  type Extension,
  encodeRecord,
  isPromise,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
  type WriteResult,
} from "../core/record.js";
import type { StoreOptions } from "../core/store-options.js";
import { tooLarge } from "../errors.js";
import { type Batchable, Batcher } from "../support/batcher.js";
import { Attempts } from "./attempt-deadline.js";
import { type Lease, LeaseWindows } from "./lease-pool.js";
import { AnswerBudget } from "./response-size.js";

/** The options of {@link EtcdStore}. */
export interface EtcdStoreOptions extends StoreOptions {
  /** A client of the package `etcd3`. The store does not close it. */
  client: Pick<Etcd3, "kv" | "leaseClient">;
}

/** etcd's default for `--max-request-bytes`, and room for what goes around key and value. */
const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;
const REQUEST_OVERHEAD_BYTES = 512;

/** etcd's default for `--max-txn-ops` is 128 and counts an operation inside a nested transaction as one more. */
const MAX_TXN_OPERATIONS = 100;
const MAX_TXN_BYTES = 1024 * 1024;

const MAX_PAGE_RECORDS = 1000;

const NO_BYTES = Buffer.alloc(0);

/** The revision of a key that does not exist. */
const NO_REVISION = "0";
const NOTHING = { revision: NO_REVISION, lease: "0" };

/** What follows the prefix in the key of the fence: no key of a session ends like this. */
const FENCE = "fence!";

/** Requests under way at once. More would not be faster, since each then gathers less. */
const REQUESTS = 4;

/** One operation on its way to etcd. */
interface KeyOperation extends Batchable {
  readonly request: IRequestOp;
  /** The key and the revision that it must have for the request to be done. */
  readonly condition?: ICompare | undefined;
  readonly operation: Operation;
}

/** The note on a record: what is stored, the revision that a later condition names, and the lease of the key. */
interface Known {
  stored: StoredRecord;
  revision: string;
  lease: string;
}

/**
 * Sessions in etcd: one key each, removed by shared leases.
 *
 * @example
 * const client = new Etcd3({ hosts: ["https://etcd-0:2379", "https://etcd-1:2379", "https://etcd-2:2379"] });
 * app.use(session({ store: new EtcdStore({ client }), secret, resave: false, saveUninitialized: false }));
 */
export class EtcdStore extends AbstractStore {
  readonly #client: EtcdStoreOptions["client"];
  readonly #reads: Batcher<KeyOperation, StoredRecord | undefined>;
  /** A promise as an answer is for its operation alone to wait for. */
  readonly #writes: Batcher<KeyOperation, Awaitable<IResponseOp>>;
  readonly #leases: LeaseWindows;
  readonly #answers = new AnswerBudget();
  /** How much goes into one request: less once this server has refused as much. */
  #batchBytes = MAX_TXN_BYTES;
  /**
   * A put that etcd did not answer may still be on its way, in the queue of a member that hangs. When it arrives, the
   * session may have been destroyed meanwhile, and would be back, unless the put has a condition that no longer holds.
   * So a put without one, or on condition that there is none, is done only if a key, the fence, has the revision that
   * it had when the put was sent. While one may be late, whatever is written writes the fence in the same transaction:
   * what is acknowledged after the late one was sent, that cannot undo. In quiet times the key does not exist.
   */
  readonly #fenceKey: Buffer;
  /** The newest revision of the fence that is known. */
  #fence = NO_REVISION;
  /** How many puts may have been late so far, and how many of these came before the fence was last written. */
  #late = 0;
  #settled = 0;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: EtcdStoreOptions) {
    super(options, {
      client: {
        test: isEtcd3,
        required: true,
        expected:
          "a client of the package `etcd3` (npm install etcd3), new Etcd3(...), and not a namespace of one: that is what `prefix` is for",
      },
    });
    this.#client = options.client;
    this.#fenceKey = Buffer.from(this.prefix + FENCE);
    const shared = { requests: REQUESTS, isolate: isOneOperationsFault };
    this.#reads = new Batcher({
      ...shared,
      send: async operations => {
        const answers = (await this.#send(operations)) as IResponseOp[];
        return answers.map(({ response_range }) => this.#recordOf(response_range.kvs[0]));
      },
      repeatKeys: true,
      limits: () => ({ items: Math.min(MAX_TXN_OPERATIONS, this.#answers.records), bytes: MAX_TXN_BYTES }),
    });
    this.#writes = new Batcher({
      ...shared,
      send: operations => this.#send(operations),
      repeatKeys: false,
      limits: () => ({ items: MAX_TXN_OPERATIONS, bytes: this.#batchBytes }),
    });
    this.#leases = new LeaseWindows(this.prefix, async (ID, TTL, operation) => {
      const { leaseClient } = this.#client;
      try {
        await leaseClient.leaseGrant({ ID, TTL }, new Attempts([operation]).callOptions);
        return TTL;
      } catch (error) {
        if (!messageOf(error).includes("lease already exists")) throw error;
      }
      const existing = await leaseClient.leaseTimeToLive({ ID }, new Attempts([operation]).callOptions);
      return Number(existing.TTL);
    });
  }

  protected override _read(key: string, operation: Operation): Promise<StoredRecord | undefined> {
    return this.#reads.add({ key, request: rangeOf(Buffer.from(key)), size: key.length, operation });
  }

  protected override _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
    operation: Operation,
  ): Promise<WriteResult> {
    // The revision stands for the version and for the expiry: a touch moves it as well.
    if (expected === undefined) return this.#put(key, record, undefined, operation);
    if (expected === ABSENT) return this.#put(key, record, NOTHING, operation);
    const known = knownOf(expected.seen);
    if (known !== undefined && known.stored.expiresAt <= expected.expiresBy) {
      return this.#put(key, record, known, operation);
    }
    // Not read or written here, or touched since: what is there now may still be what is expected.
    return this._read(key, operation).then(current => ({ written: false, current }));
  }

  protected override async _extend(
    key: string,
    extension: Extension,
    seen: StoredRecord | undefined,
    operation: Operation,
  ): Promise<boolean> {
    let current = seen && knownOf(seen)?.stored;
    // Not seen yet, or seen when it ended earlier or later: another may have touched it since.
    if (!canExtend(current, extension)) current = await this._read(key, operation);
    // Ends when the put is accepted or the record is gone; each refusal means that another's write was accepted.
    while (canExtend(current, extension)) {
      operation.throwIfEnded();
      const { expiresAt, slack } = extension;
      const stored: StoredRecord = { ...current, expiresAt, slack, note: undefined };
      const result = await this.#put(key, stored, knownOf(current), operation);
      if (result.written) {
        // Only if it is still the record that was seen: else its next save must find out that it changed.
        if (seen?.version === stored.version) seen.note = stored.note;
        return true;
      }
      current = result.current;
    }
    return false;
  }

  protected override async _remove(key: string, operation: Operation): Promise<void> {
    const request: IRequestOp = { request_delete_range: { key: Buffer.from(key) } };
    await this.#writes.add({ key, request, size: key.length, operation });
  }

  protected override async _removeAll(keys: string[], operation: Operation): Promise<void> {
    await super._removeAll(keys, operation);
    // Where nothing was found there was no removal, but what is late must not arrive either.
    if (this.#mayBeLate) await this.#writeFence([operation]);
  }

  protected override async *_scan(
    start: string,
    operation: () => Operation,
  ): AsyncGenerator<ScannedRecord[]> {
    const end = endOfPrefix(start);
    let from = start === "" ? Buffer.from([0]) : Buffer.from(start);
    for (;;) {
      const range = () => {
        const limit = Math.min(MAX_PAGE_RECORDS, this.#answers.records);
        const { callOptions } = new Attempts([operation()]);
        return this.#client.kv.range({ key: from, range_end: end, limit }, callOptions);
      };
      const { kvs, more } = await range().catch(error => {
        if (!isAnswerTooLarge(error)) throw error;
        this.#answers.tooLarge();
        return range();
      });
      yield kvs.map(kv => ({ key: kv.key.toString(), record: this.#recordOf(kv) as StoredRecord }));
      const last = kvs.at(-1);
      if (!more || last === undefined) return;
      from = Buffer.concat([last.key, Buffer.from([0])]);
    }
  }

  /** Puts a record under the lease of its window, if `over` is still stored there; else returns what is. */
  #put(
    key: string,
    record: StoredRecord,
    over: Pick<Known, "revision" | "lease"> | undefined,
    operation: Operation,
  ): Promise<WriteResult> {
    const value = Buffer.from(encodeRecord(record));
    const size = key.length + value.length + REQUEST_OVERHEAD_BYTES;
    if (size > MAX_REQUEST_BYTES)
      throw tooLarge(value.length, MAX_REQUEST_BYTES, "etcd's limit for a request");
    this.#answers.note(value.length);
    const keyBytes = Buffer.from(key);
    const condition = over && hasRevision(keyBytes, over.revision);
    const leaseReady = () => {
      const now = this._now();
      // The mark of a moved session has no expiry.
      return this.#leases.ready(Math.max(record.expiresAt, now), now, over?.lease, operation);
    };
    const send = (lease: Lease) => {
      const request: IRequestOp = { request_put: { key: keyBytes, value, lease: lease.id } };
      return this.#writes.add({ key, request, condition, size, operation }) as Promise<IResponseOp>;
    };
    const noted = (answer: IResponseOp, lease: Lease): WriteResult => {
      const txn = answer.response_txn;
      if (txn !== undefined && !txn.succeeded) {
        return { written: false, current: this.#recordOf(txn.responses[0]?.response_range.kvs[0]) };
      }
      const { revision } = (txn?.responses[0] ?? answer).response_put.header;
      record.note = { stored: record, revision, lease: lease.id } satisfies Known;
      return { written: true };
    };
    const write = (lease: Lease) => {
      const { grant } = lease;
      return send(lease).then(
        answer => noted(answer, lease),
        async error => {
          if (!isLeaseMissing(error)) throw error;
          // Revoked, or run out early on a server whose clock is ahead: once more, with a new one.
          this.#leases.forget(lease, grant);
          const another = await leaseReady();
          return noted(await send(another), another);
        },
      );
    };
    const lease = leaseReady();
    return isPromise(lease) ? lease.then(write) : write(lease);
  }

  async #send(operations: KeyOperation[]): Promise<Awaitable<IResponseOp>[]> {
    const [first, ...more] = operations as [KeyOperation, ...KeyOperation[]];
    try {
      return more.length === 0 && !isFenced(first) && !this.#writesFence(operations)
        ? [await this.#sendOne(first)]
        : await this.#sendTogether(operations);
    } catch (error) {
      // There is no room for the fence either, nor for what may be late.
      if (more.length === 0 && isFull(error) && first.request.request_delete_range) {
        return [await this.#sendOne(first)];
      }
      if (!isRequestTooLarge(error)) throw error;
      if (more.length === 0) {
        throw tooLarge(
          first.size,
          MAX_REQUEST_BYTES,
          "etcd's default limit for a request (this server's may be lower)",
        );
      }
      const bytes = operations.reduce((sum, { size }) => sum + size, 0);
      this.#batchBytes = Math.min(this.#batchBytes, bytes / 2);
      throw error;
    }
  }

  /** By itself an operation takes less than in a transaction. */
  async #sendOne({ request, condition, operation }: KeyOperation): Promise<IResponseOp> {
    const { kv } = this.#client;
    const { callOptions } = new Attempts([operation]);
    const { request_range, request_delete_range } = request;
    if (request_range) return { response_range: await kv.range(request_range, callOptions) } as IResponseOp;
    if (request_delete_range) {
      return {
        response_delete_range: await kv.deleteRange(request_delete_range, callOptions),
      } as IResponseOp;
    }
    const { request_txn } = onlyIf(condition as ICompare, request);
    return { response_txn: await kv.txn(request_txn as ITxnRequest, callOptions) } as IResponseOp;
  }

  /**
   * In one transaction, of which the conditions of all are the condition. When one of them does not hold, which is
   * rare, all are sent again, each in a transaction within it: at most half as fast. Of those that are refused then,
   * the answer has what is stored: they go in parts if that may be too much for one.
   */
  async #sendTogether(operations: KeyOperation[]): Promise<Awaitable<IResponseOp>[]> {
    const waiting = operations.map(({ operation }) => operation);
    const plain = operations.map(({ request }) => request);
    const conditions = operations.flatMap(({ condition }) => condition ?? []);
    const fenced = operations.some(isFenced);
    let apart = conditions.length === 0 || operations.length === 1;
    // Ends when the fence is as expected; each refusal for it means that somebody wrote it.
    for (;;) {
      const fence = this.#fence;
      const late = this.#late;
      const writesFence = this.#writesFence(operations);
      const success = apart ? operations.map(inItself) : [...plain];
      if (writesFence) success.push({ request_put: { key: this.#fenceKey, value: NO_BYTES } });
      const compare = apart ? [] : [...conditions];
      if (fenced) compare.push(hasRevision(this.#fenceKey, fence));
      const attempts = new Attempts(waiting);
      const request = { compare, success, failure: [rangeOf(this.#fenceKey)] };
      const answer = await this.#client.kv.txn(request, attempts.callOptions).catch(error => {
        // Whatever the server has no room for, it has none for an earlier attempt.
        const hasRoom = !isRequestTooLarge(error) && !isFull(error);
        if (fenced && hasRoom && (attempts.count > 1 || !isOneOperationsFault(error))) this.#late += 1;
        throw error;
      });
      if (answer.succeeded && writesFence) this.#fenceWritten(answer.header.revision, late);
      else if (fenced && attempts.count > 1) this.#late += 1;
      if (answer.succeeded) {
        if (fenced && !writesFence && attempts.count > 1) await this.#writeFence(waiting);
        return answer.responses.slice(0, operations.length);
      }
      const found = answer.responses[0]?.response_range.kvs[0]?.mod_revision ?? NO_REVISION;
      if (found === fence || !fenced) {
        const { records } = this.#answers;
        if (operations.length > records) return await this.#sendInParts(operations, records);
        apart = true;
      }
      // What was learned meanwhile may be newer than this answer.
      else if (this.#fence === fence) this.#fence = found;
      else this.#fence = newerOf(this.#fence, found);
    }
  }

  /** In requests of so many operations, one after the other. One that fails does not fail what is in the others. */
  async #sendInParts(operations: KeyOperation[], size: number): Promise<Promise<IResponseOp>[]> {
    const answers: Promise<IResponseOp>[] = [];
    for (let from = 0; from < operations.length; from += size) {
      const part = operations.slice(from, from + size);
      const sent = this.#send(part).catch(error => {
        if (part.length === 1 || !isOneOperationsFault(error)) throw error;
        return this.#sendInParts(part, 1);
      });
      const own = part.map((_, index) => sent.then(all => all[index] as Awaitable<IResponseOp>));
      await Promise.allSettled(own);
      answers.push(...own);
    }
    return answers;
  }

  get #mayBeLate(): boolean {
    return this.#late > this.#settled;
  }

  /** Whether a request with these operations writes the fence as well. */
  #writesFence(operations: KeyOperation[]): boolean {
    return this.#mayBeLate && operations.some(({ request }) => !request.request_range);
  }

  async #writeFence(waiting: Operation[]): Promise<void> {
    const late = this.#late;
    const { callOptions } = new Attempts(waiting);
    const { header } = await this.#client.kv.put({ key: this.#fenceKey, value: NO_BYTES }, callOptions);
    this.#fenceWritten(header.revision, late);
  }

  /** @param late - how many puts may have been late when the request was sent */
  #fenceWritten(revision: string, late: number): void {
    // Answers may change places.
    this.#fence = newerOf(this.#fence, revision);
    this.#settled = Math.max(this.#settled, late);
  }

  #recordOf(kv: IKeyValue | undefined): StoredRecord | undefined {
    if (kv === undefined) return undefined;
    this.#answers.note(kv.value.length);
    const record = decodeRecord(kv.value.toString());
    if (record !== UNREADABLE) {
      record.note = { stored: record, revision: kv.mod_revision, lease: kv.lease } satisfies Known;
    }
    return record;
  }
}

function knownOf(record: StoredRecord): Known | undefined {
  return record.note as Known | undefined;
}

function isEtcd3(value: unknown): boolean {
  const client = value as (Partial<Etcd3> & { prefix?: Buffer }) | null | undefined;
  const hasServices =
    typeof client?.kv?.txn === "function" && typeof client.leaseClient?.leaseGrant === "function";
  // A namespace has the services of its client, but only its own methods add the prefix.
  return hasServices && !client?.prefix?.length;
}

function rangeOf(key: Buffer): IRequestOp {
  return { request_range: { key } };
}

function hasRevision(key: Buffer, revision: string): ICompare {
  return { key, target: "Mod", result: "Equal", mod_revision: revision };
}

/** Does `request` if the condition holds, else reads the key. */
function onlyIf(condition: ICompare, request: IRequestOp): IRequestOp {
  return {
    request_txn: { compare: [condition], success: [request], failure: [rangeOf(condition.key as Buffer)] },
  };
}

function inItself({ request, condition }: KeyOperation): IRequestOp {
  return condition === undefined ? request : onlyIf(condition, request);
}

/** A put whose own condition, if it has one, holds again once the key is removed. */
function isFenced({ request, condition }: KeyOperation): boolean {
  return request.request_put !== undefined && (condition?.mod_revision ?? NO_REVISION) === NO_REVISION;
}

function newerOf(revision: string, other: string): string {
  return BigInt(other) > BigInt(revision) ? other : revision;
}

/** The first key after all that begin with `start`; a zero byte means the end of all keys. */
function endOfPrefix(start: string): Buffer {
  const end = Buffer.from(start);
  const last = end.length - 1;
  // UTF-8 never has a byte 255, so the last byte can always be counted up.
  if (last >= 0) end.writeUInt8(end.readUInt8(last) + 1, last);
  return last < 0 ? Buffer.from([0]) : end;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isLeaseMissing(error: unknown): boolean {
  return messageOf(error).includes("requested lease not found");
}

/** By etcd, or before by gRPC on its side. */
function isRequestTooLarge(error: unknown): boolean {
  return /request is too large|received message larger than max/.test(messageOf(error));
}

/** Until space was made and the alarm disarmed, etcd takes reads and removals only. */
function isFull(error: unknown): boolean {
  return messageOf(error).includes("database space exceeded");
}

/** By gRPC on this side. */
function isAnswerTooLarge(error: unknown): boolean {
  return messageOf(error).includes("Received message larger than max");
}

/** Whether a batch was refused for one of its operations: each is then sent by itself, so that the others go on. */
function isOneOperationsFault(error: unknown): boolean {
  return (
    isLeaseMissing(error) ||
    isRequestTooLarge(error) ||
    isFull(error) ||
    isAnswerTooLarge(error) ||
    /INVALID_ARGUMENT|PERMISSION_DENIED/.test(messageOf(error))
  );
}
