import { lib } from "../../dynamodb/sdk.js";
import type { Table } from "../../dynamodb/table.js";

/** A request that shows whether an action is allowed, and changes nothing. */
export interface Probe {
  /** The action of a policy. */
  readonly action: string;
  /** What does not work without it. */
  readonly use: string;
  /** Whether requests of the application need it. */
  readonly isNeeded: boolean;
  send(signal: AbortSignal): Promise<unknown>;
}

/** @param key - of which no session is */
export function probesOf(
  { name: TableName, attributes, client }: Table,
  key: string,
  keepsUsers: boolean,
): Probe[] {
  const Key = { [attributes.id]: key };
  // Never holds, so that nothing is written. DynamoDB checks permissions first.
  const never = {
    TableName,
    ConditionExpression: "attribute_exists(#id) AND attribute_not_exists(#id)",
    ExpressionAttributeNames: { "#id": attributes.id },
  };
  const update = {
    ...never,
    Key,
    UpdateExpression: "REMOVE #data",
    ExpressionAttributeNames: { "#id": attributes.id, "#data": attributes.data },
  };
  const requests = "the application needs it for every session";
  const probes: Probe[] = [
    {
      action: "GetItem",
      use: requests,
      isNeeded: true,
      send: abortSignal => client.send(new lib.GetCommand({ TableName, Key }), { abortSignal }),
    },
    {
      action: "BatchGetItem",
      use: "reads that wait together are sent one by one",
      isNeeded: false,
      send(abortSignal) {
        const RequestItems = { [TableName]: { Keys: [Key] } };
        return client.send(new lib.BatchGetCommand({ RequestItems }), { abortSignal });
      },
    },
    {
      action: "PutItem",
      use: requests,
      isNeeded: true,
      send: abortSignal => client.send(new lib.PutCommand({ ...never, Item: Key }), { abortSignal }),
    },
    {
      action: "UpdateItem",
      use: requests,
      isNeeded: true,
      send: abortSignal => client.send(new lib.UpdateCommand(update), { abortSignal }),
    },
    {
      action: "Scan",
      use: "listings, length and clear fail",
      isNeeded: false,
      send: abortSignal => client.send(new lib.ScanCommand({ TableName, Limit: 1 }), { abortSignal }),
    },
    {
      action: "DeleteItem",
      use: "only the command sweep needs it",
      isNeeded: false,
      send: abortSignal => client.send(new lib.DeleteCommand({ ...never, Key }), { abortSignal }),
    },
  ];
  if (!keepsUsers) return probes;
  // Needs no other permissions, but some engines have no transactions.
  const transaction = new lib.TransactWriteCommand({ TransactItems: [{ Update: update }] });
  const send = (abortSignal: AbortSignal) => client.send(transaction, { abortSignal });
  return [...probes, { action: "transactions", use: "the option `user` needs them", isNeeded: true, send }];
}
