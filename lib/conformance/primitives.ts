import { Operation } from "../core/operation.js";
import type {
  AbstractStore,
  ActivityUpdate,
  Awaitable,
  Found,
  RecordWrite,
  Removal,
  ScannedRecord,
  UserList,
  UserSession,
  WriteResult,
} from "../index.js";

/** The primitives of a store, which TypeScript hides from the suite. */
export interface Primitives {
  _read(key: string, operation: Operation): Awaitable<Found | undefined>;
  _write(key: string, write: RecordWrite, operation: Operation): Awaitable<WriteResult>;
  _touch(key: string, touch: ActivityUpdate, operation: Operation): Awaitable<WriteResult>;
  _remove(key: string, removal: Removal, operation: Operation): Awaitable<void>;
  _scan(start: string, operation: Operation): AsyncIterable<ScannedRecord[]>;
  /** Only of stores that support the option `user`. */
  _listUser(user: string, operation: Operation): Awaitable<UserList>;
  _removeEntries(user: string, entries: readonly UserSession[], operation: Operation): Awaitable<void>;
}

type WritingPrimitive = "_write" | "_touch" | "_remove" | "_removeEntries";

const TIMEOUT_MS = 10_000;

export function primitivesOf(store: AbstractStore): Primitives {
  return store as unknown as Primitives;
}

/** An operation for a primitive that the suite calls itself. */
export function newOperation(): Operation {
  return new Operation(TIMEOUT_MS);
}

/** Replaces a primitive of one store by what `replace` makes of it. */
export function intercept<Name extends keyof Primitives>(
  store: AbstractStore,
  name: Name,
  replace: (original: Primitives[Name]) => Primitives[Name],
): void {
  const original = primitivesOf(store)[name].bind(store) as Primitives[Name];
  Object.defineProperty(store, name, { value: replace(original), configurable: true, writable: true });
}

/** A request that a store has sent to its backend. */
export interface SentRequest<Argument> {
  readonly key: string;
  readonly argument: Argument;
  /** Sends it once more: what a client or the network may do with a request, also long after its response. */
  again(): Promise<void>;
}

/** The requests that a store sends to its backend from now on. */
export function sentBy<Name extends WritingPrimitive>(
  store: AbstractStore,
  name: Name,
): SentRequest<Parameters<Primitives[Name]>[1]>[] {
  type Argument = Parameters<Primitives[Name]>[1];
  type Send = (key: string, argument: Argument, operation: Operation) => Awaitable<never>;
  const sent: SentRequest<Argument>[] = [];
  intercept(store, name, original => {
    const send = original as Send;
    const recorded: Send = (key, argument, operation) => {
      const again = async () => {
        await send(key, argument, newOperation());
      };
      sent.push({ key, argument, again });
      return send(key, argument, operation);
    };
    return recorded as Primitives[Name];
  });
  return sent;
}

/**
 * From now on the response to every write of the store is lost, and the client sends the write again.
 *
 * @param meanwhile - runs between the two attempts
 */
export function loseResponses(store: AbstractStore, meanwhile = async () => {}): void {
  intercept(store, "_write", write => async (key, argument, operation) => {
    await write(key, argument, operation);
    await meanwhile();
    const result = await write(key, argument, operation);
    return result.written ? result : { ...result, retried: true };
  });
}
