import type { Etcd3, IKeyValue } from "etcd3";
import { AbstractStore } from "../core/abstract-store.js";
import { AFTER_USERS } from "../core/keys.js";
import { Operation } from "../core/operation.js";
import { rules } from "../core/options.js";
import {
  type ActivityUpdate,
  conditionHolds,
  type Found,
  isTombstone,
  leadsNowhere,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type StoredRecord,
  touchHolds,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteResult,
} from "../core/record.js";
import type { StoreOptions } from "../core/store-options.js";
import { runInBackground } from "../support/background.js";
import { CleanupTimer } from "../support/cleanup-timer.js";
import { AttemptDeadlines } from "./attempt-deadline.js";
import { isLeaseGranted, isLeaseMissing, isQuotaExceeded, isResponseTooLarge } from "./errors.js";
import { type Lease, LeasePool } from "./lease-pool.js";
import { pagesOf } from "./pages.js";
import { ResponseSizeLimit } from "./response-size.js";
import { claimSweep, type SweepOptions, sweep } from "./sweep.js";
import { type EntryPut, Transactions, type Write, type WriteOutcome } from "./transactions.js";
import { entriesOf, entryIdOf, entryKey } from "./user-entries.js";
import { encodeValue, foundBy, foundIn, type KeyState } from "./value.js";

/** The options of {@link EtcdStore}. */
export interface EtcdStoreOptions extends StoreOptions {
  /** A client of the package `etcd3`. The store does not close it. */
  client: Pick<Etcd3, "kv" | "leaseClient">;
  /**
   * Seconds between cleanups, of which one process does each; 0 turns them off. Leases delete ended sessions without a
   * cleanup, but not in a cluster that changes its leader again and again. @defaultValue `3600`
   */
  cleanupInterval?: number | undefined;
}

const DEFAULT_CLEANUP_SECONDS = 3600;

const MAX_PAGE_RECORDS = 1000;

/** Entries that a process adds between two cleanups of a list. */
const ENTRIES_PER_CLEANUP = 25;
const CLEANUP_TIMEOUT_MS = 10_000;

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
  readonly #sweep: SweepOptions;
  readonly #cleanup: CleanupTimer;
  #isClosed = false;
  /** The entries that this process has added to lists of users. */
  #entriesAdded = 0;
  /** Until when the database is taken to be full, on the clock of `performance.now()`. */
  #fullUntil = 0;

  static {
    clientOf = store => store.#client;
  }

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: EtcdStoreOptions) {
    super(options, {
      client: {
        test: isEtcd3,
        required: true,
        expected:
          "a client of the package `etcd3` (npm install etcd3), new Etcd3(...), and not a namespace of one: that is what `prefix` is for",
      },
      cleanupInterval: rules.interval,
    });
    const { client, cleanupInterval = DEFAULT_CLEANUP_SECONDS } = options;
    this.#client = client;
    this.#transactions = new Transactions(client.kv, this.#responseSize);
    this.#leases = new LeasePool((id, seconds, operation) => this.#grantLease(id, seconds, operation));
    this.#sweep = {
      kv: client.kv,
      transactions: this.#transactions,
      prefix: this.prefix,
      now: () => this._now(),
      isClosed: () => this.#isClosed,
    };
    this.#cleanup = new CleanupTimer(
      cleanupInterval,
      async () => {
        const isOurs = await claimSweep(this.#sweep, cleanupInterval * 1000);
        if (isOurs && !this.#isClosed) await sweep(this.#sweep);
      },
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
      const result = await this.#put(key, { ...over.record, activeAt }, deleteAt, over, operation, entry);
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
    const pages = pagesOf(
      start,
      async range => {
        const request = () => {
          const limit = Math.min(MAX_PAGE_RECORDS, this.#responseSize.maxRecords);
          return this.#client.kv.range({ ...range, limit }, new AttemptDeadlines([operation]).callOptions);
        };
        try {
          return await request();
        } catch (error) {
          if (!isResponseTooLarge(error)) throw error;
          this.#responseSize.tooLarge();
          return await request();
        }
      },
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
        const put = entry && this.#entryPut(write.key, entry, await acquire(entry.deleteAt));
        const outcome = await this.#transactions.write({ ...write, lease, entry: put });
        if (outcome.isDone && entry !== undefined) this.#added(entry);
        return { ...outcome, lease, isRetried: isRepeated || outcome.isRetried };
      } catch (error) {
        if (isQuotaExceeded(error)) this.#fullUntil = performance.now() + FULL_MS;
        if (isRepeated || !isLeaseMissing(error)) throw error;
        // It was revoked, or ended early on a server whose clock is ahead.
        for (const [lease, grant] of used) this.#leases.forget(lease, grant);
      }
    }
  }

  #entryPut(key: string, { user, id, listToken }: UserEntry, lease: string): EntryPut {
    const userKey = this._userKey(user);
    const list =
      listToken === undefined ? undefined : { prefix: entriesOf(userKey), revision: listToken as string };
    return { key: entryKey(userKey, id), value: Buffer.from(key), lease, list };
  }

  protected override async _listUser(user: string, operation: Operation): Promise<UserList> {
    let token: string | undefined;
    const entries: IKeyValue[] = [];
    const pages = pagesOf(entriesOf(this._userKey(user)), async range => {
      const { callOptions } = new AttemptDeadlines([operation]);
      const response = await this.#client.kv.range({ ...range, limit: MAX_PAGE_RECORDS }, callOptions);
      // Of the first page: what is added while the others are read counts as added since.
      token ??= response.header.revision;
      return response;
    });
    for await (const page of pages) entries.push(...page);
    const sessions = await Promise.all(
      entries.map(async entry => {
        const key = entry.value.toString();
        return { key, entryId: entryIdOf(entry), found: await this._read(key, operation) };
      }),
    );
    return { sessions, token };
  }

  protected override async _removeEntries(
    user: string,
    entries: readonly UserSession[],
    operation: Operation,
  ): Promise<void> {
    const keys = entries.map(({ entryId }) => entryKey(this._userKey(user), entryId));
    await this.#transactions.deleteAll(keys, operation);
  }

  /**
   * Of a user who signs in and out often, the entries of ended sessions must not pile up until their leases end: nobody
   * may ever list that user. After every so many entries, whoever has just signed in is looked at.
   */
  #added({ user }: UserEntry): void {
    this.#entriesAdded += 1;
    if (this.#entriesAdded % ENTRIES_PER_CLEANUP !== 0) return;
    const cleaned = this._track(runInBackground(() => this.#removeGarbage(user)));
    cleaned.catch(() => {
      // Garbage does no harm, and its lease ends.
    });
  }

  async #removeGarbage(user: string): Promise<void> {
    const operation = new Operation(CLEANUP_TIMEOUT_MS);
    const { sessions } = await this._listUser(user, operation);
    const garbage = sessions.filter(session => leadsNowhere(session, user));
    if (garbage.length > 0) await this._removeEntries(user, garbage, operation);
  }

  /** Grants a lease and returns its seconds. A lease that exists already counts as granted. */
  async #grantLease(ID: string, TTL: number, operation: Operation): Promise<number> {
    const { leaseClient } = this.#client;
    try {
      await leaseClient.leaseGrant({ ID, TTL }, new AttemptDeadlines([operation]).callOptions);
      return TTL;
    } catch (error) {
      if (!isLeaseGranted(error)) throw error;
    }
    const { callOptions } = new AttemptDeadlines([operation]);
    return Number((await leaseClient.leaseTimeToLive({ ID }, callOptions)).TTL);
  }
}

function isEtcd3(value: unknown): boolean {
  const client = value as (Partial<Etcd3> & { prefix?: Buffer }) | null | undefined;
  const hasServices =
    typeof client?.kv?.txn === "function" && typeof client.leaseClient?.leaseGrant === "function";
  // A namespace has the services of its client, but only its own methods add the prefix.
  return hasServices && !client?.prefix?.length;
}
