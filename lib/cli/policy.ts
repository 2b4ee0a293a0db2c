import { type DynamoDBStore, tableOf } from "../dynamodb/store.js";

/** What may be allowed besides what requests need. */
export interface PolicyOptions {
  readonly listings?: boolean;
  readonly operator?: boolean;
}

/**
 * The requests of `get`, `set`, `touch` and `destroy`, with and without the option `user`: transactions need the
 * permissions of their parts, and the lists of users are items of the same table.
 */
const REQUESTS = ["BatchGetItem", "GetItem", "PutItem", "UpdateItem"];
/** Those of `all`, `ids`, `entries`, `length`, `reindex` and, with BatchWriteItem, `clear`. */
const LISTINGS = ["BatchWriteItem", "Scan"];
/** Those of `createTable()` and of the commands `setup`, `sweep` and `doctor`. */
const OPERATOR = ["CreateTable", "DeleteItem", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"];

const partitions: [start: string, partition: string][] = [
  ["cn-", "aws-cn"],
  ["us-gov-", "aws-us-gov"],
  ["eusc-", "aws-eusc"],
  ["us-iso-", "aws-iso"],
  ["us-isob-", "aws-iso-b"],
];

/** The smallest IAM policy for a store, in the region of its client. Sends no request. */
export async function policyOf(store: DynamoDBStore, { listings, operator }: PolicyOptions): Promise<object> {
  const Resource = await arnOf(store);
  const statement = (Sid: string, names: string[]) => {
    return { Sid, Effect: "Allow", Action: names.map(name => `dynamodb:${name}`), Resource };
  };
  const Statement = [statement("SessionRequests", REQUESTS)];
  if (listings || operator) Statement.push(statement("SessionListings", LISTINGS));
  if (operator) Statement.push(statement("SessionOperator", OPERATOR));
  return { Version: "2012-10-17", Statement };
}

async function arnOf(store: DynamoDBStore): Promise<string> {
  if (store.tableName.startsWith("arn:")) return store.tableName;
  const region = await tableOf(store).client.config.region();
  const [, partition] = partitions.find(([start]) => region.startsWith(start)) ?? ["", "aws"];
  return `arn:${partition}:dynamodb:${region}:*:table/${store.tableName}`;
}
