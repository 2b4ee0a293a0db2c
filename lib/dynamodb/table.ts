import type { DynamoDBClient, DynamoDBServiceException } from "@aws-sdk/client-dynamodb";
import type {
  DynamoDBDocumentClient,
  GetCommandOutput,
  PutCommand,
  TransactGetCommand,
  TransactGetCommandOutput,
  TransactWriteCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import type { Operation } from "../core/operation.js";
import { StoreError } from "../errors.js";
import { backoff } from "./backoff.js";
import { errorName, isTransient } from "./errors.js";
import { type DynamoDBAttributes, translateConfigOf } from "./options.js";
import { lib } from "./sdk.js";

/** Messages with which DynamoDB, and then DynamoDB Local, reject items and keys of a table with another key. */
const WRONG_KEY =
  /does not match the schema|Missing the key|Type mismatch for|keys was not given|conditions on the keys/;

type TransactionalCommand = PutCommand | UpdateCommand | TransactWriteCommand | TransactGetCommand;

/** A table, and the client that its requests go through. */
export class Table {
  readonly name: string;
  readonly attributes: Readonly<DynamoDBAttributes>;
  readonly #injected: DynamoDBClient | DynamoDBDocumentClient;
  #client: DynamoDBDocumentClient | undefined;

  constructor(injected: Table["client"] | DynamoDBClient, name: string, attributes: Table["attributes"]) {
    this.#injected = injected;
    this.name = name;
    this.attributes = attributes;
  }

  /** The injected client if it is a document client, else a document client that shares its configuration. */
  get client(): DynamoDBDocumentClient {
    this.#client ??= documentClientOf(this.#injected);
    return this.#client;
  }

  /** Whether the client returns numbers as objects, strings, or whatever its application wants. */
  get wrapsNumbers(): boolean {
    return Boolean(translateConfigOf(this.#injected)?.unmarshallOptions?.wrapNumbers);
  }

  get(key: string, ConsistentRead: boolean, { signal }: Operation): Promise<GetCommandOutput> {
    const Key = { [this.attributes.id]: key };
    const get = new lib.GetCommand({ TableName: this.name, Key, ConsistentRead });
    return this.client.send(get, { abortSignal: signal }).catch(this.rethrow);
  }

  /**
   * Sends a command again as long as a transaction on the same items is in flight. The attempts in the metadata of an
   * error include what the client repeated before: one of these attempts may have taken place.
   */
  async send(
    command: TransactionalCommand,
    operation: Operation,
  ): Promise<Pick<TransactGetCommandOutput, "Responses">> {
    let repeated = 0;
    for (let repetition = 0; ; repetition++) {
      try {
        return await this.client.send(command as TransactGetCommand, { abortSignal: operation.signal });
      } catch (error) {
        const { $metadata } = error as Partial<DynamoDBServiceException>;
        repeated += ($metadata?.attempts ?? 1) - 1;
        if (!isTransient(error)) {
          if ($metadata !== undefined) $metadata.attempts = repeated + 1;
          return this.rethrow(error);
        }
      }
      await backoff(repetition);
      operation.throwIfAbandoned();
    }
  }

  /** Throws a {@link StoreError} if the error says what is wrong with the table, else the error itself. */
  readonly rethrow = (error: unknown): never => {
    const { id, ttl } = this.attributes;
    if (errorName(error) === "ValidationException" && WRONG_KEY.test((error as Error).message)) {
      throw this.wrongKey("another key", error);
    }
    if (errorName(error) !== "ResourceNotFoundException") throw error;
    throw new StoreError(
      "ERR_STORE_TABLE_MISSING",
      `The DynamoDB table "${this.name}" does not exist: create it with \`await store.createTable()\`, or in your infrastructure code with the partition key "${id}" (string) and TTL on "${ttl}".`,
      { cause: error },
    );
  };

  wrongKey(found: string, cause?: unknown): StoreError {
    return new StoreError(
      "ERR_STORE_TABLE_MISMATCH",
      `The table "${this.name}" has ${found}, but the store needs the partition key "${this.attributes.id}" alone, of type String: choose another table, or set the option \`attributes.id\`.`,
      { cause },
    );
  }
}

function documentClientOf(client: DynamoDBClient | DynamoDBDocumentClient): DynamoDBDocumentClient {
  if (client instanceof lib.DynamoDBDocumentClient) return client;
  // `from` sets the marshalling options in the client's own configuration. Those of another document client that the
  // application made of this client stay as they are.
  return lib.DynamoDBDocumentClient.from(client as DynamoDBClient, translateConfigOf(client));
}
