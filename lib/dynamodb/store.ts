import { setTimeout as delay } from "node:timers/promises";
import type {
  ConditionalCheckFailedException,
  DynamoDBClient,
  PutItemCommandInput,
  WriteRequest,
} from "@aws-sdk/client-dynamodb";
import type { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { AbstractStore } from "../core/abstract-store.js";
import { type CallOptions, signalOfOptions } from "../core/callbacks.js";
import { Operation } from "../core/operation.js";
import { rules } from "../core/options.js";
import {
  ABSENT,
  type Awaitable,
  type Expected,
  type Extension,
  type ScannedRecord,
  type StoredRecord,
  type WriteResult,
} from "../core/record.js";
import type { StoreOptions } from "../core/store-options.js";
import { StoreError, tooLarge } from "../errors.js";
import { type Batchable, Batcher } from "../support/batcher.js";
import { requirePeer } from "../support/optional-peer.js";
import { DynamoDBItems, type Item, sizeOf } from "./items.js";
import { type Cancellable, clientOver } from "./middleware-cache.js";

const sdk = requirePeer<typeof import("@aws-sdk/client-dynamodb")>(
  "@aws-sdk/client-dynamodb",
  "dynamodb",
  () => require("@aws-sdk/client-dynamodb"),
);
const lib = requirePeer<typeof import("@aws-sdk/lib-dynamodb")>("@aws-sdk/lib-dynamodb", "dynamodb", () =>
  require("@aws-sdk/lib-dynamodb"),
);

/** The names of the attributes of an item. */
export interface DynamoDBAttributes {
  /** The partition key: prefix and sid. String. @defaultValue `"id"` */
  id: string;
  /** The serialized session. String, or binary if it is compressed. @defaultValue `"data"` */
  data: string;
  /** When the session expires. Number, epoch milliseconds. @defaultValue `"expires"` */
  expires: string;
  /** When DynamoDB may remove the item. Number, epoch seconds. @defaultValue `"ttl"` */
  ttl: string;
  /** When the session began. Number, epoch milliseconds. @defaultValue `"c"` */
  created: string;
  /** Names the last write. String. @defaultValue `"v"` */
  version: string;
  /** How much of `expires` is there so that touches can be skipped. Number, milliseconds. @defaultValue `"s"` */
  slack: string;
}

/** The options of {@link DynamoDBStore}. */
export interface DynamoDBStoreOptions extends StoreOptions {
  /** A client of the AWS SDK v3. The store does not destroy it. */
  client: DynamoDBClient | DynamoDBDocumentClient;
  /** Name or ARN of the table. @defaultValue `"sessions"` */
  tableName?: string | undefined;
  /** Attribute names that differ from the defaults. */
  attributes?: Partial<DynamoDBAttributes> | undefined;
  /** Whether reads see every write that was acknowledged before. `false` halves their cost. @defaultValue `true` */
  consistentRead?: boolean | undefined;
  /**
   * `"deflate"`: sessions are deflated where that saves write units, which cost the same for each kilobyte or part of
   * one. It can be changed at any time: either form is read, whatever the option says. @defaultValue `false`
   */
  compression?: "deflate" | false | undefined;
}

// Short names for what nobody looks up: a write costs one unit for each kilobyte, names included.
const DEFAULT_ATTRIBUTES: DynamoDBAttributes = {
  id: "id",
  data: "data",
  expires: "expires",
  ttl: "ttl",
  created: "c",
  version: "v",
  slack: "s",
};
const DEFAULT_TABLE_NAME = "sessions";

/** https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html */
const TABLE_NAME = /^([A-Za-z0-9_.-]{3,255}|arn:.+)$/;

/** How DynamoDB, and then DynamoDB Local, refuse items and keys of a table whose key is another. */
const OTHER_KEY =
  /does not match the schema|Missing the key|Type mismatch for|keys was not given|conditions on the keys/;

/** DynamoDB's limits: an item, the keys of a BatchGetItem, the requests of a BatchWriteItem. */
const MAX_ITEM_BYTES = 400 * 1024;
const MAX_BATCH_GET = 100;
const MAX_BATCH_WRITE = 25;

const READ_REQUESTS = 8;
const WRITE_LANES = 4;
const SCAN_SEGMENTS = 4;

/** Pauses before what a batch left unprocessed is asked for again: doubled each time, with jitter. */
const FIRST_PAUSE_MS = 25;
const MAX_PAUSE_MS = 1000;

/** How long `createTable` waits for the table, and how often it asks. Seconds. */
const CREATE_TABLE_WAIT = { maxWaitTime: 300, minDelay: 1, maxDelay: 5 };

interface Read extends Batchable {
  readonly operation: Operation;
}

/**
 * Sessions in DynamoDB: one item each, removed by DynamoDB's TTL.
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

  readonly #injected: DynamoDBClient;
  #ownClient: DynamoDBDocumentClient | undefined;
  readonly #consistentRead: boolean;
  readonly #compress: boolean;
  readonly #items: DynamoDBItems;
  readonly #reads: Batcher<Read, Awaitable<StoredRecord | undefined>>;

  /** @throws TypeError for an unknown or ill-typed option */
  constructor(options: DynamoDBStoreOptions) {
    super(options, {
      client: {
        test: isClient,
        required: true,
        expected:
          "a DynamoDBClient or DynamoDBDocumentClient of the AWS SDK v3 (npm install @aws-sdk/client-dynamodb)",
      },
      tableName: {
        test: value => typeof value === "string" && TABLE_NAME.test(value),
        expected: "the name of a table (3 to 255 letters, digits, `_`, `-` and `.`) or its ARN",
      },
      attributes: {
        test: isAttributes,
        expected: `an object with different names for some of ${Object.keys(DEFAULT_ATTRIBUTES).join(", ")}`,
      },
      consistentRead: rules.boolean,
      compression: {
        test: value => value === "deflate" || value === false,
        expected: '"deflate" or false',
      },
    });
    this.tableName = options.tableName ?? DEFAULT_TABLE_NAME;
    this.attributes = Object.freeze(withDefaults(options.attributes));
    this.#items = new DynamoDBItems(this.attributes);
    this.#consistentRead = options.consistentRead ?? true;
    this.#injected = options.client as DynamoDBClient;
    this.#compress = options.compression === "deflate";
    this.#reads = new Batcher({
      send: reads => this.#sendReads(reads),
      limits: () => ({ items: MAX_BATCH_GET, bytes: Number.POSITIVE_INFINITY }),
      requests: READ_REQUESTS,
      repeatKeys: true,
      isolate: error => ["ValidationException", "AccessDeniedException"].includes(nameOf(error)),
    });
  }

  /**
   * Creates the table if it does not exist (on-demand billing, partition key `attributes.id`), waits until it is
   * active, and enables TTL on `attributes.ttl`. Safe to call again and from several processes at once. For set-up
   * code: it needs permissions that an application should not have, and may take a minute.
   *
   * @throws StoreError if the request is refused, or a table is there whose key or TTL attribute is another
   */
  createTable(options?: CallOptions): Promise<void> {
    const created = this._track(this.#createTable(options));
    // As with every method: a rejection that nobody waits for must not end the process.
    created.catch(() => {});
    return created;
  }

  async #createTable(options: CallOptions | undefined): Promise<void> {
    this._assertOpen();
    const signal = signalOfOptions(options);
    try {
      await this.#ensureTable({ abortSignal: signal as AbortSignal });
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof StoreError) throw error;
      throw new StoreError(
        "ERR_STORE_UNAVAILABLE",
        `The table "${this.tableName}" could not be created; see \`cause\`.`,
        { cause: error },
      );
    }
  }

  async #ensureTable(request: { abortSignal: AbortSignal }): Promise<void> {
    const TableName = this.tableName;
    const { id, ttl } = this.attributes;
    const create = new sdk.CreateTableCommand({
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: [{ AttributeName: id, AttributeType: "S" }],
      KeySchema: [{ AttributeName: id, KeyType: "HASH" }],
    });
    await this.#client.send(create, request).catch(unless("ResourceInUseException"));
    await sdk.waitUntilTableExists({ client: this.#client, ...CREATE_TABLE_WAIT, ...request }, { TableName });
    const { Table } = await this.#client.send(new sdk.DescribeTableCommand({ TableName }), request);
    const keys = Table?.KeySchema?.map(key => key.AttributeName) ?? [];
    const type = Table?.AttributeDefinitions?.find(
      ({ AttributeName }) => AttributeName === id,
    )?.AttributeType;
    if (keys.length !== 1 || keys[0] !== id || type !== "S") {
      throw new StoreError("ERR_STORE_UNAVAILABLE", otherKey(TableName, `the key ${keys.join(", ")}`, id));
    }
    // The table that is there may have TTL on already, or another process may be enabling it now.
    const enable = new sdk.UpdateTimeToLiveCommand({
      TableName,
      TimeToLiveSpecification: { AttributeName: ttl, Enabled: true },
    });
    try {
      await this.#client.send(enable, request);
    } catch (error) {
      // dynalite has no TTL at all.
      if (nameOf(error) === "UnknownOperationException") return;
      const describe = new sdk.DescribeTimeToLiveCommand({ TableName });
      const { TimeToLiveDescription } = await this.#client.send(describe, request);
      const { AttributeName, TimeToLiveStatus } = TimeToLiveDescription ?? {};
      if (!TimeToLiveStatus?.startsWith("ENABL")) throw error;
      if (AttributeName !== ttl) {
        throw new StoreError(
          "ERR_STORE_UNAVAILABLE",
          `The table "${TableName}" has TTL on "${AttributeName}", but the store writes "${ttl}", in epoch seconds: choose another table, or set the option \`attributes.ttl\`.`,
        );
      }
    }
  }

  /** Made when first used, so that it has what an application adds to its client until then. */
  get #client(): DynamoDBDocumentClient {
    this.#ownClient ??= clientOver(this.#injected, client => lib.DynamoDBDocumentClient.from(client));
    return this.#ownClient;
  }

  protected override _read(key: string, operation: Operation): Promise<StoredRecord | undefined> {
    return this.#reads.add({ key, size: 0, operation }) as Promise<StoredRecord | undefined>;
  }

  protected override async _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
    operation: Operation,
  ): Promise<WriteResult> {
    let item = this.#items.itemOf(key, record);
    if (this.#compress) item = await this.#items.smaller(item);
    // At most three bytes for a character.
    const size = record.data.length < MAX_ITEM_BYTES / 4 ? 0 : sizeOf(item);
    if (size > MAX_ITEM_BYTES) throw tooLarge(size, MAX_ITEM_BYTES, "DynamoDB's limit for an item");
    operation.throwIfEnded();
    const put = new sdk.PutItemCommand({
      TableName: this.tableName,
      Item: item,
      ...(expected && this.#conditionOf(expected)),
    });
    try {
      await this.#client.send(cancellable(put, operation.signal));
      return { written: true };
    } catch (error) {
      if (nameOf(error) !== "ConditionalCheckFailedException") throw this.#explain(error);
      const stored = (error as ConditionalCheckFailedException).Item;
      // No item: it is gone, or the engine does not return it (dynalite, DynamoDB Local).
      const current = stored ?? (await this.#getItem(key, true, operation));
      return { written: false, current: await this.#items.recordOf(current) };
    }
  }

  #conditionOf(expected: Expected): Partial<PutItemCommandInput> {
    const { id, version, expires } = this.attributes;
    if (expected === ABSENT) {
      return {
        ConditionExpression: "attribute_not_exists(#id)",
        ExpressionAttributeNames: { "#id": id },
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      };
    }
    return {
      ConditionExpression: "#version = :version AND #expires <= :by",
      ExpressionAttributeNames: { "#version": version, "#expires": expires },
      ExpressionAttributeValues: {
        ":version": { S: expected.version },
        ":by": { N: String(expected.expiresBy) },
      },
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
    };
  }

  protected override async _extend(
    key: string,
    extension: Extension,
    _seen: StoredRecord | undefined,
    operation: Operation,
  ): Promise<boolean> {
    const { id, expires, ttl, slack, version } = this.attributes;
    const update = new sdk.UpdateItemCommand({
      TableName: this.tableName,
      Key: { [id]: { S: key } },
      UpdateExpression: "SET #expires = :expires, #ttl = :ttl, #slack = :slack",
      // Does not hold for an item that is not there. One without a version is no record: it stays as it is.
      ConditionExpression: "#expires BETWEEN :from AND :to AND attribute_exists(#version)",
      ExpressionAttributeNames: { "#expires": expires, "#ttl": ttl, "#slack": slack, "#version": version },
      ExpressionAttributeValues: {
        ":expires": { N: String(extension.expiresAt) },
        ":ttl": { N: this.#items.ttlOf(extension.expiresAt) },
        ":slack": { N: String(extension.slack) },
        // Alive, and ending earlier than it then will.
        ":from": { N: String(Math.floor(extension.now) + 1) },
        ":to": { N: String(Math.ceil(extension.expiresAt) - 1) },
      },
    });
    try {
      await this.#client.send(cancellable(update, operation.signal));
      return true;
    } catch (error) {
      if (nameOf(error) === "ConditionalCheckFailedException") return false;
      throw this.#explain(error);
    }
  }

  protected override async _remove(key: string, operation: Operation): Promise<void> {
    const Key = { [this.attributes.id]: { S: key } };
    const remove = new sdk.DeleteItemCommand({ TableName: this.tableName, Key });
    await this.#client.send(cancellable(remove, operation.signal)).catch(this.#rethrow);
  }

  protected override async _removeAll(keys: string[], operation: Operation): Promise<void> {
    const chunks: string[][] = [];
    for (let from = 0; from < keys.length; from += MAX_BATCH_WRITE)
      chunks.push(keys.slice(from, from + MAX_BATCH_WRITE));
    const lane = async () => {
      for (let chunk = chunks.pop(); chunk !== undefined; chunk = chunks.pop()) {
        const requests: WriteRequest[] = chunk.map(key => ({
          DeleteRequest: { Key: { [this.attributes.id]: { S: key } } },
        }));
        await this.#untilProcessed(requests, async left => {
          const write = new sdk.BatchWriteItemCommand({ RequestItems: { [this.tableName]: left } });
          const { UnprocessedItems } = await this.#client.send(cancellable(write, operation.signal));
          return Object.values(UnprocessedItems ?? {}).flat();
        });
      }
    };
    await Promise.all(Array.from({ length: WRITE_LANES }, lane)).catch(this.#rethrow);
  }

  protected override async *_scan(
    start: string,
    operation: () => Operation,
  ): AsyncGenerator<ScannedRecord[]> {
    const stop = new AbortController();
    const fetchPage = async (segment: number, from?: Item) => {
      const scan = new sdk.ScanCommand({
        TableName: this.tableName,
        ConsistentRead: this.#consistentRead,
        Segment: segment,
        TotalSegments: SCAN_SEGMENTS,
        ExclusiveStartKey: from,
        ...(start !== "" && {
          FilterExpression: "begins_with(#id, :start)",
          ExpressionAttributeNames: { "#id": this.attributes.id },
          ExpressionAttributeValues: { ":start": { S: start } },
        }),
      });
      const { Items = [], LastEvaluatedKey } = await this.#client.send(cancellable(scan, stop.signal));
      return { segment, items: Items, next: LastEvaluatedKey };
    };
    const pages = new Map<number, ReturnType<typeof fetchPage>>();
    const begin = (segment: number, from?: Item) => {
      const page = fetchPage(segment, from);
      // Those that nobody comes to wait for, after another has failed.
      page.catch(() => {});
      pages.set(segment, page);
    };
    for (let segment = 0; segment < SCAN_SEGMENTS; segment++) begin(segment);
    try {
      while (pages.size > 0) {
        operation().signal.addEventListener("abort", () => stop.abort(), { once: true });
        const { segment, items, next } = await Promise.race(pages.values()).catch(this.#rethrow);
        pages.delete(segment);
        if (next !== undefined) begin(segment, next);
        const records = await Promise.all(items.map(item => this.#items.recordOf(item) as StoredRecord));
        yield items.map((item, index) => ({
          key: this.#items.keyOf(item),
          record: records[index] as StoredRecord,
        }));
      }
    } finally {
      stop.abort();
    }
  }

  async #sendReads(reads: Read[]): Promise<Awaitable<StoredRecord | undefined>[]> {
    const [first, ...more] = reads as [Read, ...Read[]];
    if (more.length === 0) {
      const item = await this.#getItem(first.key, this.#consistentRead, first.operation);
      return [this.#items.recordOf(item)];
    }
    const deadline = Operation.clientDeadline(reads.map(({ operation }) => operation));
    const signal = AbortSignal.timeout(Math.max(0, deadline - Date.now()));
    const records = await this.#readTogether(
      [...new Set(reads.map(({ key }) => key))],
      signal,
      FIRST_PAUSE_MS,
    );
    return reads.map(({ key }) => records.get(key));
  }

  /**
   * The records of the keys, by key. What the answer leaves unprocessed (throttling, or an answer that grew too large)
   * is asked for again: those records are promises, so that one throttled key does not hold up the others.
   */
  async #readTogether(
    keys: string[],
    signal: AbortSignal,
    pauseMs: number,
  ): Promise<Map<string, Awaitable<StoredRecord | undefined>>> {
    const { id } = this.attributes;
    const table = { Keys: keys.map(S => ({ [id]: { S } })), ConsistentRead: this.#consistentRead };
    const get = new sdk.BatchGetItemCommand({ RequestItems: { [this.tableName]: table } });
    const { Responses, UnprocessedKeys } = await this.#client
      .send(cancellable(get, signal))
      .catch(this.#rethrow);
    const records = new Map<string, Awaitable<StoredRecord | undefined>>();
    // Of the one table, which answers may call by its name where it was asked for by its ARN.
    for (const item of Object.values(Responses ?? {}).flat()) {
      records.set(this.#items.keyOf(item), this.#items.recordOf(item));
    }
    const left = Object.values(UnprocessedKeys ?? {}).flatMap(({ Keys = [] }) =>
      Keys.map(key => this.#items.keyOf(key)),
    );
    if (left.length > 0) {
      const later = jittered(pauseMs).then(() => this.#readTogether(left, signal, longer(pauseMs)));
      for (const key of left)
        records.set(
          key,
          later.then(found => found.get(key)),
        );
    }
    return records;
  }

  async #getItem(key: string, consistent: boolean, operation: Operation): Promise<Item | undefined> {
    const get = new sdk.GetItemCommand({
      TableName: this.tableName,
      Key: { [this.attributes.id]: { S: key } },
      ConsistentRead: consistent,
    });
    const { Item } = await this.#client.send(cancellable(get, operation.signal)).catch(this.#rethrow);
    return Item;
  }

  /** Repeats a batch with what it left unprocessed (throttling). */
  async #untilProcessed(
    requests: WriteRequest[],
    send: (left: WriteRequest[]) => Promise<WriteRequest[]>,
  ): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    for (let left = requests; ; ) {
      left = await send(left);
      if (left.length === 0) return;
      await jittered(pauseMs);
      pauseMs = longer(pauseMs);
    }
  }

  readonly #rethrow = (error: unknown): never => {
    throw this.#explain(error);
  };

  #explain(error: unknown): unknown {
    const { id, ttl } = this.attributes;
    if (nameOf(error) === "ValidationException" && OTHER_KEY.test((error as Error).message)) {
      return new StoreError("ERR_STORE_UNAVAILABLE", otherKey(this.tableName, "another key", id), {
        cause: error,
      });
    }
    if (nameOf(error) !== "ResourceNotFoundException") return error;
    return new StoreError(
      "ERR_STORE_TABLE_MISSING",
      `The DynamoDB table "${this.tableName}" does not exist: create it with \`await store.createTable()\`, or in your infrastructure code with the partition key "${id}" (string) and TTL on "${ttl}".`,
      { cause: error },
    );
  }
}

function otherKey(tableName: string, key: string, id: string): string {
  return `The table "${tableName}" has ${key}, but the store needs the partition key "${id}" alone, of type String: choose another table, or set the option \`attributes.id\`.`;
}

function withDefaults(attributes: Partial<DynamoDBAttributes> = {}): DynamoDBAttributes {
  const given = Object.entries(attributes).filter(([, name]) => name !== undefined);
  return { ...DEFAULT_ATTRIBUTES, ...Object.fromEntries(given) };
}

function isAttributes(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (!Object.keys(value).every(name => Object.hasOwn(DEFAULT_ATTRIBUTES, name))) return false;
  const names = Object.values(withDefaults(value));
  return names.every(name => typeof name === "string" && name !== "") && new Set(names).size === names.length;
}

function isClient(value: unknown): boolean {
  const client = value as Partial<DynamoDBClient> | null | undefined;
  return typeof client?.send === "function" && typeof client.middlewareStack?.clone === "function";
}

/** See {@link clientOver}. */
function cancellable<Command extends object>(command: Command, abortSignal: AbortSignal): Command {
  return Object.assign(command, { abortSignal } satisfies Cancellable);
}

function jittered(pauseMs: number): Promise<void> {
  return delay(pauseMs * (0.5 + Math.random() / 2));
}

function longer(pauseMs: number): number {
  return Math.min(MAX_PAUSE_MS, pauseMs * 2);
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

function unless(name: string) {
  return (error: unknown) => {
    if (nameOf(error) !== name) throw error;
  };
}
