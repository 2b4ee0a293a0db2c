import type { EventEmitter } from "node:events";

/** Payload of `conflict`: a save found that the stored record is not the one the session was loaded from. */
export interface ConflictEvent {
  /**
   * - `gone`: the session was destroyed or has ended. Nothing was written.
   * - `merged`: another request changed the session. Both changes were kept.
   * - `untracked`: the store does not know what the session object was loaded from, and a session is stored under its
   *   id. What the object holds was merged into it.
   */
  reason: "gone" | "merged" | "untracked";
  /**
   * The keys that both sides changed, where the value of the later save was kept. For fields of the cookie, `cookie`
   * and `cookie.<field>`.
   */
  keys: string[];
  /**
   * Identifies the session without revealing its id, which is a credential. SHA-256 of the sid in base64url or, with
   * `hashIds`, the digest that listings show.
   */
  sidHash: string;
}

/** Payload of `corrupt`: a stored record could not be decoded. The session is missing, the record is left in place. */
export interface CorruptEvent {
  sidHash: string;
  cause: unknown;
}

/**
 * Payload of `expired`. DynamoDB and etcd delete expired records without notifying the store, so there only `get` emits
 * this event.
 */
export interface ExpiredEvent {
  /**
   * `found`: a `get` found the record of a session that has ended. `removed`: the sweep of this store deleted it. That
   * is emitted once for each session, and only for sessions of this store's prefix.
   */
  reason: "found" | "removed";
  sidHash: string;
}

/** The events of a store and their payloads. */
export interface StoreEvents {
  conflict: ConflictEvent;
  corrupt: CorruptEvent;
  expired: ExpiredEvent;
  /** Background work failed. */
  error: unknown;
}

/** The listener of an event that is not one of the store's. */
// biome-ignore lint/suspicious/noExplicitAny: as EventEmitter has it
export type Listener = (...args: any[]) => void;

/** Emits an event on a later tick, so that a listener that throws does not fail the operation. */
export function emitLater<Event extends keyof StoreEvents>(
  emitter: EventEmitter,
  event: Event,
  describe: () => StoreEvents[Event],
): void {
  if (emitter.listenerCount(event) === 0) return;
  const payload = describe();
  // Checked again: an `error` event without a listener would end the process.
  process.nextTick(() => emitter.listenerCount(event) > 0 && emitter.emit(event, payload));
}
