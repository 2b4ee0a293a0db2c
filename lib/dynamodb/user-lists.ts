import type { Operation } from "../core/operation.js";
import {
  leadsNowhere,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteResult,
} from "../core/record.js";
import type { ItemReader } from "./batch-get.js";
import {
  errorName,
  isCanceled,
  isReasonRefused,
  isReasonTooLarge,
  isRefused,
  isRepeated,
  noTransactions,
  tooManySessions,
} from "./errors.js";
import type { DynamoDBItems } from "./items.js";
import { lib } from "./sdk.js";
import { readSettled } from "./settled-reads.js";
import type { Table } from "./table.js";
import { garbageOf, MAX_REMOVED, type TransactItem, type UserItem, UserItems } from "./user-items.js";

export interface UserListsOptions {
  readonly table: Table;
  readonly items: DynamoDBItems;
  /** Reads consistently, whatever the option `consistentRead` says. */
  readonly reader: ItemReader;
  /** A key for the list of a user. */
  userKeyOf(user: string): string;
  now(): number;
}

/** Reads and changes the lists of users. */
export class UserLists {
  readonly #options: UserListsOptions;
  readonly #users: UserItems;

  constructor(options: UserListsOptions) {
    this.#options = options;
    this.#users = new UserItems(options.table, options.items);
  }

  async list(user: string, operation: Operation): Promise<UserList> {
    const item = await this.#read(this.#options.userKeyOf(user), operation);
    return { sessions: await this.#sessionsOf(user, item, operation), token: item.revision };
  }

  /** Writes to a session and adds an entry to the list of its user, in one transaction. */
  async writeWithEntry(
    write: TransactItem,
    key: string,
    entry: UserEntry,
    operation: Operation,
  ): Promise<WriteResult> {
    const { table, reader, userKeyOf, now } = this.#options;
    const userKey = userKeyOf(entry.user);
    let keepsTtl = false;
    let retried = false;
    // Terminates: every rejection means that another write to the user's item was accepted.
    for (;;) {
      const update = this.#users.addition(userKey, key, entry, now(), keepsTtl);
      const transaction = new lib.TransactWriteCommand({ TransactItems: [write, { Update: update }] });
      try {
        await table.send(transaction, operation);
        return { written: true };
      } catch (error) {
        if (errorName(error) === "UnknownOperationException") throw noTransactions(error);
        if (!isCanceled(error)) throw error;
        retried ||= isRepeated(error);
        const [ofSession, ofUser] = error.CancellationReasons ?? [];
        if (isReasonTooLarge(ofUser)) throw tooManySessions(error);
        if (isReasonRefused(ofSession)) {
          const current = await reader.currentOf(key, ofSession.Item, operation);
          return { written: false, current, retried };
        }
        if (!isReasonRefused(ofUser)) throw error;
      }
      operation.throwIfAbandoned();
      const user = await this.#read(userKey, operation);
      if (entry.listToken !== undefined && entry.listToken !== user.revision) {
        return { written: false, current: undefined, retried, listChanged: true };
      }
      keepsTtl = this.#users.keepsTtl(user, entry, now());
      if (this.#users.needsCleanup(user)) await this.#removeGarbage(entry.user, user, operation);
    }
  }

  async remove(user: string, entries: readonly UserSession[], operation: Operation): Promise<void> {
    const { table, userKeyOf } = this.#options;
    const ids = entries.map(({ entryId }) => entryId);
    do {
      const update = this.#users.removal(userKeyOf(user), ids.splice(-MAX_REMOVED));
      await table.send(new lib.UpdateCommand(update), operation).catch(error => {
        if (!isRefused(error)) throw error;
      });
    } while (ids.length > 0);
  }

  /** Removes the entries that lead to no session, so that the item of a user who is never listed does not grow. */
  async #removeGarbage(user: string, item: UserItem, operation: Operation): Promise<void> {
    const garbage = garbageOf(await this.#sessionsOf(user, item, operation), user, item);
    await this.remove(user, garbage.slice(0, MAX_REMOVED), operation);
  }

  async #read(userKey: string, operation: Operation): Promise<UserItem> {
    const { Item } = await this.#options.table.get(userKey, true, operation);
    return this.#users.itemOf(Item);
  }

  /**
   * The entries of an item with what is stored under their keys. What seems to lead to no session is read again: it may
   * be a sign-in whose entry can be read already and whose session cannot.
   */
  async #sessionsOf(user: string, { entries }: UserItem, operation: Operation): Promise<UserSession[]> {
    const { table, items, reader } = this.#options;
    const sessions = await Promise.all(
      [...entries].map(async ([entryId, { key }]) => {
        return { key, entryId, found: await reader.read(key, operation) };
      }),
    );
    const doubtful = new Set(sessions.filter(session => leadsNowhere(session, user)).map(({ key }) => key));
    if (doubtful.size === 0) return sessions;
    const settled = await readSettled(table, items, [...doubtful], operation);
    return sessions.map(session =>
      settled.has(session.key) ? { ...session, found: settled.get(session.key) } : session,
    );
  }
}
