import { StoreError } from "../errors.js";
import type { Operation } from "./operation.js";
import {
  type ActivityUpdate,
  type Awaitable,
  type Found,
  isPromise,
  type RecordWrite,
  type Removal,
  type UserList,
  type UserSession,
  type WriteResult,
} from "./record.js";

/** The operations of a backend on single records. */
export interface RecordOperations {
  read(key: string, operation: Operation): Awaitable<Found | undefined>;
  write(key: string, write: RecordWrite, operation: Operation): Awaitable<WriteResult>;
  touch(key: string, touch: ActivityUpdate, operation: Operation): Awaitable<WriteResult>;
  remove(key: string, removal: Removal, operation: Operation): Awaitable<void>;
  /** Only if the store supports the option `user`. */
  listUser(user: string, operation: Operation): Awaitable<UserList>;
  removeEntries(user: string, entries: readonly UserSession[], operation: Operation): Awaitable<void>;
}

/**
 * Calls a backend. Any error without a code of ours becomes `ERR_STORE_UNAVAILABLE`. The first four methods write
 * {@link guard} out: a function for each call would take a tenth of a touch in memory.
 */
export class GuardedBackend implements RecordOperations {
  readonly #backend: RecordOperations;

  constructor(backend: RecordOperations) {
    this.#backend = backend;
  }

  read(key: string, operation: Operation): Awaitable<Found | undefined> {
    try {
      return orUnavailable(this.#backend.read(key, operation));
    } catch (error) {
      return unavailable(error);
    }
  }

  write(key: string, write: RecordWrite, operation: Operation): Awaitable<WriteResult> {
    try {
      return orUnavailable(this.#backend.write(key, write, operation));
    } catch (error) {
      return unavailable(error);
    }
  }

  touch(key: string, touch: ActivityUpdate, operation: Operation): Awaitable<WriteResult> {
    try {
      return orUnavailable(this.#backend.touch(key, touch, operation));
    } catch (error) {
      return unavailable(error);
    }
  }

  remove(key: string, removal: Removal, operation: Operation): Awaitable<void> {
    try {
      return orUnavailable(this.#backend.remove(key, removal, operation));
    } catch (error) {
      return unavailable(error);
    }
  }

  listUser(user: string, operation: Operation): Awaitable<UserList> {
    return guard(() => this.#backend.listUser(user, operation));
  }

  removeEntries(user: string, entries: readonly UserSession[], operation: Operation): Awaitable<void> {
    return guard(() => this.#backend.removeEntries(user, entries, operation));
  }
}

/** Calls a function of a backend, whether it throws or rejects. */
export function guard<T>(call: () => Awaitable<T>): Awaitable<T> {
  try {
    return orUnavailable(call());
  } catch (error) {
    return unavailable(error);
  }
}

function orUnavailable<T>(result: Awaitable<T>): Awaitable<T> {
  return isPromise(result) ? result.then(undefined, unavailable) : result;
}

function unavailable(error: unknown): never {
  if (error instanceof StoreError) throw error;
  throw new StoreError(
    "ERR_STORE_UNAVAILABLE",
    "The session store's backend failed or could not be reached; see `cause`.",
    { cause: error },
  );
}
