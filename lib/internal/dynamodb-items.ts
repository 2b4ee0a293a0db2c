import type { DynamoDBAttributes } from "../dynamodb.js";
import { GRACE_MS } from "./expiry.js";
import { readableRecord, type ScannedRecord, type StoredRecord } from "./record.js";

/** An item as the document client takes and gives it. */
// biome-ignore lint/suspicious/noExplicitAny: the document client's own type
export type Item = Record<string, any>;

/** The mapping between records and DynamoDB items. */
export class DynamoDBItems {
  readonly #attributes: DynamoDBAttributes;

  constructor(attributes: DynamoDBAttributes) {
    this.#attributes = attributes;
  }

  itemOf(key: string, record: StoredRecord): Item {
    const { id, data, expires, ttl, created, version, slack } = this.#attributes;
    return {
      [id]: key,
      [data]: record.data,
      [expires]: record.expiresAt,
      [ttl]: this.ttlOf(record.expiresAt),
      [created]: record.createdAt,
      [version]: record.version,
      [slack]: record.slack,
    };
  }

  /** Whole seconds, rounded up, after the grace period. */
  ttlOf(expiresAt: number): number {
    return Math.ceil((expiresAt + GRACE_MS) / 1000);
  }

  recordOf(item: Item | undefined): StoredRecord | undefined {
    if (item === undefined) return undefined;
    const { data, expires, created, version, slack } = this.#attributes;
    return readableRecord(
      plainValue(item[data]),
      plainValue(item[version]),
      numberOf(item[expires]),
      numberOf(item[slack]),
      numberOf(item[created]),
    );
  }

  scannedOf(item: Item): ScannedRecord {
    return { key: item[this.#attributes.id], record: this.recordOf(item) as StoredRecord };
  }

  /**
   * What DynamoDB counts for an item: names and strings in UTF-8, a byte for two digits of a number and one more.
   * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
   */
  sizeOf(item: Item): number {
    let size = 0;
    for (const [name, value] of Object.entries(item)) {
      size += Buffer.byteLength(name);
      size += typeof value === "string" ? Buffer.byteLength(value) : Math.ceil(String(value).length / 2) + 1;
    }
    return size;
  }
}

/** The item that comes with a failed condition is not unmarshalled by the document client: `{ S: ... }`, `{ N: ... }`. */
function plainValue(attribute: unknown): unknown {
  if (typeof attribute !== "object" || attribute === null) return attribute;
  const { S, N } = attribute as { S?: unknown; N?: unknown };
  return S ?? N;
}

function numberOf(attribute: unknown): number {
  const value = plainValue(attribute);
  return value === undefined || value === null || value === "" ? Number.NaN : Number(value);
}
