import { Operation } from "../core/operation.js";
import { isRefused } from "./errors.js";
import { DynamoDBItems, type ReturnedItem } from "./items.js";
import { scanItems } from "./scan.js";
import { lib } from "./sdk.js";
import type { Table } from "./table.js";

const REQUEST_TIMEOUT_MS = 10_000;
const WORKERS = 8;

/**
 * Deletes the items of a prefix whose TTL is past, as DynamoDB does within days. An item that was written since it was
 * read stays, because each write moves its TTL.
 *
 * @param onDeleted - called for each deleted session, not for tombstones and lists of users
 */
export async function sweep(
  table: Table,
  prefix: string,
  signal: AbortSignal | undefined,
  onDeleted: () => void,
): Promise<void> {
  const { ttl, lifetime } = table.attributes;
  const items = new DynamoDBItems(table);
  const isPast = (item: ReturnedItem) => items.numberOf(item[ttl]) * 1000 <= Date.now();
  const operation = new Operation(REQUEST_TIMEOUT_MS, signal);
  const pages = scanItems(table, prefix, true, operation);
  try {
    for (;;) {
      operation.renew();
      const next = await operation.withTimeout(pages.next());
      if (next.done) return;
      const past = next.value.filter(isPast);
      const worker = async () => {
        for (let item = past.pop(); item !== undefined; item = past.pop()) {
          signal?.throwIfAborted();
          const isDeleted = await deletePast(table, item);
          if (isDeleted && items.numberOf(item[lifetime]) > 0) onDeleted();
        }
      };
      await Promise.all(Array.from({ length: WORKERS }, worker));
    }
  } finally {
    // Not awaited: a scan that hangs must not hold up its consumer.
    pages.return(undefined).then(undefined, () => {});
  }
}

async function deletePast(
  { name: TableName, attributes, client, rethrow }: Table,
  item: ReturnedItem,
): Promise<boolean> {
  const command = new lib.DeleteCommand({
    TableName,
    Key: { [attributes.id]: item[attributes.id] },
    ConditionExpression: "#ttl <= :now",
    ExpressionAttributeNames: { "#ttl": attributes.ttl },
    ExpressionAttributeValues: { ":now": Math.floor(Date.now() / 1000) },
  });
  try {
    await client.send(command, { abortSignal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    return true;
  } catch (error) {
    if (isRefused(error)) return false;
    return rethrow(error);
  }
}
