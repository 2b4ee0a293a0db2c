import type { TransactWriteCommandInput } from "@aws-sdk/lib-dynamodb";
import { leadsNowhere, type UserEntry, type UserSession } from "../core/record.js";
import { type DynamoDBItems, type ReturnedItem, ttlOf } from "./items.js";
import type { Table } from "./table.js";

/*
 * The list of a user is one item: an attribute for each entry, whose value is the key of the session and the second in
 * which the entry was added, and two counts.
 * A secondary index would be read too late: it follows the table with a delay, also for consistent reads.
 */

const ENTRY_MARK = "u:";
/** Counts the sign-ins: the token of the list. */
const REVISION = "u#rev";
/** The entries that were added since garbage was last removed. */
const ADDED = "u#added";

/** When so many entries were added, the next sign-in removes garbage first. */
const MAX_ADDED = 25;

/** How much later than another entry its renewal was added, at least. Twice the grace period. */
const MIN_RENEWED_SECONDS = 120;

/** Attributes that one update removes. DynamoDB's limit is 300 operators, in 4 KB. */
export const MAX_REMOVED = 100;

/**
 * An item stays for two to three months after the last sign-in, or longer if a session does. So all sign-ins of a month
 * come to the same time, and mostly none has to compare it with what is stored.
 */
const MONTH_MS = 30 * 24 * 60 * 60_000;

export type TransactItem = NonNullable<TransactWriteCommandInput["TransactItems"]>[number];
type Update = NonNullable<TransactItem["Update"]>;

/** The item of a user, as it was read. */
export interface UserItem {
  readonly revision: number;
  readonly ttl: number;
  readonly added: number;
  /** The entries by their ids. */
  readonly entries: ReadonlyMap<string, AddedEntry>;
}

/** An entry that leads to the session with this key. */
interface AddedEntry {
  readonly key: string;
  /** In epoch seconds. */
  readonly addedAt: number;
}

/** The mapping between the lists of users and the items of a table. */
export class UserItems {
  readonly #table: Table;
  readonly #items: DynamoDBItems;

  constructor(table: Table, items: DynamoDBItems) {
    this.#table = table;
    this.#items = items;
  }

  itemOf(item: ReturnedItem | undefined): UserItem {
    const { ttl } = this.#table.attributes;
    const number = (name: string) => this.#items.numberOf(item?.[name]) || 0;
    const entries = Object.entries(item ?? {})
      .filter(([name]) => name.startsWith(ENTRY_MARK))
      .map(([name, value]) => [name.slice(ENTRY_MARK.length), entryIn(String(value))] as const);
    return { revision: number(REVISION), ttl: number(ttl), added: number(ADDED), entries: new Map(entries) };
  }

  /**
   * Adds an entry without reading the item.
   *
   * @param keepsTtl - whether the item stays for long enough as it is. One of both is rejected.
   */
  addition(userKey: string, key: string, entry: UserEntry, now: number, keepsTtl: boolean): Update {
    const { listToken } = entry;
    const conditions = [
      keepsTtl ? "#ttl > :ttl" : "(attribute_not_exists(#ttl) OR #ttl <= :ttl)",
      "(attribute_not_exists(#added) OR #added < :max)",
    ];
    if (listToken !== undefined) {
      conditions.push(listToken === 0 ? "attribute_not_exists(#rev)" : "#rev = :rev");
    }
    return this.#update(userKey, {
      UpdateExpression: `SET #entry = :key${keepsTtl ? "" : ", #ttl = :ttl"} ADD #rev :one, #added :one`,
      ConditionExpression: conditions.join(" AND "),
      ExpressionAttributeNames: {
        "#entry": ENTRY_MARK + entry.id,
        "#rev": REVISION,
        "#added": ADDED,
        "#ttl": this.#table.attributes.ttl,
      },
      ExpressionAttributeValues: {
        ":ttl": userTtl(entry, now),
        ":key": `${key} ${Math.floor(now / 1000).toString(36)}`,
        ":one": 1,
        ":max": MAX_ADDED,
        ...(listToken !== undefined && listToken !== 0 && { ":rev": listToken }),
      },
    });
  }

  /** Whether the item stays for longer than the entry needs. */
  keepsTtl({ ttl }: UserItem, entry: UserEntry, now: number): boolean {
    return ttl > userTtl(entry, now);
  }

  /** Removes entries, at most {@link MAX_REMOVED}. Is rejected if there is no item. */
  removal(userKey: string, ids: readonly string[]): Update {
    const names = Object.fromEntries(ids.map((id, index) => [`#e${index}`, ENTRY_MARK + id]));
    const list = ids.length === 0 ? "" : ` REMOVE ${Object.keys(names).join(", ")}`;
    return this.#update(userKey, {
      UpdateExpression: `SET #added = :zero${list}`,
      ConditionExpression: "attribute_exists(#rev)",
      ExpressionAttributeNames: { "#rev": REVISION, "#added": ADDED, ...names },
      ExpressionAttributeValues: { ":zero": 0 },
    });
  }

  /** Whether so much was added that garbage has to be looked for. */
  needsCleanup({ added }: UserItem): boolean {
    return added >= MAX_ADDED;
  }

  #update(userKey: string, update: Omit<Update, "TableName" | "Key">): Update {
    const { name, attributes } = this.#table;
    return { ...update, TableName: name, Key: { [attributes.id]: userKey } };
  }
}

/** No character of the end of a key. */
const SEPARATOR = " ";

function entryIn(value: string): AddedEntry {
  const end = value.lastIndexOf(SEPARATOR);
  return { key: value.slice(0, end), addedAt: Number.parseInt(value.slice(end + 1), 36) };
}

/**
 * The entries that lead to no session of this user, and those that were renewed since. Clocks may differ: an entry that
 * was added at about the same time stays, because another process may be removing the later one.
 */
export function garbageOf(
  sessions: readonly UserSession[],
  user: string,
  { entries }: UserItem,
): UserSession[] {
  const latest = new Map<string, number>();
  for (const { key, addedAt } of entries.values())
    latest.set(key, Math.max(addedAt, latest.get(key) ?? addedAt));
  const isRenewed = ({ key, entryId }: UserSession) =>
    (latest.get(key) as number) - (entries.get(entryId)?.addedAt as number) > MIN_RENEWED_SECONDS;
  return sessions.filter(session => leadsNowhere(session, user) || isRenewed(session));
}

function userTtl({ deleteAt }: UserEntry, now: number): number {
  return ttlOf(Math.ceil(Math.max(deleteAt, now + 2 * MONTH_MS) / MONTH_MS) * MONTH_MS);
}
