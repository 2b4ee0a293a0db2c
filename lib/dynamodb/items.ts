import { promisify } from "node:util";
import { deflateRaw, inflateRaw } from "node:zlib";
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { GRACE_MS } from "../core/expiry.js";
import { type Awaitable, readableRecord, type StoredRecord, UNREADABLE } from "../core/record.js";
import type { DynamoDBAttributes } from "./store.js";

/** An item as it goes over the wire. */
export type Item = Record<string, AttributeValue>;

const deflate = promisify(deflateRaw);
const inflate = promisify(inflateRaw);

/** What deflates to less than this may be stored, and what inflates to more than this is no session. */
export const MAX_INFLATED_BYTES = 4 * 1024 * 1024;

/** A write costs a unit for each of these, or part of one. */
const WRITE_UNIT_BYTES = 1024;

/** The mapping between records and DynamoDB items. */
export class DynamoDBItems {
  readonly #attributes: DynamoDBAttributes;

  constructor(attributes: DynamoDBAttributes) {
    this.#attributes = attributes;
  }

  itemOf(key: string, record: StoredRecord): Item {
    const { id, data, expires, ttl, created, version, slack } = this.#attributes;
    return {
      [id]: { S: key },
      [data]: { S: record.data },
      [expires]: { N: String(record.expiresAt) },
      // The mark of a moved session has no expiry, and items that ended more than five years ago stay.
      [ttl]: { N: this.ttlOf(Math.max(record.expiresAt, record.createdAt)) },
      [created]: { N: String(record.createdAt) },
      [version]: { S: record.version },
      [slack]: { N: String(record.slack) },
    };
  }

  /** The item with its data deflated, if it costs fewer write units then. */
  async smaller(item: Item): Promise<Item> {
    const units = unitsOf(sizeOf(item));
    const data = Buffer.from(item[this.#attributes.data]?.S ?? "");
    if (units === 1 || data.length > MAX_INFLATED_BYTES) return item;
    const deflated = { ...item, [this.#attributes.data]: { B: await deflate(data) } };
    return unitsOf(sizeOf(deflated)) < units ? deflated : item;
  }

  /** Whole seconds, rounded up, after the grace period. */
  ttlOf(expiresAt: number): string {
    return String(Math.ceil((expiresAt + GRACE_MS) / 1000));
  }

  recordOf(item: Item | undefined): Awaitable<StoredRecord | undefined> {
    if (item === undefined) return undefined;
    const { data, expires, created, version, slack } = this.#attributes;
    const record = (text: unknown) =>
      readableRecord(
        text,
        item[version]?.S,
        numberOf(item[expires]),
        numberOf(item[slack]),
        numberOf(item[created]),
      );
    const stored = item[data];
    return stored?.B === undefined ? record(stored?.S) : inflated(stored.B).then(record, () => UNREADABLE);
  }

  keyOf(item: Item): string {
    return item[this.#attributes.id]?.S as string;
  }
}

async function inflated(data: Uint8Array): Promise<string> {
  const text = await inflate(data, { maxOutputLength: MAX_INFLATED_BYTES });
  return text.toString();
}

/**
 * What DynamoDB counts for an item: names and strings in UTF-8, binary data as it is, a byte for two digits of a
 * number and one more.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
 */
export function sizeOf(item: Item): number {
  let size = 0;
  for (const [name, { S, N, B }] of Object.entries(item)) {
    size += Buffer.byteLength(name);
    if (S !== undefined) size += Buffer.byteLength(S);
    else if (N !== undefined) size += Math.ceil(N.length / 2) + 1;
    else size += B?.length ?? 0;
  }
  return size;
}

function unitsOf(size: number): number {
  return Math.ceil(size / WRITE_UNIT_BYTES);
}

function numberOf(attribute: AttributeValue | undefined): number {
  // Not '' or null, which Number() takes for 0.
  return Number(attribute?.N || Number.NaN);
}
