export {
  AbstractStore,
  type ConflictEvent,
  type CorruptEvent,
  type ExpiredEvent,
  type ListedSession,
  type StoreEvents,
  type StoreTraits,
} from "./core/abstract-store.js";
export type { Callback, CallOptions } from "./core/callbacks.js";
export type { Serializer } from "./core/codec.js";
export type { OperationMessage } from "./core/diagnostics.js";
export type { EncryptionOptions } from "./core/encryption.js";
export type { HashIdsOptions } from "./core/keys.js";
export type { Operation } from "./core/operation.js";
export {
  ABSENT,
  type Awaitable,
  canExtend,
  decodeRecord,
  type Expected,
  type Extension,
  encodeRecord,
  isExpected,
  type ScannedRecord,
  type StoredRecord,
  UNREADABLE,
  type WriteResult,
} from "./core/record.js";
export type { ConflictPolicy, StoreOptions } from "./core/store-options.js";
export { StoreError, type StoreErrorCode } from "./errors.js";
