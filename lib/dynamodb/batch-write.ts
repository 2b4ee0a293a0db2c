import type { Operation } from "../core/operation.js";
import { backoff } from "./backoff.js";
import type { Item } from "./items.js";
import { lib } from "./sdk.js";
import type { Table } from "./table.js";

/** DynamoDB's limit for the requests of a BatchWriteItem. */
const MAX_ITEMS = 25;
const WORKERS = 4;

/** Puts items in place of whatever is stored. */
export async function putItems(table: Table, items: readonly Item[], operation: Operation): Promise<void> {
  const left = [...items];
  const worker = async () => {
    while (left.length > 0) await putBatch(table, left.splice(-MAX_ITEMS), operation);
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

/** Sends again what DynamoDB leaves unprocessed (throttling). */
async function putBatch(
  { name, attributes: { id }, client, rethrow }: Table,
  items: Item[],
  { signal }: Operation,
): Promise<void> {
  let left = items;
  for (let repetition = 0; ; repetition++) {
    const requests = left.map(Item => ({ PutRequest: { Item } }));
    const write = new lib.BatchWriteCommand({ RequestItems: { [name]: requests } });
    const { UnprocessedItems } = await client.send(write, { abortSignal: signal }).catch(rethrow);
    const unprocessed = Object.values(UnprocessedItems ?? {}).flat();
    const keys = new Set(unprocessed.map(({ PutRequest }) => PutRequest?.Item?.[id]));
    // Not the returned items, since the client may have wrapped their numbers.
    left = left.filter(item => keys.has(item[id]));
    if (left.length === 0) return;
    await backoff(repetition);
  }
}
