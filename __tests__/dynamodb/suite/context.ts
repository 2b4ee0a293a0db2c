import { randomUUID } from "node:crypto";
import { DeleteTableCommand, DynamoDBClient, type DynamoDBClientConfig } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { Clock } from "../../../lib/conformance/clock.js";
import { plain } from "../../../lib/conformance/sessions.js";
import type { DynamoDBStoreOptions } from "../../../lib/dynamodb/options.js";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import type { AbstractStore } from "../../../lib/index.js";
import { type Traffic, trafficOfDynamoDB } from "../../helpers/stores/counting.js";

export const MAX_ITEM_BYTES = 400 * 1024;

/** An engine that supports DynamoDB's protocol. */
export interface Engine {
  name: string;
  /** Creates a separate client, which the caller destroys. */
  connect(): DynamoDBClient;
  hasTtl: boolean;
  /** Whether it has TransactWriteItems, which the option `user` requires. */
  hasTransactions: boolean;
  /** Whether a response ends at 16 MB, like DynamoDB's. */
  limitsResponses: boolean;
  /** How many page views of one user the engine can serve during a test. */
  views: number;
}

/** The objects that the tests of one engine share. */
export class Context {
  readonly engine: Engine;
  /** The client of the stores. */
  readonly client: DynamoDBClient;
  readonly traffic: Traffic;
  /** The client with which the tests inspect DynamoDB. */
  readonly raw: DynamoDBClient;
  readonly tableName = `dynamodb-test-${randomUUID()}`;
  prefix = "";
  clock = new Clock();
  readonly #tables = [this.tableName];

  constructor(engine: Engine) {
    this.engine = engine;
    this.client = engine.connect();
    this.traffic = trafficOfDynamoDB(this.client);
    this.raw = engine.connect();
    beforeAll(() => new DynamoDBStore({ client: this.client, tableName: this.tableName }).createTable());
    beforeEach(() => {
      this.prefix = `${randomUUID()}:`;
      this.clock = new Clock();
    });
    afterEach(() => {
      expect(this.traffic.forgetAwaited()).toEqual([]);
    });
    afterAll(async () => {
      await Promise.allSettled(
        this.#tables.map(TableName => this.raw.send(new DeleteTableCommand({ TableName }))),
      );
      this.client.destroy();
      this.raw.destroy();
    });
  }

  open(options: Partial<DynamoDBStoreOptions> = {}): DynamoDBStore {
    const { client, tableName, prefix, clock } = this;
    const own = { client, tableName, prefix, now: clock.now, touchAfter: 0, timeoutMs: 20_000 };
    return new DynamoDBStore({ ...own, ...options });
  }

  /** Returns a name for a table that is deleted at the end. */
  newTableName(): string {
    const name = `dynamodb-test-${randomUUID()}`;
    this.#tables.push(name);
    return name;
  }

  async itemOf(sid: string): Promise<Record<string, unknown> | undefined> {
    const Key = { id: this.prefix + sid };
    const get = new GetCommand({ TableName: this.tableName, Key, ConsistentRead: true });
    return (await DynamoDBDocumentClient.from(this.raw).send(get)).Item;
  }

  async putItem(item: Record<string, unknown>): Promise<void> {
    const put = new PutCommand({ TableName: this.tableName, Item: item });
    await DynamoDBDocumentClient.from(this.raw).send(put);
  }
}

export function saveAll(store: AbstractStore, sids: string[], fields = {}): Promise<unknown> {
  return Promise.all(sids.map(sid => store.set(sid, plain(fields))));
}

export function clientAt(endpoint: string, config: DynamoDBClientConfig = {}): DynamoDBClient {
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  return new DynamoDBClient({ endpoint, region: "us-east-1", credentials, maxAttempts: 1, ...config });
}
