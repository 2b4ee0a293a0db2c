import type { SessionData } from "express-session";
import { type Deadline, NO_DEADLINE, type StoredRecord } from "../record.js";

/** What is remembered of a session that a request holds, so that its saves can be conditional and merge. */
export interface Loaded {
  readonly owner: LoadedSessions;
  readonly sid: string;
  key: string;
  /** The stored record as last seen; `undefined` for a new session before its first save. */
  record: StoredRecord | undefined;
  /** The expiry of what is stored, as far as is known: touches move it. */
  deadline: Deadline;
  /**
   * The session as this request held it when it was loaded or last saved, serialized: only what changed since this is
   * this request's doing.
   */
  held: string;
  /** Whether what is stored differs from that: it is the outcome of a merge. */
  isBehind: boolean;
  /**
   * When the session was to end when it was loaded or last saved. A cookie that says the same at the next save is not
   * this request's doing, and must not undo a touch by another.
   */
  sessionEnd: number | undefined;
  /** The last writes that have not been answered: one that is found stored later was ours. */
  unanswered: { readonly version: string; readonly held: string }[] | undefined;
  /** What other stores remember of the same object. */
  readonly next: Loaded | undefined;
}

/** A constructor that gives back what it is given, so that a class which extends it adds its fields to that. */
const Given = class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: this is what it is for
    return object;
  }
} as new (
  object: object,
) => object;

/**
 * A memory of an object, as a private field of it: invisible to everybody else, and gone with it. A WeakMap would do
 * the same, but entering an object there costs as much as half of a `get` in memory, and garbage collection more.
 */
class Memory extends Given {
  #loaded: Loaded;

  private constructor(session: object, loaded: Loaded) {
    super(session);
    this.#loaded = loaded;
  }

  static of(session: object): Loaded | undefined {
    return #loaded in session ? session.#loaded : frozen.get(session);
  }

  static set(session: object, loaded: Loaded): void {
    if (#loaded in session) session.#loaded = loaded;
    // Engines are going to refuse new private fields there, as they do other fields.
    else if (!Object.isExtensible(session)) frozen.set(session, loaded);
    else new Memory(session, loaded);
  }
}

const frozen = new WeakMap<object, Loaded>();

/** The memory that one store has of loaded sessions, by the object that the request holds. */
export class LoadedSessions {
  /** Notes that `session` was read from, or is about to be written to, `sid`. */
  remember(
    session: object,
    sid: string,
    key: string,
    record: StoredRecord | undefined,
    held: string,
  ): Loaded {
    const known = Memory.of(session);
    const loaded: Loaded = {
      owner: this,
      sid,
      key,
      record,
      deadline: record ?? NO_DEADLINE,
      held,
      isBehind: false,
      sessionEnd: record && record.expiresAt - record.slack,
      unanswered: undefined,
      next: known?.owner === this ? known.next : known,
    };
    Memory.set(session, loaded);
    return loaded;
  }

  /** What is remembered of `session`, under whatever sid. */
  find(session: object): Loaded | undefined {
    let loaded = Memory.of(session);
    while (loaded !== undefined && loaded.owner !== this) loaded = loaded.next;
    return loaded;
  }

  /** `Session` objects are made of the object that `get` returned: the memory goes along, as one of its own. */
  carryOver(from: SessionData, to: object): void {
    const loaded = this.find(from);
    if (loaded === undefined) return;
    const own = this.remember(to, loaded.sid, loaded.key, loaded.record, loaded.held);
    own.isBehind = loaded.isBehind;
    own.deadline = loaded.deadline;
    own.sessionEnd = loaded.sessionEnd;
  }
}
