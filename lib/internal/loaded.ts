import type { SessionData } from "express-session";
import type { Deadline, StoredRecord } from "./record.js";

/** What is remembered of a session that a request holds, so that its saves can be conditional and merge. */
export interface Loaded {
  readonly sid: string;
  /**
   * The stored record as last seen, and its expiry, which a touch moves; `undefined` for a new session before its
   * first save.
   */
  stored: { record: StoredRecord; deadline: Deadline } | undefined;
  /**
   * The session as this request held it when it was loaded or last saved, serialized. Differs from what is stored
   * after a merge: only what changed since this is this request's doing.
   */
  held: string;
  /**
   * When the session was to end when it was loaded or last saved. A cookie that says the same at the next save is not
   * this request's doing, and must not undo a touch by another.
   */
  sessionEnd: number | undefined;
  /** The last writes that have not been answered, version to `held`: one that is found stored later was ours. */
  unanswered: Map<string, string> | undefined;
}

/** The memory of loaded sessions, by the object that the request holds. It lives as long as that object. */
export class LoadedSessions {
  readonly #loaded = new WeakMap<object, Loaded>();

  /** Notes that `session` was read from, or is about to be written to, `sid`. */
  remember(session: object, sid: string, record: StoredRecord | undefined, held: string): Loaded {
    const loaded: Loaded = {
      sid,
      stored: record && { record, deadline: record },
      held,
      sessionEnd: record && record.expiresAt - record.slack,
      unanswered: undefined,
    };
    this.#loaded.set(session, loaded);
    return loaded;
  }

  /** What is remembered of `session`, unless it is used under another sid than it was loaded from. */
  find(sid: string, session: object): Loaded | undefined {
    const loaded = this.#loaded.get(session);
    return loaded?.sid === sid ? loaded : undefined;
  }

  /** Whether something is remembered of `session`, under whatever sid. */
  knows(session: object): boolean {
    return this.#loaded.has(session);
  }

  /** `Session` objects are made of the object that `get` returned: the memory goes along, as one of its own. */
  carryOver(from: SessionData, to: object): void {
    const loaded = this.#loaded.get(from);
    if (loaded !== undefined) {
      this.#loaded.set(to, {
        ...loaded,
        stored: loaded.stored && { ...loaded.stored },
        unanswered: undefined,
      });
    }
  }
}
