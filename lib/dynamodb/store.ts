import type {
  AttributeValue,
  CancellationReason,
  ConditionalCheckFailedException,
  TransactionCanceledException,
} from "@aws-sdk/client-dynamodb";
import type {
  PutCommand,
  PutCommandInput,
  TransactGetCommand,
  TransactWriteCommand,
  TransactWriteCommandInput,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import { AbstractStore } from "../core/abstract-store.js";
import { type CallOptions, signalOfOptions } from "../core/callbacks.js";
import type { Operation } from "../core/operation.js";
import {
  type ActivityUpdate,
  type Awaitable,
  type Found,
  leadsNowhere,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteCondition,
  type WriteResult,
} from "../core/record.js";
import { StoreError, tooLarge } from "../errors.js";
import { backoff } from "./backoff.js";
import { ItemReader } from "./batch-get.js";
import { createTable } from "./create-table.js";
import { DynamoDBItems, type Item, type ReturnedItem, sizeOf, ttlOf, unmarshalled } from "./items.js";
import {
  attributesOf,
  DEFAULT_TABLE_NAME,
  type DynamoDBAttributes,
  type DynamoDBStoreOptions,
  dynamodbRules,
} from "./options.js";
import { scanItems } from "./scan.js";
import { lib } from "./sdk.js";
import { readSettled } from "./settled-reads.js";
import { errorName, Table } from "./table.js";
import { garbageOf, MAX_REMOVED, type UserItem, UserItems } from "./user-items.js";

/** DynamoDB's limits: the bytes of an item, the requests of a BatchWriteItem. */
const MAX_ITEM_BYTES = 400 * 1024;
const MAX_BATCH_WRITE = 25;

const WRITE_WORKERS = 4;

type WriteCommand = PutCommand | UpdateCommand | TransactWriteCommand;
type TransactItem = NonNullable<TransactWriteCommandInput["TransactItems"]>[number];

/** For the package's own code. */
export let tableOf: (store: DynamoDBStore) => Table;

/**
 * Sessions in DynamoDB: one item for each session, deleted by DynamoDB's TTL.
 *
 * @example
 * const store = new DynamoDBStore({ client: new DynamoDBClient({ region: "eu-central-1" }), tableName: "sessions" });
 * app.use(session({ store, secret, resave: false, saveUninitialized: false }));
 */
export class DynamoDBStore extends AbstractStore {
  /** Name or ARN of the table. */
  readonly tableName: string;
  /** The names of the attributes. */
  readonly attributes: Readonly<DynamoDBAttributes>;

  readonly #table: Table;
  readonly #items: DynamoDBItems;
  readonly #reader: ItemReader;
  /** For lists of users, whatever the option `consistentRead` says. */
  readonly #consistentReader: ItemReader;
  readonly #users: UserItems;
  readonly #isConsistent: boolean;
  readonly #compress: boolean;

  static {
    tableOf = store => store.#table;
  }

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: DynamoDBStoreOptions) {
    super(options, dynamodbRules);
    this.tableName = options.tableName ?? DEFAULT_TABLE_NAME;
    this.attributes = attributesOf(options.attributes);
    this.#table = new Table(options.client, this.tableName, this.attributes);
    this.#items = new DynamoDBItems(this.#table);
    this.#isConsistent = options.consistentRead ?? true;
    this.#reader = new ItemReader(this.#table, this.#items, this.#isConsistent);
    this.#consistentReader = this.#isConsistent
      ? this.#reader
      : new ItemReader(this.#table, this.#items, true);
    this.#users = new UserItems(this.#table, this.#items);
    this.#compress = options.compression === "deflate";
  }

  /**
   * Creates the table if it does not exist (on-demand billing, partition key `attributes.id`), waits until it is
   * active, and enables TTL on `attributes.ttl`. Safe to call again and from several processes. For set-up
   * code: it needs permissions that an application should not have, and may take a minute.
   *
   * @throws StoreError if the request is rejected; `ERR_STORE_TABLE_MISMATCH` if the table has another key or TTL attribute
   */
  createTable(options?: CallOptions): Promise<void> {
    const created = this._track(this.#createTable(options));
    // As with every method, a rejection that nobody waits for must not end the process.
    created.catch(() => {});
    return created;
  }

  async #createTable(options: CallOptions | undefined): Promise<void> {
    this._assertOpen();
    await createTable(this.#table, signalOfOptions(options));
  }

  protected override _read(key: string, operation: Operation): Promise<Found | undefined> {
    return this.#reader.read(key, operation);
  }

  protected override async _write(
    key: string,
    { record, condition, deleteAt, entry }: RecordWrite,
    operation: Operation,
  ): Promise<WriteResult> {
    let item = this.#items.itemOf(key, record, deleteAt);
    if (this.#compress) item = await this.#items.compressed(item);
    // A character takes at most three bytes.
    const size = record.data.length < MAX_ITEM_BYTES / 4 ? 0 : sizeOf(item);
    if (size > MAX_ITEM_BYTES) throw tooLarge(size, MAX_ITEM_BYTES, "DynamoDB's limit for an item");
    operation.throwIfAbandoned();
    if (!condition.absent && condition.activeFrom > condition.activeTo) return this.#refuse(key, operation);
    const Put = {
      TableName: this.tableName,
      Item: item,
      ...this.#conditionOf(condition),
      ReturnValuesOnConditionCheckFailure: "ALL_OLD" as const,
    };
    if (entry !== undefined) return this.#sendWithEntry({ Put }, key, entry, operation);
    return this.#sendConditional(new lib.PutCommand(Put), key, operation);
  }

  #conditionOf(condition: WriteCondition): Partial<PutCommandInput> {
    if (condition.absent) {
      return {
        ConditionExpression: "attribute_not_exists(#id)",
        ExpressionAttributeNames: this.#names("id"),
      };
    }
    return {
      ConditionExpression: "#version = :version AND #activeAt BETWEEN :from AND :to",
      ExpressionAttributeNames: this.#names("version", "activeAt"),
      ExpressionAttributeValues: {
        ":version": condition.version,
        ":from": condition.activeFrom,
        ":to": condition.activeTo,
      },
    };
  }

  protected override async _touch(
    key: string,
    { activeAt, lifetime, createdAt, activeFrom, deleteAt, entry }: ActivityUpdate,
    operation: Operation,
  ): Promise<WriteResult> {
    const activeTo = activeAt - 1;
    if (activeFrom > activeTo) return this.#refuse(key, operation);
    const condition = "#lifetime = :lifetime AND #activeAt BETWEEN :from AND :to";
    const names = this.#names("activeAt", "ttl", "lifetime");
    const values = {
      ":activeAt": activeAt,
      ":ttl": ttlOf(deleteAt),
      ":lifetime": lifetime,
      ":from": activeFrom,
      ":to": activeTo,
    };
    const isAnyCreation = createdAt === undefined;
    const Update = {
      TableName: this.tableName,
      Key: { [this.attributes.id]: key },
      UpdateExpression: "SET #activeAt = :activeAt, #ttl = :ttl",
      ConditionExpression: isAnyCreation ? condition : `${condition} AND #created = :created`,
      ExpressionAttributeNames: isAnyCreation ? names : { ...names, ...this.#names("created") },
      ExpressionAttributeValues: isAnyCreation ? values : { ...values, ":created": createdAt },
      ReturnValuesOnConditionCheckFailure: "ALL_OLD" as const,
    };
    if (entry !== undefined) return this.#sendWithEntry({ Update }, key, entry, operation);
    return this.#sendConditional(new lib.UpdateCommand(Update), key, operation);
  }

  /** The placeholders of attributes in an expression: `#` and the name that the option `attributes` has for them. */
  #names(...names: (keyof DynamoDBAttributes)[]): Record<string, string> {
    return Object.fromEntries(names.map(name => [`#${name}`, this.attributes[name]]));
  }

  /** For a range that nothing is in: DynamoDB rejects a BETWEEN whose lower bound is above the upper. */
  async #refuse(key: string, operation: Operation): Promise<WriteResult> {
    return { written: false, current: await this.#reader.readLatest(key, operation) };
  }

  async #sendConditional(command: WriteCommand, key: string, operation: Operation): Promise<WriteResult> {
    try {
      await this.#send(command, operation);
      return { written: true };
    } catch (error) {
      if (!isRefused(error)) return this.#table.rethrow(error);
      const current = await this.#currentOf(key, error.Item, operation);
      return { written: false, current, retried: isRepeated(error) };
    }
  }

  /** What is stored, which a rejection may say: not if nothing is, nor by all engines (dynalite, DynamoDB Local). */
  #currentOf(
    key: string,
    item: Record<string, AttributeValue> | undefined,
    operation: Operation,
  ): Awaitable<Found | undefined> {
    return item === undefined
      ? this.#reader.readLatest(key, operation)
      : this.#items.foundOf(unmarshalled(item));
  }

  /** Sends a command again as long as a transaction on the same items is in flight. */
  async #send(command: WriteCommand | TransactGetCommand, operation: Operation): Promise<object> {
    for (let repetition = 0; ; repetition++) {
      try {
        return await this.#table.client.send(command as PutCommand, { abortSignal: operation.signal });
      } catch (error) {
        if (!isTransient(error)) throw error;
      }
      await backoff(repetition);
      operation.throwIfAbandoned();
    }
  }

  /** Writes to a session and adds an entry to the list of its user, in one transaction. */
  async #sendWithEntry(
    write: TransactItem,
    key: string,
    entry: UserEntry,
    operation: Operation,
  ): Promise<WriteResult> {
    const userKey = this._userKey(entry.user);
    let keepsTtl = false;
    let retried = false;
    // Terminates: every rejection means that another write to the user's item was accepted.
    for (;;) {
      const update = this.#users.addition(userKey, key, entry, this._now(), keepsTtl);
      const transaction = new lib.TransactWriteCommand({ TransactItems: [write, { Update: update }] });
      try {
        await this.#send(transaction, operation);
        return { written: true };
      } catch (error) {
        if (errorName(error) === "UnknownOperationException") throw noTransactions(error);
        if (!isCanceled(error)) return this.#table.rethrow(error);
        retried ||= isRepeated(error);
        const [ofSession, ofUser] = error.CancellationReasons ?? [];
        if (isTooLarge(ofUser)) throw tooManySessions(error);
        if (ofSession?.Code === REFUSED) {
          const current = await this.#currentOf(key, ofSession.Item, operation);
          return { written: false, current, retried };
        }
        if (ofUser?.Code !== REFUSED) throw error;
      }
      operation.throwIfAbandoned();
      const user = await this.#readUser(userKey, operation);
      if (entry.listToken !== undefined && entry.listToken !== user.revision) {
        return { written: false, current: undefined, retried, listChanged: true };
      }
      keepsTtl = this.#users.keepsTtl(user, entry, this._now());
      if (this.#users.needsCleanup(user)) await this.#removeGarbage(entry.user, user, operation);
    }
  }

  /** Removes the entries that lead to no session, so that the item of a user who is never listed does not grow. */
  async #removeGarbage(user: string, item: UserItem, operation: Operation): Promise<void> {
    const garbage = garbageOf(await this.#sessionsOf(user, item, operation), user, item);
    await this._removeEntries(user, garbage.slice(0, MAX_REMOVED), operation);
  }

  async #readUser(userKey: string, { signal }: Operation): Promise<UserItem> {
    const { client, rethrow } = this.#table;
    const Key = { [this.attributes.id]: userKey };
    const get = new lib.GetCommand({ TableName: this.tableName, Key, ConsistentRead: true });
    const { Item } = await client.send(get, { abortSignal: signal }).catch(rethrow);
    return this.#users.itemOf(Item);
  }

  /**
   * The entries of an item with what is stored under their keys. What seems to lead to no session is read again: it may
   * be a sign-in whose entry can be read already and whose session cannot.
   */
  async #sessionsOf(user: string, { entries }: UserItem, operation: Operation): Promise<UserSession[]> {
    const sessions = await Promise.all(
      [...entries].map(async ([entryId, { key }]) => {
        return { key, entryId, found: await this.#consistentReader.read(key, operation) };
      }),
    );
    const doubtful = new Set(sessions.filter(session => leadsNowhere(session, user)).map(({ key }) => key));
    if (doubtful.size === 0) return sessions;
    const settled = await readSettled(this.#table, this.#items, [...doubtful], operation, command =>
      this.#send(command, operation).catch(this.#table.rethrow),
    );
    return sessions.map(session =>
      settled.has(session.key) ? { ...session, found: settled.get(session.key) } : session,
    );
  }

  protected override async _listUser(user: string, operation: Operation): Promise<UserList> {
    const item = await this.#readUser(this._userKey(user), operation);
    return { sessions: await this.#sessionsOf(user, item, operation), token: item.revision };
  }

  protected override async _removeEntries(
    user: string,
    entries: readonly UserSession[],
    operation: Operation,
  ): Promise<void> {
    const ids = entries.map(({ entryId }) => entryId);
    do {
      const update = this.#users.removal(this._userKey(user), ids.splice(-MAX_REMOVED));
      await this.#send(new lib.UpdateCommand(update), operation).catch(error => {
        if (!isRefused(error)) this.#table.rethrow(error);
      });
    } while (ids.length > 0);
  }

  protected override async _remove(key: string, removal: Removal, operation: Operation): Promise<void> {
    const { tombstone, id, deleteAt } = removal;
    const update = new lib.UpdateCommand({
      TableName: this.tableName,
      Key: { [this.attributes.id]: key },
      // As tombstoneOver does.
      UpdateExpression:
        "SET #version = :id, #lifetime = :lifetime, #activeAt = if_not_exists(#activeAt, :zero) + :step, #created = :now, #ttl = :ttl REMOVE #data, #user",
      ConditionExpression: "attribute_not_exists(#version) OR NOT contains(#version, :id)",
      ExpressionAttributeNames: this.#names(
        "version",
        "lifetime",
        "activeAt",
        "created",
        "ttl",
        "data",
        "user",
      ),
      ExpressionAttributeValues: {
        ":id": id,
        ":lifetime": tombstone.lifetime,
        ":now": tombstone.createdAt,
        ":zero": 0,
        ":step": tombstone.activeAt,
        ":ttl": ttlOf(deleteAt),
      },
    });
    try {
      await this.#send(update, operation);
    } catch (error) {
      if (isRefused(error)) return;
      if (!isWrongType(error)) this.#table.rethrow(error);
      // What is stored cannot be read, and no late creation expects it.
      const put = new lib.PutCommand({
        TableName: this.tableName,
        Item: this.#items.itemOf(key, tombstone, deleteAt),
      });
      await this.#send(put, operation).catch(this.#table.rethrow);
    }
  }

  protected override async _removeAll(keys: string[], removal: Removal, operation: Operation): Promise<void> {
    const items = keys.map(key => this.#items.itemOf(key, removal.tombstone, removal.deleteAt));
    const worker = async () => {
      while (items.length > 0) await this.#putAll(items.splice(-MAX_BATCH_WRITE), operation);
    };
    await Promise.all(Array.from({ length: WRITE_WORKERS }, worker));
  }

  /** Sends again what DynamoDB leaves unprocessed (throttling). */
  async #putAll(items: Item[], { signal }: Operation): Promise<void> {
    const { client, rethrow } = this.#table;
    let left = items;
    for (let repetition = 0; ; repetition++) {
      const requests = left.map(Item => ({ PutRequest: { Item } }));
      const write = new lib.BatchWriteCommand({ RequestItems: { [this.tableName]: requests } });
      const { UnprocessedItems } = await client.send(write, { abortSignal: signal }).catch(rethrow);
      const unprocessed = Object.values(UnprocessedItems ?? {}).flat();
      const keys = new Set(unprocessed.map(({ PutRequest }) => this.#items.keyOf(PutRequest?.Item ?? {})));
      // Not the returned items, since the client may have wrapped their numbers.
      left = left.filter(item => keys.has(this.#items.keyOf(item)));
      if (left.length === 0) return;
      await backoff(repetition);
    }
  }

  protected override async *_scan(start: string, operation: Operation): AsyncGenerator<ScannedRecord[]> {
    for await (const items of scanItems(this.#table, start, this.#isConsistent, operation)) {
      yield await Promise.all(items.map(item => this.#scannedOf(item)));
    }
  }

  async #scannedOf(item: ReturnedItem): Promise<ScannedRecord> {
    const { record } = (await this.#items.foundOf(item)) as Found;
    return { key: this.#items.keyOf(item), record };
  }
}

/** Whether an attribute that is to be added to is not a number. */
function isWrongType(error: unknown): boolean {
  return errorName(error) === "ValidationException" && /data type/.test((error as Error).message);
}

/** Reasons why a transaction was canceled. */
const REFUSED = "ConditionalCheckFailed";
const TRANSIENT: readonly unknown[] = [
  "TransactionConflict",
  "ThrottlingError",
  "ProvisionedThroughputExceeded",
];

/** Whether it may help to send a command again: DynamoDB was busy with another one. */
function isTransient(error: unknown): boolean {
  if (!isCanceled(error)) return errorName(error) === "TransactionConflictException";
  const codes = (error.CancellationReasons ?? []).map(({ Code }) => Code);
  return codes.some(code => TRANSIENT.includes(code)) && !codes.includes(REFUSED);
}

function isCanceled(error: unknown): error is TransactionCanceledException {
  return errorName(error) === "TransactionCanceledException";
}

function isTooLarge(reason: CancellationReason | undefined): boolean {
  return reason?.Code === "ValidationError" && /size/i.test(reason.Message ?? "");
}

function noTransactions(cause: unknown): StoreError {
  return new StoreError(
    "ERR_STORE_UNAVAILABLE",
    "This engine has no TransactWriteItems, which the option `user` needs: use DynamoDB or DynamoDB Local instead of dynalite.",
    { cause },
  );
}

function tooManySessions(cause: unknown): StoreError {
  return new StoreError(
    "ERR_TOO_MANY_SESSIONS",
    "The list of the user's sessions has reached DynamoDB's limit for an item, 400 KB: end some of them (`destroyByUser`), or limit their number (`maxSessionsPerUser`).",
    { cause },
  );
}

/** Whether the client sent a request more than once. */
function isRepeated({ $metadata }: { $metadata: { attempts?: number | undefined } }): boolean {
  return ($metadata.attempts ?? 1) > 1;
}

function isRefused(error: unknown): error is ConditionalCheckFailedException {
  return errorName(error) === "ConditionalCheckFailedException";
}
