import type { Etcd3, IKeyValue, IRequestOp, IResponseOp } from "etcd3";
import { AbstractStore } from "./abstract-store.js";
import { tooLarge } from "./errors.js";
import { AnswerBudget } from "./internal/answer-budget.js";
import { Attempts } from "./internal/attempts.js";
import { type Batchable, Batcher } from "./internal/batch.js";
import { LeaseWindows, leaseWindowOf } from "./internal/lease-windows.js";
import type { Operation } from "./internal/operation.js";
import {
  canExtend,
  decodeRecord,
  type Expected,
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

const MAX_PAGE_RECORDS = 1000;

const NO_BYTES = Buffer.alloc(0);

/** No key ever has it. */
const NO_REVISION = "-1";

/** What follows the prefix in the key of the fence: no key of a session ends like this. */
const FENCE = "fence!";

/** The revision of a key that does not exist. */
const ABSENT = "0";

/** Requests under way at once. More would not be faster, since each then gathers less. */
const READ_REQUESTS = 4;
const WRITE_REQUESTS = 4;

/** One operation on its way to etcd. */
interface KeyOperation extends Batchable {
  readonly request: IRequestOp;
  readonly operation: Operation;
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
  readonly #answers = new AnswerBudget();
  /**
   * A put without a condition that etcd did not answer may still be on its way, in the queue of a member that hangs.
   * When it arrives, the session may have been destroyed meanwhile, and would be back. So such puts are done only if a
   * key, the fence, has the revision that it had when they were sent; and after one that may be late the fence is
   * written before the next is acknowledged. In quiet times the key does not exist.
   */
  readonly #fenceKey: Buffer;
  #fence = ABSENT;
  #mayBeLate = false;

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
    const send = (operations: KeyOperation[]) => this.#send(operations);
    const shared = { send, isolate: isOneOperationsFault };
    this.#reads = new Batcher({
      ...shared,
      repeatKeys: true,
      limits: () => ({
        items: Math.min(MAX_TXN_OPERATIONS, this.#answers.records),
        bytes: MAX_TXN_BYTES,
        requests: READ_REQUESTS,
      }),
    });
    this.#writes = new Batcher({
      ...shared,
      repeatKeys: false,
      limits: () => ({ items: MAX_TXN_OPERATIONS, bytes: MAX_TXN_BYTES, requests: WRITE_REQUESTS }),
    });
    this.#leases = new LeaseWindows(async (ID, TTL, operation) => {
      try {
        await this.#client.leaseClient.leaseGrant({ ID, TTL }, new Attempts([operation]).callOptions);
      } catch (error) {
        if (!messageOf(error).includes("lease already exists")) throw error;
      }
    });
  }

  protected override async _read(key: string, operation: Operation): Promise<StoredRecord | undefined> {
    const answer = await this.#reads.add({ key, request: rangeOf(key), size: key.length, operation });
    return this.#recordOf(answer.response_range.kvs[0]);
  }

  protected override async _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
    operation: Operation,
  ): Promise<WriteResult> {
    // Its revision stands for the version and for the expiry: a touch moves it as well.
    const revision = expected && (this.#known.get(expected.seen)?.revision ?? NO_REVISION);
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
    let current = seen && this.#known.get(seen)?.stored;
    let revision = seen && this.#known.get(seen)?.revision;
    if (!canExtend(current, extension)) {
      // Not seen yet, or seen when it ended earlier or later: another may have touched it since.
      current = await this._read(key, operation);
      revision = this.#revisionOf(current);
    }
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
    await this.#writes.add({ key, request, size: key.length, operation });
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
    this.#answers.note(value.length);
    const window = leaseWindowOf(this.prefix, key, record.expiresAt, this._now());
    const send = async (attempt: number): Promise<IResponseOp> => {
      const grant = await this.#leases.ensure(window, this._now(), operation);
      const put: IRequestOp = { request_put: { key: Buffer.from(key), value, lease: window.id } };
      const request = revision === undefined ? put : ifRevision(key, revision, put);
      try {
        return await this.#writes.add({ key, request, size, operation });
      } catch (error) {
        // Revoked, or run out early on a server whose clock is ahead: once more, with a new one.
        if (!isLeaseMissing(error) || attempt > 1) throw error;
        this.#leases.forget(window, grant);
        return send(attempt + 1);
      }
    };
    const answer = await send(1);
    if (answer.response_put) return { revision: answer.response_put.header.revision };
    const { succeeded, responses } = answer.response_txn;
    if (succeeded) return { revision: (responses[0] as IResponseOp).response_put.header.revision };
    return { revision: undefined, current: this.#recordOf(responses[0]?.response_range.kvs[0]) };
  }

  async #send(operations: KeyOperation[]): Promise<IResponseOp[]> {
    const [first, ...more] = operations as [KeyOperation, ...KeyOperation[]];
    const requests = operations.map(({ request }) => request);
    try {
      if (requests.some(({ request_put }) => request_put))
        return await this.#sendFenced(requests, operations);
      const { callOptions } = new Attempts(operations.map(({ operation }) => operation));
      if (more.length === 0 && first.request.request_txn !== undefined) {
        const answer = await this.#client.kv.txn(first.request.request_txn, callOptions);
        return [{ response_txn: answer } as IResponseOp];
      }
      const answer = await this.#client.kv.txn({ success: requests }, callOptions);
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

  /** For requests of which some are puts without a condition. */
  async #sendFenced(success: IRequestOp[], operations: KeyOperation[]): Promise<IResponseOp[]> {
    const waiting = operations.map(({ operation }) => operation);
    // Ends when the fence is as expected; each refusal means that somebody wrote it.
    for (;;) {
      const attempts = new Attempts(waiting);
      const compare = [
        { key: this.#fenceKey, target: "Mod", result: "Equal", mod_revision: this.#fence } as const,
      ];
      const request = { compare, success, failure: [{ request_range: { key: this.#fenceKey } }] };
      const answer = await this.#client.kv.txn(request, attempts.callOptions).catch(error => {
        if (attempts.count > 1 || !isOneOperationsFault(error)) this.#mayBeLate = true;
        throw error;
      });
      if (attempts.count > 1) this.#mayBeLate = true;
      if (answer.succeeded) {
        if (this.#mayBeLate) await this.#writeFence(waiting);
        return answer.responses;
      }
      this.#fence = answer.responses[0]?.response_range.kvs[0]?.mod_revision ?? ABSENT;
    }
  }

  async #writeFence(waiting: Operation[]): Promise<void> {
    const { callOptions } = new Attempts(waiting);
    const { header } = await this.#client.kv.put({ key: this.#fenceKey, value: NO_BYTES }, callOptions);
    this.#fence = header.revision;
    this.#mayBeLate = false;
  }

  #recordOf(kv: IKeyValue | undefined): StoredRecord | undefined {
    if (kv === undefined) return undefined;
    this.#answers.note(kv.value.length);
    const record = decodeRecord(kv.value.toString());
    if (record !== UNREADABLE) this.#known.set(record, { stored: record, revision: kv.mod_revision });
    return record;
  }

  #revisionOf(record: StoredRecord | undefined): string | undefined {
    return record && this.#known.get(record)?.revision;
  }
}

function isEtcd3(value: unknown): boolean {
  const client = value as (Partial<Etcd3> & { prefix?: Buffer }) | null | undefined;
  const hasServices =
    typeof client?.kv?.txn === "function" && typeof client.leaseClient?.leaseGrant === "function";
  // A namespace has the services of its client, but only its own methods add the prefix.
  return hasServices && !client?.prefix?.length;
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
