import { promisify } from "node:util";
import { deflateRaw, inflateRaw } from "node:zlib";
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import {
  type Awaitable,
  chain,
  type Found,
  recordOf,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
} from "../core/record.js";
import type { Table } from "./table.js";

/** An item as it is given to the document commands. */
export type Item = Record<string, string | number | Uint8Array>;

/** An item as the document commands return it: a number may be wrapped. */
export type ReturnedItem = Record<string, unknown>;

const deflate = promisify(deflateRaw);
const inflate = promisify(inflateRaw);

/** Data of at most this size is deflated. Data that inflates to more is no session. */
export const MAX_INFLATED_BYTES = 4 * 1024 * 1024;

/** A write costs a unit for each of these, or part of one. */
const WRITE_UNIT_BYTES = 1024;

/** The mapping between records and the items of a table. */
export class DynamoDBItems {
  readonly #table: Pick<Table, "attributes" | "wrapsNumbers">;

  constructor(table: Pick<Table, "attributes" | "wrapsNumbers">) {
    this.#table = table;
  }

  itemOf(key: string, record: StoredRecord, deleteAt: number): Item {
    const { id, data, ttl, lifetime, activeAt, created, version, user } = this.#table.attributes;
    const item: Item = {
      [id]: key,
      [ttl]: ttlOf(deleteAt),
      [lifetime]: record.lifetime,
      [activeAt]: record.activeAt,
      [created]: record.createdAt,
      [version]: record.version,
    };
    // A client with `convertEmptyValues` turns empty strings into NULL, and DynamoDB Local rejects them.
    if (record.data !== "") item[data] = record.data;
    if (record.user) item[user] = record.user;
    return item;
  }

  /** The item with its data deflated if it costs fewer write units then, else the item. */
  async compressed(item: Item): Promise<Item> {
    const { data: name } = this.#table.attributes;
    const units = unitsOf(sizeOf(item));
    const data = Buffer.from((item[name] as string | undefined) ?? "");
    if (units === 1 || data.length > MAX_INFLATED_BYTES) return item;
    const deflated = { ...item, [name]: await deflate(data) };
    return unitsOf(sizeOf(deflated)) < units ? deflated : item;
  }

  foundOf(item: ReturnedItem | undefined): Awaitable<Found | undefined> {
    if (item === undefined) return undefined;
    return chain(this.#recordOf(item), record => ({ record }));
  }

  async scannedOf(item: ReturnedItem): Promise<ScannedRecord> {
    return { key: this.keyOf(item), record: await this.#recordOf(item) };
  }

  keyOf(item: ReturnedItem): string {
    return item[this.#table.attributes.id] as string;
  }

  #recordOf(item: ReturnedItem): Awaitable<StoredRecord | typeof UNREADABLE> {
    const { data, lifetime: lifetimeName, activeAt, created, version, user } = this.#table.attributes;
    const lifetime = this.numberOf(item[lifetimeName]);
    const record = (text: unknown) =>
      recordOf({
        data: text,
        version: item[version],
        lifetime,
        activeAt: this.numberOf(item[activeAt]),
        createdAt: this.numberOf(item[created]),
        user: item[user],
      });
    const stored = item[data];
    if (stored instanceof Uint8Array) return inflated(stored).then(record, () => UNREADABLE);
    const isTombstone = lifetime === 0 && stored === undefined;
    return record(isTombstone ? "" : stored);
  }

  /** A number as the client returns it; `NaN` for anything else. */
  numberOf(value: unknown): number {
    if (typeof value === "number" || typeof value === "bigint") return Number(value);
    // `Number("")` is 0.
    return this.#table.wrapsNumbers ? Number(String(value) || Number.NaN) : Number.NaN;
  }
}

/** Epoch seconds, rounded up. */
export function ttlOf(deleteAt: number): number {
  return Math.ceil(deleteAt / 1000);
}

/** An item that comes with an error: there the document commands return it as it goes over the wire. */
export function unmarshalled(item: Record<string, AttributeValue>): ReturnedItem {
  const native = ({ S, N, B }: AttributeValue) => S ?? B ?? (N === undefined ? null : Number(N));
  return Object.fromEntries(Object.entries(item).map(([name, value]) => [name, native(value)]));
}

async function inflated(data: Uint8Array): Promise<string> {
  const text = await inflate(data, { maxOutputLength: MAX_INFLATED_BYTES });
  return text.toString();
}

/**
 * What DynamoDB counts for an item: names and strings in UTF-8, binary data as it is, and a byte for two digits of a
 * number and one more.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
 */
export function sizeOf(item: Item): number {
  let size = 0;
  for (const [name, value] of Object.entries(item)) {
    size += Buffer.byteLength(name);
    if (typeof value === "string") size += Buffer.byteLength(value);
    else if (typeof value === "number") size += Math.ceil(String(value).length / 2) + 1;
    else size += value.length;
  }
  return size;
}

function unitsOf(size: number): number {
  return Math.ceil(size / WRITE_UNIT_BYTES);
}
