import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { DynamoDBDocumentClient, TranslateConfig } from "@aws-sdk/lib-dynamodb";
import { type Rule, rules } from "../core/options.js";
import type { StoreOptions } from "../core/store-options.js";

/** The names of the attributes of an item. */
export interface DynamoDBAttributes {
  /** The partition key: prefix and sid. String. @defaultValue `"id"` */
  id: string;
  /** The serialized session. String, or binary if it is compressed. @defaultValue `"data"` */
  data: string;
  /** When DynamoDB may delete the item. Number, epoch seconds. @defaultValue `"ttl"` */
  ttl: string;
  /** How long the session lives after its last use. Number, milliseconds. @defaultValue `"l"` */
  lifetime: string;
  /** When the session was last used. Number, epoch milliseconds. @defaultValue `"a"` */
  activeAt: string;
  /** When the session was created. Number, epoch milliseconds. @defaultValue `"c"` */
  created: string;
  /** Identifies the last write. String. @defaultValue `"v"` */
  version: string;
  /** The user that the session belongs to. String, left out if there is none. @defaultValue `"u"` */
  user: string;
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
   * `"deflate"`: sessions are deflated if that saves write units. A write costs one unit for each kilobyte or part of
   * it. The option may change at any time: both forms can be read, whatever it says. @defaultValue `false`
   */
  compression?: "deflate" | false | undefined;
}

export const DEFAULT_TABLE_NAME = "sessions";

// Short names for what nobody looks up: DynamoDB counts names as part of the item.
const DEFAULT_ATTRIBUTES: DynamoDBAttributes = {
  id: "id",
  data: "data",
  ttl: "ttl",
  lifetime: "l",
  activeAt: "a",
  created: "c",
  version: "v",
  user: "u",
};

/** https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html */
const TABLE_NAME = /^([A-Za-z0-9_.-]{3,255}|arn:.+)$/;

/** What the options of a store must be, without the shared ones. */
export const dynamodbRules: Record<keyof Omit<DynamoDBStoreOptions, keyof StoreOptions>, Rule> = {
  client: {
    test: value => isClient(value) && clientProblem(value) === undefined,
    required: true,
    expected:
      "a DynamoDBClient or DynamoDBDocumentClient of the AWS SDK v3 (npm install @aws-sdk/client-dynamodb)",
    problem: value => (isClient(value) ? clientProblem(value) : undefined),
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
};

/** The names of all attributes, of which some were given. */
export function attributesOf(given: Partial<DynamoDBAttributes> = {}): Readonly<DynamoDBAttributes> {
  const named = Object.entries(given).filter(([, name]) => name !== undefined);
  return Object.freeze({ ...DEFAULT_ATTRIBUTES, ...Object.fromEntries(named) });
}

/** The marshalling options of a client, if it is a document client or one was made of it. */
export function translateConfigOf(
  client: DynamoDBClient | DynamoDBDocumentClient,
): TranslateConfig | undefined {
  return (client as DynamoDBDocumentClient).config?.translateConfig;
}

function isAttributes(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (!Object.keys(value).every(name => Object.hasOwn(DEFAULT_ATTRIBUTES, name))) return false;
  const names = Object.values(attributesOf(value));
  return names.every(name => typeof name === "string" && name !== "") && new Set(names).size === names.length;
}

function isClient(value: unknown): value is DynamoDBClient {
  const client = value as Partial<DynamoDBClient> | null | undefined;
  return typeof client?.send === "function" && typeof client.middlewareStack?.clone === "function";
}

/** Why the commands of `@aws-sdk/lib-dynamodb` cannot be used with a client, if they cannot. */
function clientProblem(client: DynamoDBClient): string | undefined {
  const { wrapNumbers, convertWithoutMapWrapper } = translateConfigOf(client)?.unmarshallOptions ?? {};
  if (client.config?.cacheMiddleware)
    return "its `cacheMiddleware` is on, which document clients do not support";
  if (convertWithoutMapWrapper === false)
    return "its `convertWithoutMapWrapper` is off, so that it cannot read";
  if (typeof wrapNumbers === "function" && Number(String(wrapNumbers("1"))) !== 1) {
    return "its `wrapNumbers` returns values that do not convert to strings of digits";
  }
  return undefined;
}
