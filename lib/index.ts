export {
  AbstractStore,
  type ConflictEvent,
  type CorruptEvent,
  type ExpiredEvent,
  type ListedSession,
  type StoreEvents,
  type StoreTraits,
} from "./abstract-store.js";
export { StoreError, type StoreErrorCode } from "./errors.js";
export type { Callback, CallOptions } from "./internal/bridge.js";
export type { Serializer } from "./internal/codec.js";
export type { OperationMessage } from "./internal/diagnostics.js";
export type { EncryptionOptions } from "./internal/encryption.js";
export type { HashIdsOptions } from "./internal/keys.js";
export type { Operation } from "./internal/operation.js";
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
} from "./internal/record.js";
export type { ConflictPolicy, StoreOptions } from "./internal/store-options.js";
