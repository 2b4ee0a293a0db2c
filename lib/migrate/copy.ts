import { setMaxListeners } from "node:events";
import type { SessionData } from "express-session";
import { AbstractStore, internalsOf } from "../core/abstract-store.js";
import { checkOptions, rules } from "../core/options.js";
import type { StoreInternals } from "../core/store-internals.js";
import type { IncomingSession } from "../core/transfer.js";
import { StoreError } from "../errors.js";
import { assertSameDigests, EXPECTED_SOURCE, isSource, sessionsOf } from "./copy-source.js";
import { differingKeys } from "./differing-keys.js";
import type { CopySource, UnreadableSession } from "./source.js";

/** The options of {@link copy}. */
export interface CopyOptions {
  /** A store of this package, a reader such as `readConnectRedis(...)`, or anything with `entries()`. */
  from: AbstractStore | CopySource;
  to: AbstractStore;
  /** Sessions that are written at the same time. @defaultValue `16` */
  concurrency?: number | undefined;
  /** The most sessions that are written in a second. @defaultValue no limit */
  rate?: number | undefined;
  /** Writes nothing, and counts what would be written. @defaultValue `false` */
  dryRun?: boolean | undefined;
  /** Compares each session with what `to` then has under its id. @defaultValue `false` */
  verify?: boolean | undefined;
  /**
   * Chooses the sessions that are copied. Gets a session and, from a store of this package, what its record says.
   * @defaultValue all
   */
  filter?: ((session: SessionData, record: CopiedRecord | undefined) => boolean) | undefined;
  /** Stops the copy: its promise rejects with the reason of the signal. What was copied stays. */
  signal?: AbortSignal | undefined;
  /** Called about once a second, and at the end. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
}

/** What a store of this package knows of a session. Times in epoch milliseconds. */
export interface CopiedRecord {
  readonly createdAt: number;
  /** When it was last used. */
  readonly activeAt: number;
  /** As the store keeps it: a digest, if ids are hashed or sessions are encrypted. */
  readonly user: string | undefined;
  /** The bytes of the serialized session. */
  readonly bytes: number;
}

/** How far a copy has come. */
export interface CopyProgress {
  /** Sessions that were read. Each of them counts once in `copied`, `present`, `ended`, `skipped` or `failed`. */
  readonly seen: number;
  /** Sessions that were written or, in a dry run, would be. */
  readonly copied: number;
  /** Sessions that `to` has, or that were destroyed there. They stay as they are. */
  readonly present: number;
  /** Sessions that have ended. */
  readonly ended: number;
  /** Sessions that `filter` left out. */
  readonly skipped: number;
  /** Sessions that could not be read or written, such as those that are too large for `to`. */
  readonly failed: number;
  /** With `verify`: live sessions whose values differ. A request may have changed those that were present. */
  readonly different: number;
  /** The first hundred errors, each with the digest of the id that events show. */
  readonly errors: readonly { readonly sidHash: string; readonly error: unknown }[];
}

/** How far a copy is that has not begun. */
export const NOTHING_COPIED: CopyProgress = Object.freeze({
  seen: 0,
  copied: 0,
  present: 0,
  ended: 0,
  skipped: 0,
  failed: 0,
  different: 0,
  errors: [],
});

type Counted = "seen" | "copied" | "present" | "ended" | "skipped" | "failed" | "different";

const MAX_ERRORS = 100;
const PROGRESS_MS = 1000;
/** Half a minute in all: longer than a restart or a new leader takes. */
const RETRY_DELAYS_MS = [1000, 2000, 4000, 8000, 15_000];

/**
 * Copies the sessions of a store to another one, while the site runs. Writes a session only where nothing is stored: no
 * session, and no tombstone of a sign-out. So a copy never undoes what a request has written, and one that was stopped
 * continues when it is called again. Deletes nothing. Needs the memory of a page and of `concurrency` sessions.
 *
 * Between stores of this package a session keeps its age and its handle, and hashed ids stay as they are. Sessions of
 * other stores begin their `absoluteTimeout` anew. `maxSessionsPerUser` is not applied.
 *
 * If the backend of `to` fails, the write is repeated for half a minute. Then the copy ends with the error.
 *
 * @throws TypeError for wrong options, for a source without ids, and if `from` hashes ids otherwise than `to`
 * @throws StoreError if a backend fails
 * @throws what a reader throws, and the reason of `signal`
 *
 * @example
 * await copy({ from: readConnectRedis({ client: redis }), to: new DynamoDBStore({ client }), rate: 500 });
 */
export async function copy(options: CopyOptions): Promise<CopyProgress> {
  checkOptions("copy", options, {
    from: {
      test: value => isSource(value) && value !== options.to,
      required: true,
      expected: EXPECTED_SOURCE,
    },
    to: {
      test: value => value instanceof AbstractStore,
      required: true,
      expected: "a store of express-session-stores",
    },
    concurrency: rules.positiveInteger,
    rate: { test: rules.seconds.test, expected: "a positive number of sessions a second" },
    dryRun: rules.boolean,
    verify: rules.boolean,
    filter: rules.function,
    signal: { test: value => value instanceof AbortSignal, expected: "an AbortSignal" },
    onProgress: rules.function,
  });
  const { from, to } = options;
  if (from instanceof AbstractStore) assertSameDigests(internalsOf(from), internalsOf(to));
  return await new Copy(options).run();
}

class Copy {
  readonly #options: CopyOptions;
  readonly #to: StoreInternals;
  readonly #counts: Record<Counted, number> = { ...NOTHING_COPIED };
  readonly #errors: { sidHash: string; error: unknown }[] = [];
  /** Aborted by the caller, and by the first error that ends the copy. */
  readonly #stop = new AbortController();
  #reading: Promise<unknown> = Promise.resolve();
  #reportedAt = performance.now();
  #nextWriteAt = performance.now();

  constructor(options: CopyOptions) {
    this.#options = options;
    this.#to = internalsOf(options.to);
    // Each session that is read or waits listens.
    setMaxListeners(0, this.#stop.signal);
  }

  async run(): Promise<CopyProgress> {
    const { from, signal, concurrency = 16 } = this.#options;
    const cancel = () => this.#stop.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", cancel, { once: true });
    const sessions = sessionsOf(from, this.#stop.signal);
    try {
      const workers = Array.from({ length: concurrency }, () => this.#work(sessions));
      // All of them: what a failed copy has begun must not go on behind its caller's back.
      await Promise.allSettled(workers);
    } finally {
      signal?.removeEventListener("abort", cancel);
      // Not awaited: a source may hang.
      sessions.return().then(undefined, () => {});
    }
    this.#options.onProgress?.(this.#progress);
    this.#stop.signal.throwIfAborted();
    return this.#progress;
  }

  get #progress(): CopyProgress {
    return { ...this.#counts, errors: [...this.#errors] };
  }

  async #work(sessions: AsyncGenerator<IncomingSession | UnreadableSession, void>): Promise<void> {
    const { signal } = this.#stop;
    try {
      while (!signal.aborted) {
        const next = await untilAborted(this.#next(sessions), signal);
        if (next.done) return;
        this.#counts.seen += 1;
        await this.#copy(next.value);
        this.#report();
      }
    } catch (error) {
      this.#stop.abort(error);
    }
  }

  /** One after the other: an iterator need not be able to do more. */
  #next<T>(sessions: AsyncGenerator<T, void>): Promise<IteratorResult<T, void>> {
    const next = this.#reading.then(() => sessions.next());
    this.#reading = next.catch(() => {});
    return next;
  }

  async #copy(read: IncomingSession | UnreadableSession): Promise<void> {
    if ("error" in read) return this.#fail(this.#to.sidHash(read.sid), read.error);
    try {
      if (!this.#isChosen(read)) {
        this.#counts.skipped += 1;
        return;
      }
      const outcome = await this.#withRetries(() => this.#write(read));
      this.#counts[outcome] += 1;
      if (this.#options.verify && !(await this.#withRetries(() => this.#isSame(read)))) {
        this.#counts.different += 1;
      }
    } catch (error) {
      if (this.#stop.signal.aborted || isOfBackend(error)) throw error;
      this.#fail(read.sid === undefined ? read.publicId : this.#to.sidHash(read.sid), error);
    }
  }

  #isChosen({ session, record }: IncomingSession): boolean {
    const { filter } = this.#options;
    if (filter === undefined) return true;
    if (record === undefined) return filter(session, undefined);
    const { createdAt, activeAt, user, data } = record;
    return filter(session, { createdAt, activeAt, user, bytes: Buffer.byteLength(data) });
  }

  #fail(sidHash: string, error: unknown): void {
    this.#counts.failed += 1;
    if (this.#errors.length < MAX_ERRORS) this.#errors.push({ sidHash, error });
  }

  async #write(session: IncomingSession): Promise<"copied" | "present" | "ended"> {
    await this.#waitForRate();
    const outcome = await this.#to.importSession(session, this.#options.dryRun === true);
    return outcome === "written" ? "copied" : outcome;
  }

  async #isSame(session: IncomingSession): Promise<boolean> {
    const peeked = await this.#to.peekIncoming(session);
    if (peeked.state !== "live") return peeked.state !== "unreadable";
    return differingKeys(session.session, peeked.session).length === 0;
  }

  /** @throws the error of the last attempt, which ends the copy if it is one of the backend */
  async #withRetries<T>(work: () => Promise<T>): Promise<T> {
    for (const delayMs of RETRY_DELAYS_MS) {
      try {
        return await work();
      } catch (error) {
        if (!isTransient(error)) throw error;
        await this.#wait(delayMs);
      }
    }
    return await work();
  }

  async #waitForRate(): Promise<void> {
    const { rate } = this.#options;
    if (rate === undefined) return;
    const now = performance.now();
    const dueAt = Math.max(now, this.#nextWriteAt);
    this.#nextWriteAt = dueAt + 1000 / rate;
    if (dueAt > now) await this.#wait(dueAt - now);
  }

  #wait(ms: number): Promise<void> {
    const { signal } = this.#stop;
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<void>(resolve => {
      timer = setTimeout(resolve, ms);
    });
    return untilAborted(waited, signal).finally(() => clearTimeout(timer));
  }

  #report(): void {
    const { onProgress } = this.#options;
    if (onProgress === undefined || performance.now() - this.#reportedAt < PROGRESS_MS) return;
    this.#reportedAt = performance.now();
    onProgress(this.#progress);
  }
}

/** Settles as `work` does, or rejects with the reason of the signal. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Whether an error has nothing to do with the session that was written. */
function isOfBackend(error: unknown): boolean {
  return error instanceof StoreError && error.code.startsWith("ERR_STORE_");
}

function isTransient(error: unknown): boolean {
  return (
    error instanceof StoreError &&
    (error.code === "ERR_STORE_UNAVAILABLE" || error.code === "ERR_STORE_TIMEOUT")
  );
}
