import type { Found, StoredRecord } from "../../../lib/index.js";
import { UNREADABLE } from "../../../lib/index.js";
import type { MapStore } from "../stores/map-store.js";

/** One way to break the contract. */
export interface Fault {
  /** Describes a store with this fault. */
  does: string;
  /** The topic and the names of the tests that are meant to fail. */
  caughtBy: [topic: string, test: string, ...tests: string[]];
  /** Puts the fault into a store. */
  breakStore(store: MapStore): void;
}

// biome-ignore lint/suspicious/noExplicitAny: stands for methods of any signature, overloaded ones among them
type AnyMethod = (...args: any[]) => any;

/** Replaces a method of a store by the result of `wrap`. The suite may wrap it again. */
export function replace(
  store: MapStore,
  method: keyof MapStore,
  wrap: (original: AnyMethod) => AnyMethod,
): void {
  const original = (store[method] as AnyMethod).bind(store);
  Object.defineProperty(store, method, { value: wrap(original), configurable: true, writable: true });
}

/** Changes the records that a store reads. */
export function replaceRead(
  store: MapStore,
  change: (record: StoredRecord) => StoredRecord | undefined,
): void {
  replace(store, "_read", read => key => {
    const found: Found | undefined = read(key);
    if (found === undefined || found.record === UNREADABLE) return found;
    const record = change(found.record);
    return record && { ...found, record };
  });
}

/** Changes the records that a store writes, except tombstones. */
export function replaceWritten(
  store: MapStore,
  change: (record: StoredRecord, current: StoredRecord | undefined) => StoredRecord,
): void {
  replace(store, "_write", write => (key, argument, operation) => {
    const { record } = argument;
    const changed = record.lifetime === 0 ? record : change(record, store.stored(key));
    return write(key, { ...argument, record: changed }, operation);
  });
}

/** About 31 years, which is more than any test moves its clock. */
export const YEARS_MS = 1e12;
