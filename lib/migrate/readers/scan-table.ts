import { peerError } from "../../support/optional-peer.js";

/** A DynamoDBClient or DynamoDBDocumentClient of the AWS SDK v3. */
export interface DynamoDBReaderClient {
  send(command: never): Promise<unknown>;
}

/** A value as it goes over the wire. */
export interface WireValue {
  readonly S?: string;
  readonly N?: string;
  readonly B?: Uint8Array;
  readonly BOOL?: boolean;
  readonly NULL?: boolean;
  readonly M?: WireItem;
  readonly L?: readonly WireValue[];
  readonly SS?: readonly string[];
  readonly NS?: readonly string[];
  readonly BS?: readonly Uint8Array[];
}

export type WireItem = Readonly<Record<string, WireValue>>;

interface Page {
  readonly Items?: WireItem[];
  readonly LastEvaluatedKey?: WireItem;
}

/** Where the sessions of another store are. */
export interface ScannedTable {
  readonly client: DynamoDBReaderClient;
  readonly table: string;
  readonly hashKey: string;
  readonly prefix: string;
}

/** @throws Error if the SDK is not installed */
export function loadScanCommand(): typeof import("@aws-sdk/client-dynamodb").ScanCommand {
  try {
    return (require("@aws-sdk/client-dynamodb") as typeof import("@aws-sdk/client-dynamodb")).ScanCommand;
  } catch (error) {
    throw peerError(error, "@aws-sdk/client-dynamodb", "migrate");
  }
}

/** The items whose key begins with the prefix, with the rest of the key: the sid. Reads consistently. */
export async function* scanTable({
  client,
  table,
  hashKey,
  prefix,
}: ScannedTable): AsyncGenerator<{ sid: string; item: WireItem }> {
  const ScanCommand = loadScanCommand();
  const filter = prefix !== "" && {
    FilterExpression: "begins_with(#id, :prefix)",
    ExpressionAttributeNames: { "#id": hashKey },
    ExpressionAttributeValues: { ":prefix": { S: prefix } },
  };
  let start: WireItem | undefined;
  do {
    const command = new ScanCommand({
      TableName: table,
      ConsistentRead: true,
      ExclusiveStartKey: start as never,
      ...filter,
    });
    const { Items = [], LastEvaluatedKey } = (await client.send(command as never)) as Page;
    for (const item of Items) {
      const sid = item[hashKey]?.S?.slice(prefix.length);
      if (sid) yield { sid, item };
    }
    start = LastEvaluatedKey;
  } while (start !== undefined);
}

/** Epoch milliseconds of an attribute in epoch seconds. */
export function millisecondsOf(attribute: WireValue | undefined): number | undefined {
  return attribute?.N === undefined ? undefined : Math.round(Number(attribute.N) * 1000);
}

export function isDynamoDBClient(value: unknown): boolean {
  return typeof (value as { send?: unknown } | null)?.send === "function";
}
