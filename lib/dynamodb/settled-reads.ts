import type { Operation } from "../core/operation.js";
import type { Found } from "../core/record.js";
import type { DynamoDBItems } from "./items.js";
import { lib } from "./sdk.js";
import type { Table } from "./table.js";

/** So many of the largest items are DynamoDB's limit for a transaction, 4 MB. */
const MAX_ITEMS = 10;
const WORKERS = 4;

/**
 * Reads what is stored under keys when no write transaction on them is in flight. DynamoDB applies a transaction to one
 * item after the other. For as long as that takes, a read on its own shows an item as it was before.
 */
export async function readSettled(
  table: Table,
  items: DynamoDBItems,
  keys: readonly string[],
  operation: Operation,
): Promise<Map<string, Found | undefined>> {
  const { name: TableName, attributes } = table;
  const left = [...keys];
  const found = new Map<string, Found | undefined>();
  const worker = async () => {
    while (left.length > 0) {
      operation.throwIfAbandoned();
      const batch = left.splice(-MAX_ITEMS);
      const TransactItems = batch.map(key => ({ Get: { TableName, Key: { [attributes.id]: key } } }));
      const { Responses = [] } = await table.send(new lib.TransactGetCommand({ TransactItems }), operation);
      for (const [index, key] of batch.entries()) {
        found.set(key, await items.foundOf(Responses[index]?.Item));
      }
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
  return found;
}
