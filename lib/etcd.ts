import type { Etcd3, IKeyValue, IRequestOp, IResponseOp } from "etcd3";
import { AbstractStore } from "./abstract-store.js";
import { tooLarge } from "./errors.js";
import { type Batchable, Batcher } from "./internal/batch.js";
import { type LeaseWindow, LeaseWindows, leaseWindowOf } from "./internal/lease-windows.js";
import type { Operation } from "./internal/operation.js";
import {
  canExtend,
  decodeRecord,
  type Extension,
  encodeRecord,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
  type WriteResult,
} from "./internal/record.js";
import type { StoreOptions } from "./internal/store-options.js";

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

/** gRPC refuses answers over 4 MiB, and etcd3 then refuses everything for 5 s: answers are kept well below. */
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;
const PAGE_BYTES = 1024 * 1024;
const MAX_PAGE_RECORDS = 1000;
const FIRST_PAGE_RECORDS = 50;

/** Requests under way at once. More would not be faster, since each then gathers less. */
const READ_REQUESTS = 4;
const WRITE_REQUESTS = 4;

/** One operation on its way to etcd. */
class KeyOperation implements Batchable {
  readonly key: string;
  readonly request: IRequestOp;
  readonly size: number;
  readonly operation: Operation;

  constructor(key: string, request: IRequestOp, size: number, operation: Operation) {
    this.key = key;
    this.request = request;
    this.size = size;
    this.operation = operation;
  }

  get ended(): boolean {
    return this.operation.ended;
  }
}

/** What is stored under a key, and the revision that a later condition names. */
interface Known {
  stored: StoredRecord;
  revision: string;
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
  readonly #reads: Batcher<KeyOperation, IResponseOp>;
  readonly #writes: Batcher<KeyOperation, IResponseOp>;
  readonly #leases: LeaseWindows;
  readonly #known = new WeakMap<StoredRecord, Known>();
  /** The largest record seen: how many fit into an answer. */
  #largestBytes = 1024;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: EtcdStoreOptions) {
    super(options, {
      client: {
        test: isEtcd3,
        required: true,
        expected: "a client of the package `etcd3` (npm install etcd3): new Etcd3(...)",
      },
    });
    this.#client = options.client;
    const send = (operations: KeyOperation[]) => this.#send(operations);
    const shared = { send, isolate: isOneOperationsFault };
    this.#reads = new Batcher({ ...shared, repeatKeys: true, limits: () => this.#limits(READ_REQUESTS) });
    this.#writes = new Batcher({ ...shared, repeatKeys: false, limits: () => this.#limits(WRITE_REQUESTS) });
    this.#leases = new LeaseWindows(async (ID, TTL, operation) => {
      try {
        await this.#client.leaseClient.leaseGrant({ ID, TTL }, callOptions(operation));
      } catch (error) {
        if (!messageOf(error).includes("lease already exists")) throw error;
      }
    });
  }

  protected override async _read(key: string, operation: Operation): Promise<StoredRecord | undefined> {
    const request = rangeOf(key);
    const answer = await this.#reads.add(new KeyOperation(key, request, key.length, operation));
    return this.#recordOf(answer.response_range.kvs[0]);
  }

  protected override async _write(
    key: string,
    record: StoredRecord,
    expected: StoredRecord | undefined,
    operation: Operation,
  ): Promise<WriteResult> {
    const revision = expected === undefined ? undefined : this.#known.get(expected)?.revision;
    const written = await this.#put(key, record, revision, operation);
    if (written.revision === undefined) return { written: false, current: written.current };
    this.#known.set(record, { stored: record, revision: written.revision });
    return { written: true };
  }

  protected override async _extend(
    key: string,
    extension: Extension,
    seen: StoredRecord | undefined,
    operation: Operation,
  ): Promise<boolean> {
    const { expiresAt, slack } = extension;
    const known = seen && this.#known.get(seen);
    let current = known?.stored ?? (await this._read(key, operation));
    let revision = known?.revision ?? this.#revisionOf(current);
    // Ends when the put is accepted or the record is gone; each refusal means that another's write was accepted.
    while (canExtend(current, extension)) {
      operation.throwIfEnded();
      const stored: StoredRecord = { ...current, expiresAt, slack };
      const written = await this.#put(key, stored, revision, operation);
      if (written.revision !== undefined) {
        // Only if it is still the record that was seen: else its next save must find out that it changed.
        if (seen?.version === stored.version) this.#known.set(seen, { stored, revision: written.revision });
        return true;
      }
      current = written.current;
      revision = this.#revisionOf(current);
    }
    return false;
  }

  protected override async _remove(key: string, operation: Operation): Promise<void> {
    const request: IRequestOp = { request_delete_range: { key: Buffer.from(key) } };
    await this.#writes.add(new KeyOperation(key, request, key.length, operation));
  }

  protected override async *_scan(
    start: string,
    operation: () => Operation,
  ): AsyncGenerator<ScannedRecord[]> {
    const end = endOfPrefix(start);
    let from = start === "" ? Buffer.from([0]) : Buffer.from(start);
    let limit = Math.min(FIRST_PAGE_RECORDS, this.#recordsIn(PAGE_BYTES));
    for (;;) {
      const { kvs, more } = await this.#client.kv
        .range({ key: from, range_end: end, limit }, callOptions(operation()))
        .catch(error => {
          // Remembered, so that the next listing asks for less.
          if (isAnswerTooLarge(error)) this.#largestBytes = Math.ceil((2 * MAX_ANSWER_BYTES) / limit);
          throw error;
        });
      yield kvs.map(kv => ({ key: kv.key.toString(), record: this.#recordOf(kv) as StoredRecord }));
      const last = kvs.at(-1);
      if (!more || last === undefined) return;
      from = Buffer.concat([last.key, Buffer.from([0])]);
      limit = Math.min(limit * 4, this.#recordsIn(PAGE_BYTES), MAX_PAGE_RECORDS);
    }
  }

  /** Puts a record under the lease of its window, if the key still has `revision`; else returns what it has. */
  async #put(
    key: string,
    record: StoredRecord,
    revision: string | undefined,
    operation: Operation,
  ): Promise<{ revision: string } | { revision: undefined; current: StoredRecord | undefined }> {
    const value = Buffer.from(encodeRecord(record));
    const size = key.length + value.length + REQUEST_OVERHEAD_BYTES;
    if (size > MAX_REQUEST_BYTES)
      throw tooLarge(value.length, MAX_REQUEST_BYTES, "etcd's limit for a request");
    this.#noteSize(value.length);
    const window = leaseWindowOf(this.prefix, key, record.expiresAt, this._now());
    const send = async () => {
      await this.#leases.ensure(window, this._now(), operation);
      const put: IRequestOp = { request_put: { key: Buffer.from(key), value, lease: window.id } };
      const request = revision === undefined ? put : ifRevision(key, revision, put);
      return await this.#writes.add(new KeyOperation(key, request, size, operation));
    };
    const answer = await send().catch(error => this.#retryWithLease(error, window, send));
    if (answer.response_put) return { revision: answer.response_put.header.revision };
    const { succeeded, responses } = answer.response_txn;
    if (succeeded) return { revision: (responses[0] as IResponseOp).response_put.header.revision };
    return { revision: undefined, current: this.#recordOf(responses[0]?.response_range.kvs[0]) };
  }

  /** A lease may have been revoked, or have run out early on a server whose clock is ahead: once more, with a new one. */
  #retryWithLease<T>(error: unknown, window: LeaseWindow, send: () => Promise<T>): Promise<T> {
    if (!isLeaseMissing(error)) throw error;
    this.#leases.forget(window);
    return send();
  }

  async #send(operations: KeyOperation[]): Promise<IResponseOp[]> {
    const options = callOptions(...operations.map(({ operation }) => operation));
    const [first, ...more] = operations as [KeyOperation, ...KeyOperation[]];
    try {
      if (more.length === 0 && first.request.request_txn !== undefined) {
        const answer = await this.#client.kv.txn(first.request.request_txn, options);
        return [{ response_txn: answer } as IResponseOp];
      }
      const answer = await this.#client.kv.txn(
        { success: operations.map(({ request }) => request) },
        options,
      );
      return answer.responses;
    } catch (error) {
      if (more.length === 0 && messageOf(error).includes("request is too large")) {
        throw tooLarge(
          first.size,
          MAX_REQUEST_BYTES,
          "etcd's default limit for a request (this server's may be lower)",
        );
      }
      throw error;
    }
  }

  #limits(requests: number) {
    return {
      requests,
      bytes: MAX_TXN_BYTES,
      items: Math.min(MAX_TXN_OPERATIONS, this.#recordsIn(MAX_ANSWER_BYTES)),
    };
  }

  #recordsIn(bytes: number): number {
    return Math.max(1, Math.floor(bytes / this.#largestBytes));
  }

  #noteSize(bytes: number): void {
    if (bytes > this.#largestBytes) this.#largestBytes = bytes;
  }

  #recordOf(kv: IKeyValue | undefined): StoredRecord | undefined {
    if (kv === undefined) return undefined;
    this.#noteSize(kv.value.length);
    const record = decodeRecord(kv.value.toString());
    if (record !== UNREADABLE) this.#known.set(record, { stored: record, revision: kv.mod_revision });
    return record;
  }

  #revisionOf(record: StoredRecord | undefined): string | undefined {
    return record && this.#known.get(record)?.revision;
  }
}

function isEtcd3(value: unknown): boolean {
  const client = value as Partial<Etcd3> | null | undefined;
  return typeof client?.kv?.txn === "function" && typeof client.leaseClient?.leaseGrant === "function";
}

function rangeOf(key: string): IRequestOp {
  return { request_range: { key: Buffer.from(key) } };
}

/** Does `request` if the key has not been written since `revision`, else reads it. */
function ifRevision(key: string, revision: string, request: IRequestOp): IRequestOp {
  return {
    request_txn: {
      compare: [{ key: Buffer.from(key), target: "Mod", result: "Equal", mod_revision: revision }],
      success: [request],
      failure: [rangeOf(key)],
    },
  };
}

/** The first key after all that begin with `start`; a zero byte means the end of all keys. */
function endOfPrefix(start: string): Buffer {
  const end = Buffer.from(start);
  const last = end.length - 1;
  // UTF-8 never has a byte 255, so the last byte can always be counted up.
  if (last >= 0) end.writeUInt8(end.readUInt8(last) + 1, last);
  return last < 0 ? Buffer.from([0]) : end;
}

/** Lets gRPC give up when nobody waits any more. */
function callOptions(...operations: Operation[]) {
  return { deadline: Math.max(...operations.map(({ deadline }) => deadline)) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isLeaseMissing(error: unknown): boolean {
  return messageOf(error).includes("requested lease not found");
}

function isAnswerTooLarge(error: unknown): boolean {
  return messageOf(error).includes("Received message larger than max");
}

/** Whether a batch was refused for one of its operations: each is then sent by itself, so that the others go on. */
function isOneOperationsFault(error: unknown): boolean {
  return (
    isLeaseMissing(error) ||
    isAnswerTooLarge(error) ||
    /INVALID_ARGUMENT|PERMISSION_DENIED/.test(messageOf(error))
  );
}
