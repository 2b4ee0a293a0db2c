import type { Etcd3, IKeyValue } from "etcd3";
import { Operation } from "../core/operation.js";
import { type Found, leadsNowhere, type UserEntry, type UserList, type UserSession } from "../core/record.js";
import { runInBackground } from "../support/background.js";
import { AttemptDeadlines } from "./attempt-deadline.js";
import { pagesOf } from "./pages.js";
import type { EntryPut, Transactions } from "./transactions.js";

/*
 * The entries of a user: a key each, whose value is the key of the session. They are on leases of their own, since a
 * touch moves the session to a later lease, and the entry must not end first.
 */

/** Ends the user in the key of an entry. No character of a user. */
const SEPARATOR = "!";

const PAGE_ENTRIES = 1000;

/** Entries that a process adds between two cleanups of a list. */
const ENTRIES_PER_CLEANUP = 25;
const CLEANUP_TIMEOUT_MS = 10_000;

export interface UserEntriesOptions {
  readonly kv: Etcd3["kv"];
  readonly transactions: Transactions;
  /** A key for the list of a user. */
  userKeyOf(user: string): string;
  /** Reads the record of a session. */
  read(key: string, operation: Operation): Promise<Found | undefined>;
  /** The store waits for this work when it is closed. */
  track(work: Promise<void>): Promise<void>;
}

/** The lists of users. */
export class UserEntries {
  readonly #options: UserEntriesOptions;
  /** The entries that this process has added. */
  #addedCount = 0;

  constructor(options: UserEntriesOptions) {
    this.#options = options;
  }

  async list(user: string, operation: Operation): Promise<UserList> {
    const { kv, userKeyOf, read } = this.#options;
    let token: string | undefined;
    const entries: IKeyValue[] = [];
    const pages = pagesOf(entriesOf(userKeyOf(user)), async range => {
      const { callOptions } = new AttemptDeadlines([operation]);
      const response = await kv.range({ ...range, limit: PAGE_ENTRIES }, callOptions);
      // Of the first page: what is added while the others are read counts as added since.
      token ??= response.header.revision;
      return response;
    });
    for await (const page of pages) entries.push(...page);
    const sessions = await Promise.all(
      entries.map(async entry => {
        const key = entry.value.toString();
        return { key, entryId: entryIdOf(entry), found: await read(key, operation) };
      }),
    );
    return { sessions, token };
  }

  /** The put of an entry that leads to the session with this key. */
  putOf(key: string, { user, id, listToken }: UserEntry, lease: string): EntryPut {
    const userKey = this.#options.userKeyOf(user);
    const list =
      listToken === undefined ? undefined : { prefix: entriesOf(userKey), revision: listToken as string };
    return { key: entryKey(userKey, id), value: Buffer.from(key), lease, list };
  }

  async remove(user: string, entries: readonly UserSession[], operation: Operation): Promise<void> {
    const { transactions, userKeyOf } = this.#options;
    const keys = entries.map(({ entryId }) => entryKey(userKeyOf(user), entryId));
    await transactions.deleteAll(keys, operation);
  }

  /**
   * Call it for each entry that was put. After every so many entries, garbage of the user who has just signed in is
   * removed. Nobody may ever list a user who signs in and out often. The entries of ended sessions would pile up until
   * their leases end.
   */
  added({ user }: UserEntry): void {
    this.#addedCount += 1;
    if (this.#addedCount % ENTRIES_PER_CLEANUP !== 0) return;
    const cleaned = this.#options.track(runInBackground(() => this.#removeGarbage(user)));
    cleaned.catch(() => {
      // Garbage does no harm, and its lease ends.
    });
  }

  async #removeGarbage(user: string): Promise<void> {
    const operation = new Operation(CLEANUP_TIMEOUT_MS);
    const { sessions } = await this.list(user, operation);
    const garbage = sessions.filter(session => leadsNowhere(session, user));
    if (garbage.length > 0) await this.remove(user, garbage, operation);
  }
}

/** @param userKey - the key for the user's list */
function entriesOf(userKey: string): string {
  return userKey + SEPARATOR;
}

function entryKey(userKey: string, id: string): string {
  return entriesOf(userKey) + id;
}

function entryIdOf({ key }: IKeyValue): string {
  const text = key.toString();
  return text.slice(text.lastIndexOf(SEPARATOR) + 1);
}

/** Whether a key looks like an entry: it leads to a session of the same prefix. */
export function isUserEntry({ key, value }: IKeyValue): boolean {
  const [, prefix] = /^(.*)![^!]+![^!]+$/s.exec(key.toString()) ?? [];
  return prefix !== undefined && value.toString().startsWith(prefix);
}
