export { AbstractStore, type DestroyByUserOptions, type ListedSession } from "./core/abstract-store.js";
export type { Callback, CallOptions } from "./core/callbacks.js";
export type { Serializer } from "./core/codec.js";
export type { Ttl } from "./core/cookie.js";
export type { OperationMessage } from "./core/diagnostics.js";
export type { EncryptionOptions } from "./core/encryption.js";
export type { ConflictEvent, CorruptEvent, ExpiredEvent, StoreEvents } from "./core/events.js";
export type { HashIdsOptions } from "./core/hashed-ids.js";
export type { Operation } from "./core/operation.js";
export {
  type ActivityUpdate,
  type Awaitable,
  conditionHolds,
  decodeRecord,
  encodeRecord,
  type Found,
  type FoundRecord,
  type IfAbsent,
  type IfVersion,
  isTombstone,
  type RecordWrite,
  type Removal,
  recordOf,
  type ScannedRecord,
  type StoredRecord,
  tombstoneOver,
  touchHolds,
  UNREADABLE,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteCondition,
  type WriteResult,
} from "./core/record.js";
export type { ConflictPolicy, StoreOptions } from "./core/store-options.js";
export type { ReindexProgress } from "./core/users/reindex.js";
export type { SessionLimitOptions } from "./core/users/session-limit.js";
export type { UserOf } from "./core/users/user-ids.js";
export type { SessionChange, UserSessionInfo } from "./core/users/user-sessions.js";
export { createStore } from "./create-store.js";
export { StoreError, type StoreErrorCode } from "./errors.js";
