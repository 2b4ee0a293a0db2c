import assert from "node:assert/strict";
import {
  type AbstractStore,
  type Found,
  type IfVersion,
  type RecordWrite,
  type StoredRecord,
  UNREADABLE,
  type WriteResult,
} from "../index.js";
import type { Harness } from "./harness.js";
import { newOperation, primitivesOf } from "./primitives.js";

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
/** The primitives of a store on one key, called as the base class calls them. */
export class RecordClient {
  readonly key: string;
  readonly now: number;
  readonly #store: AbstractStore;

  constructor(store: AbstractStore, { clock }: Harness, sid = "sid") {
    this.#store = store;
    this.key = store.prefix + sid;
    this.now = clock.now();
  }

  record(fields: Partial<StoredRecord> = {}): StoredRecord {
    const { now } = this;
    return { data: "data", version: "v1", lifetime: HOUR_MS, activeAt: now, createdAt: now, ...fields };
  }

  tombstone(id: string): StoredRecord {
    return this.record({ data: "", version: id, lifetime: 0 });
  }

  async read(): Promise<Found | undefined> {
    return await primitivesOf(this.#store)._read(this.key, newOperation());
  }

  async readRecord(): Promise<StoredRecord> {
    return recordIn(await this.read());
  }

  async create(fields: Partial<StoredRecord> = {}): Promise<void> {
    const result = await this.write(this.record(fields), { absent: true });
    assert.equal(result.written, true, "expected the key to be free");
  }

  async write(record: StoredRecord, condition: RecordWrite["condition"]): Promise<WriteResult> {
    const write = { record, condition, deleteAt: this.now + 2 * HOUR_MS };
    return await primitivesOf(this.#store)._write(this.key, write, newOperation());
  }

  /** Replaces the record with `condition`, which holds but for the given fields. */
  async replace(condition: Partial<IfVersion>): Promise<WriteResult> {
    const { now } = this;
    const holding = {
      version: "v1",
      activeFrom: now - MINUTE_MS,
      activeTo: now + MINUTE_MS,
      token: undefined,
    };
    return await this.write(this.record({ version: "v2" }), { absent: false, ...holding, ...condition });
  }

  /** Moves the last use by a minute, with conditions that hold but for the given fields. */
  async touch(
    fields: Partial<Parameters<ReturnType<typeof primitivesOf>["_touch"]>[1]>,
  ): Promise<WriteResult> {
    const { now } = this;
    const touch = {
      activeAt: now + MINUTE_MS,
      lifetime: HOUR_MS,
      createdAt: undefined,
      activeFrom: now - MINUTE_MS,
      deleteAt: now + 2 * HOUR_MS,
      seen: undefined,
      ...fields,
    };
    return await primitivesOf(this.#store)._touch(this.key, touch, newOperation());
  }

  async remove(id: string): Promise<void> {
    const removal = { tombstone: this.tombstone(id), id, deleteAt: this.now + HOUR_MS };
    await primitivesOf(this.#store)._remove(this.key, removal, newOperation());
  }
}

export function recordIn(found: Found | undefined): StoredRecord {
  assert.ok(found, "expected a record to be there");
  assert.notEqual(found.record, UNREADABLE);
  return found.record as StoredRecord;
}

/** What a rejected write or touch returns as stored. */
export function rejected(result: WriteResult): Found | undefined {
  assert.equal(result.written, false, "expected the condition not to hold");
  return result.written ? undefined : result.current;
}

/** A record with its optional fields, to be compared. */
export const same = (record: StoredRecord) => ({ user: undefined, ...record });

export function isWritten({ written }: WriteResult): boolean {
  return written;
}
