import type { ScanCommandInput } from "@aws-sdk/lib-dynamodb";
import type { Operation } from "../core/operation.js";
import type { ReturnedItem } from "./items.js";
import { lib } from "./sdk.js";
import type { Table } from "./table.js";

const SEGMENTS = 4;

/** The items whose key begins with `start`, in pages, read in parallel segments. */
export async function* scanItems(
  { name, attributes, client, rethrow }: Table,
  start: string,
  isConsistent: boolean,
  operation: Operation,
): AsyncGenerator<ReturnedItem[]> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  const request: ScanCommandInput = {
    TableName: name,
    ConsistentRead: isConsistent,
    TotalSegments: SEGMENTS,
    ...(start !== "" && {
      FilterExpression: "begins_with(#id, :start)",
      ExpressionAttributeNames: { "#id": attributes.id },
      ExpressionAttributeValues: { ":start": start },
    }),
  };
  const pages = new Map<number, ReturnType<typeof fetchPage>>();
  const fetchPage = async (Segment: number, ExclusiveStartKey?: ReturnedItem) => {
    const scan = new lib.ScanCommand({ ...request, Segment, ExclusiveStartKey });
    const { Items = [], LastEvaluatedKey } = await client.send(scan, { abortSignal: stop.signal });
    return { segment: Segment, items: Items, next: LastEvaluatedKey };
  };
  const startPage = (segment: number, from?: ReturnedItem) => {
    const page = fetchPage(segment, from);
    // Nobody waits for the other segments once one has failed.
    page.catch(() => {});
    pages.set(segment, page);
  };
  for (let segment = 0; segment < SEGMENTS; segment++) startPage(segment);
  try {
    while (pages.size > 0) {
      // Adds nothing if the signal is that of the page before.
      operation.signal.addEventListener("abort", abort);
      operation.throwIfAbandoned();
      const { segment, items, next } = await Promise.race(pages.values()).catch(rethrow);
      pages.delete(segment);
      if (next !== undefined) startPage(segment, next);
      yield items;
    }
  } finally {
    stop.abort();
  }
}
