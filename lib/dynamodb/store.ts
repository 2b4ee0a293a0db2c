import type { PutCommand, PutCommandInput, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { AbstractStore } from "../core/abstract-store.js";
import { type CallOptions, signalOfOptions } from "../core/callbacks.js";
import type { Operation } from "../core/operation.js";
import type {
  ActivityUpdate,
  Found,
  RecordWrite,
  Removal,
  ScannedRecord,
  UserList,
  UserSession,
  WriteCondition,
  WriteResult,
} from "../core/record.js";
import { tooLarge } from "../errors.js";
import { ItemReader } from "./batch-get.js";
import { putItems } from "./batch-write.js";
import { createTable } from "./create-table.js";
import { isRefused, isRepeated, isWrongType } from "./errors.js";
import { DynamoDBItems, sizeOf, ttlOf } from "./items.js";
import {
  attributesOf,
  DEFAULT_TABLE_NAME,
  type DynamoDBAttributes,
  type DynamoDBStoreOptions,
  dynamodbRules,
} from "./options.js";
import { scanItems } from "./scan.js";
import { lib } from "./sdk.js";
import { Table } from "./table.js";
import { UserLists } from "./user-lists.js";

/** DynamoDB's limit for the bytes of an item. */
const MAX_ITEM_BYTES = 400 * 1024;

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
  readonly #users: UserLists;
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
    this.#users = new UserLists({
      table: this.#table,
      items: this.#items,
      reader: this.#isConsistent ? this.#reader : new ItemReader(this.#table, this.#items, true),
      userKeyOf: user => this._userKey(user),
      now: () => this._now(),
    });
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
    if (entry !== undefined) return this.#users.writeWithEntry({ Put }, key, entry, operation);
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
    if (entry !== undefined) return this.#users.writeWithEntry({ Update }, key, entry, operation);
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

  async #sendConditional(
    command: PutCommand | UpdateCommand,
    key: string,
    operation: Operation,
  ): Promise<WriteResult> {
    try {
      await this.#table.send(command, operation);
      return { written: true };
    } catch (error) {
      if (!isRefused(error)) throw error;
      const current = await this.#reader.currentOf(key, error.Item, operation);
      return { written: false, current, retried: isRepeated(error) };
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
      await this.#table.send(update, operation);
    } catch (error) {
      if (isRefused(error)) return;
      if (!isWrongType(error)) throw error;
      // What is stored cannot be read, and no late creation expects it.
      const put = new lib.PutCommand({
        TableName: this.tableName,
        Item: this.#items.itemOf(key, tombstone, deleteAt),
      });
      await this.#table.send(put, operation);
    }
  }

  protected override async _removeAll(keys: string[], removal: Removal, operation: Operation): Promise<void> {
    const items = keys.map(key => this.#items.itemOf(key, removal.tombstone, removal.deleteAt));
    await putItems(this.#table, items, operation);
  }

  protected override async *_scan(start: string, operation: Operation): AsyncGenerator<ScannedRecord[]> {
    for await (const items of scanItems(this.#table, start, this.#isConsistent, operation)) {
      yield await Promise.all(items.map(item => this.#items.scannedOf(item)));
    }
  }
}
