import { Cookie, type SessionData, type Store } from "express-session";
import { Operation } from "../core/operation.js";
import { StoreError } from "../errors.js";

type Method = "get" | "set" | "destroy" | "touch" | "all" | "length" | "clear";
type Done = (error?: unknown, value?: unknown) => void;

/** A session in an array. Some stores add its id, which is no part of what was saved. */
type ListedSession = SessionData & { id?: unknown; sid?: unknown };

/** Calls a session store of somebody else, with promises and a time limit. */
export class OldStore {
  readonly #store: Store;
  readonly #timeoutMs: number;

  constructor(store: Store, timeoutMs: number) {
    this.#store = store;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether the store has a method: `all`, `length`, `clear` and `touch` are optional. */
  has(method: Method): boolean {
    return typeof (this.#store as Partial<Record<Method, unknown>>)[method] === "function";
  }

  async get(sid: string): Promise<SessionData | null> {
    try {
      return ((await this.#call("get", sid)) as SessionData | null | undefined) ?? null;
    } catch (error) {
      // session-file-store says so that there is none, and express-session understands it. A socket is no session.
      const { code, syscall } = ((error as StoreError).cause ?? {}) as NodeJS.ErrnoException;
      if (code === "ENOENT" && syscall !== "connect") return null;
      throw error;
    }
  }

  async set(sid: string, session: SessionData): Promise<void> {
    await this.#call("set", sid, withCookie(session));
  }

  async destroy(sid: string): Promise<void> {
    await this.#call("destroy", sid);
  }

  /** Does nothing if the store has no touch. */
  async touch(sid: string, session: SessionData): Promise<void> {
    if (this.has("touch")) await this.#call("touch", sid, session);
  }

  async length(): Promise<number> {
    return Number(await this.#call("length"));
  }

  async clear(): Promise<void> {
    await this.#call("clear");
  }

  /** All sessions by their sids. @throws StoreError if the store has no `all`, or one that gives no sids */
  async all(): Promise<Map<string, SessionData>> {
    const found = ((await this.#call("all")) ?? []) as Record<string, SessionData> | ListedSession[];
    if (!Array.isArray(found)) return new Map(Object.entries(found));
    const entries = found.map(splitId);
    if (entries.every((entry): entry is [string, SessionData] => typeof entry[0] === "string")) {
      return new Map(entries);
    }
    throw new StoreError(
      "ERR_STORE_UNAVAILABLE",
      "The old store's `all` gives sessions without their ids, so that it cannot be told which browser a session belongs to.",
    );
  }

  /** @throws StoreError `ERR_STORE_UNAVAILABLE` or `ERR_STORE_TIMEOUT`, which say that it was the old store */
  async #call(method: Method, ...args: unknown[]): Promise<unknown> {
    if (!this.has(method)) {
      throw new StoreError(
        "ERR_STORE_UNAVAILABLE",
        `The old store (\`from\`) has no method \`${method}\`: choose the stage "to" first, or another store.`,
      );
    }
    const called = new Promise((resolve, reject) => {
      const done: Done = (error, value) => (error ? reject(error) : resolve(value));
      const store = this.#store as unknown as Record<Method, (...all: unknown[]) => unknown>;
      const returned = store[method](...args, done);
      // A store may reject the promise that it returns, and never call back.
      if (returned instanceof Promise) returned.catch(reject);
    });
    try {
      return await new Operation(this.#timeoutMs).withTimeout(called);
    } catch (error) {
      if (error instanceof StoreError && error.code === "ERR_STORE_TIMEOUT") {
        throw new StoreError(
          error.code,
          `The old store (\`from\`) did not respond to \`${method}\` within ${this.#timeoutMs} ms.`,
          { cause: error },
        );
      }
      throw new StoreError(
        "ERR_STORE_UNAVAILABLE",
        `The old store (\`from\`) failed in \`${method}\`; see \`cause\`.`,
        {
          cause: error,
        },
      );
    }
  }
}

/**
 * The session with a Cookie of express-session, as its middleware saves it: several stores compute the expiry from
 * `cookie.maxAge`, which the cookie of a session that was read does not have.
 */
function withCookie(session: SessionData): SessionData {
  const { cookie: saved } = session;
  if (typeof saved !== "object" || saved === null || "maxAge" in saved) return session;
  const { originalMaxAge, expires } = saved as Cookie;
  // Its types leave out the argument.
  const cookie = Reflect.construct(Cookie, [saved]) as Cookie;
  cookie.expires = typeof expires === "string" ? new Date(expires) : (expires ?? null);
  // The setter of `expires` has changed it.
  cookie.originalMaxAge = originalMaxAge ?? null;
  return { ...session, cookie };
}

function splitId(listed: ListedSession): readonly [unknown, SessionData] {
  const { [listed.id === undefined ? "sid" : "id"]: sid, ...session } = listed;
  return [sid, session as SessionData];
}
