import type { IKeyValue } from "etcd3";
import { AbstractStore } from "../core/abstract-store.js";
import { AFTER_USERS } from "../core/keys.js";
import type { Operation } from "../core/operation.js";
import {
  type ActivityUpdate,
  conditionHolds,
  type Found,
  isTombstone,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type StoredRecord,
  touchedRecord,
  touchHolds,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteResult,
} from "../core/record.js";
import { runInBackground } from "../support/background.js";
import { CleanupTimer } from "../support/cleanup-timer.js";
import { AttemptDeadlines } from "./attempt-deadline.js";
import { isLeaseMissing, isQuotaExceeded, isResponseTooLarge } from "./errors.js";
import { type Lease, LeasePool, leaseGranter } from "./lease-pool.js";
import { DEFAULT_CLEANUP_SECONDS, type EtcdStoreOptions, etcdRules } from "./options.js";
import { shortPagesOf } from "./pages.js";
import { ResponseSizeLimit } from "./response-size.js";
import { type SweepOptions, sweep, sweepInTurn } from "./sweep.js";
import { Transactions, type Write, type WriteOutcome } from "./transactions.js";
import { UserEntries } from "./user-entries.js";
import { encodeValue, foundBy, foundIn, type KeyState } from "./value.js";

/**
 * How long removals are plain deletes after a full database rejected a write. A put for each of them would fail, and
 * etcd3 would reject everything after a few failures.
 */
const FULL_MS = 10_000;

/** For the package's own code. */
export let clientOf: (store: EtcdStore) => EtcdStoreOptions["client"];

/**
 * Sessions in etcd: one key each, deleted by shared leases.
 *
 * @example
 * const client = new Etcd3({ hosts: ["https://etcd-0:2379", "https://etcd-1:2379", "https://etcd-2:2379"] });
 * app.use(session({ store: new EtcdStore({ client }), secret, resave: false, saveUninitialized: false }));
 */
export class EtcdStore extends AbstractStore {
  readonly #client: EtcdStoreOptions["client"];
  readonly #responseSize = new ResponseSizeLimit();
  readonly #transactions: Transactions;
  readonly #leases: LeasePool;
  readonly #users: UserEntries;
  readonly #sweep: SweepOptions;
  readonly #cleanup: CleanupTimer;
  #isClosed = false;
  /** Until when the database is taken to be full, on the clock of `performance.now()`. */
  #fullUntil = 0;

  static {
    clientOf = store => store.#client;
  }

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: EtcdStoreOptions) {
    super(options, etcdRules);
    const { client, cleanupInterval = DEFAULT_CLEANUP_SECONDS } = options;
    this.#client = client;
    this.#transactions = new Transactions(client.kv, this.#responseSize);
    this.#leases = new LeasePool(leaseGranter(client));
    this.#users = new UserEntries({
      kv: client.kv,
      transactions: this.#transactions,
      userKeyOf: user => this._userKey(user),
      read: (key, operation) => this._read(key, operation),
      track: work => this._track(work),
    });
    this.#sweep = {
      kv: client.kv,
      transactions: this.#transactions,
      prefix: this.prefix,
      now: () => this._now(),
      isClosed: () => this.#isClosed,
    };
    this.#cleanup = new CleanupTimer(
      cleanupInterval,
      () => sweepInTurn(this.#sweep, cleanupInterval * 1000),
      error => {
        // The client may be closed by then.
        if (!this.#isClosed) this._reportError(error);
      },
    );
  }

  /**
   * Deletes the sessions that ended more than an hour ago and that etcd's leases left in place. Lists all keys of the
   * prefix, slowly. Returns how many it deleted.
   */
  async cleanup(): Promise<number> {
    this._assertOpen();
    return await this._track(runInBackground(() => sweep(this.#sweep)));
  }

  protected override async _read(key: string, operation: Operation): Promise<Found | undefined> {
    const kv = await this.#transactions.read(key, operation);
    return kv && this.#found(kv);
  }

  /** Over exactly what the token stands for: a tombstone may have been destroyed and restored in between. */
  protected override async _write(
    key: string,
    { record, condition, deleteAt, entry }: RecordWrite,
    operation: Operation,
  ): Promise<WriteResult> {
    if (condition.absent) return await this.#put(key, record, deleteAt, undefined, operation, entry);
    const { token } = condition;
    const over = token === undefined ? await this._read(key, operation) : foundBy(token as KeyState);
    if (!conditionHolds(over, condition)) {
      return { written: false, current: token === undefined ? over : await this._read(key, operation) };
    }
    try {
      return await this.#put(key, record, deleteAt, over?.token as KeyState, operation, entry);
    } catch (error) {
      if (!isTombstone(record) || !isQuotaExceeded(error)) throw error;
    }
    // As for a removal. Nobody can change the record in between, since the database takes no other writes.
    const current = await this._read(key, operation);
    if (!conditionHolds(current, condition)) return { written: false, current };
    await this.#transactions.delete(key, operation);
    return { written: true };
  }

  /** Ends, because each rejection means that another write was accepted. */
  protected override async _touch(
    key: string,
    touch: ActivityUpdate,
    operation: Operation,
  ): Promise<WriteResult> {
    const { activeAt, deleteAt, seen, entry } = touch;
    let retried = false;
    let current = seen?.token === undefined ? undefined : foundBy(seen.token as KeyState);
    if (!touchHolds(current, touch)) current = await this._read(key, operation);
    while (touchHolds(current, touch)) {
      operation.throwIfAbandoned();
      const over = current.token as KeyState;
      const record = touchedRecord(over.record, activeAt);
      const result = await this.#put(key, record, deleteAt, over, operation, entry);
      if (result.written) return result;
      current = result.current;
      retried ||= result.retried === true;
    }
    return { written: false, current, retried };
  }

  protected override async _remove(key: string, removal: Removal, operation: Operation): Promise<void> {
    const { tombstone, id, deleteAt } = removal;
    const write = { key, value: encodeValue(tombstone, id), removalId: id, operation };
    try {
      if (performance.now() >= this.#fullUntil) {
        await this.#onLease(write, deleteAt, undefined);
        return;
      }
    } catch (error) {
      if (!isQuotaExceeded(error)) throw error;
    }
    // A full database takes no tombstone. To end the session now matters more than to reject late requests.
    await this.#transactions.delete(key, operation);
  }

  protected override async *_scan(start: string, operation: Operation): AsyncGenerator<ScannedRecord[]> {
    const maxRecords = () => this.#responseSize.maxRecords;
    const pages = shortPagesOf(
      start,
      async range => {
        const request = (limit: number | string) => {
          const { callOptions } = new AttemptDeadlines([operation]);
          return this.#client.kv.range({ ...range, limit }, callOptions);
        };
        try {
          return await request(range.limit ?? maxRecords());
        } catch (error) {
          if (!isResponseTooLarge(error)) throw error;
          this.#responseSize.tooLarge();
          return await request(maxRecords());
        }
      },
      maxRecords,
      start === this._keyPrefix ? AFTER_USERS : "",
    );
    for await (const page of pages) yield page.map(kv => ({ key: kv.key.toString(), ...this.#found(kv) }));
  }

  protected override async _close(): Promise<void> {
    this.#isClosed = true;
    this.#cleanup.stop();
  }

  #found(kv: IKeyValue): Found {
    this.#responseSize.observe(kv.value.length);
    return foundIn(kv);
  }

  /** Puts a record over one whose state is known; if that is left out, where nothing is stored. */
  async #put(
    key: string,
    record: StoredRecord,
    deleteAt: number,
    over: KeyState | undefined,
    operation: Operation,
    entry?: UserEntry,
  ): Promise<WriteResult> {
    const removalId = over?.removalId;
    const write = { key, value: encodeValue(record, removalId), revision: over?.revision, operation };
    const outcome = await this.#onLease(write, deleteAt, over?.lease, entry);
    const { isDone, revision, lease, current, isRetried } = outcome;
    if (isDone) return { written: true, token: { record, revision, lease, removalId } satisfies KeyState };
    const listChanged = current?.mod_revision === over?.revision;
    return { written: false, current: current && this.#found(current), retried: isRetried, listChanged };
  }

  /** @param current - the lease that the key is on, if it is known */
  async #onLease(
    write: Write,
    deleteAt: number,
    current: string | undefined,
    entry?: UserEntry,
  ): Promise<WriteOutcome & { lease: string }> {
    this.#cleanup.start();
    const { operation } = write;
    for (let isRepeated = false; ; isRepeated = true) {
      const used: [Lease, Lease["grant"]][] = [];
      const acquire = async (until: number, currentLease?: string) => {
        const now = this._now();
        const lease = await this.#leases.acquire(Math.max(until, now), now, currentLease, operation);
        used.push([lease, lease.grant]);
        return lease.id;
      };
      try {
        const lease = await acquire(deleteAt, current);
        const put = entry && this.#users.putOf(write.key, entry, await acquire(entry.deleteAt));
        const outcome = await this.#transactions.write({ ...write, lease, entry: put });
        if (outcome.isDone && entry !== undefined) this.#users.added(entry);
        return { ...outcome, lease, isRetried: isRepeated || outcome.isRetried };
      } catch (error) {
        if (isQuotaExceeded(error)) this.#fullUntil = performance.now() + FULL_MS;
        if (isRepeated || !isLeaseMissing(error)) throw error;
        // It was revoked, or ended early on a server whose clock is ahead.
        for (const [lease, grant] of used) this.#leases.forget(lease, grant);
      }
    }
  }

  protected override _listUser(user: string, operation: Operation): Promise<UserList> {
    return this.#users.list(user, operation);
  }

  protected override _removeEntries(
    user: string,
    entries: readonly UserSession[],
    operation: Operation,
  ): Promise<void> {
    return this.#users.remove(user, entries, operation);
  }
}
