import type { SessionData } from "express-session";
import { StoreError } from "../errors.js";
import type { SessionCodec } from "./codec.js";
import { expiryOf } from "./expiry.js";
import type { Loaded } from "./loaded.js";
import { type Fields, mergeSessions } from "./merge.js";
import type { Operation } from "./operation.js";
import type { Awaitable, StoredRecord, WriteResult } from "./record.js";
import type { StoreSettings } from "./store-options.js";
import { lineageOf, type VersionSource } from "./versions.js";

/** What saving needs of a store. */
export interface SaveContext {
  readonly settings: StoreSettings;
  readonly codec: SessionCodec;
  readonly versions: VersionSource;
  write(
    key: string,
    record: StoredRecord,
    expected: StoredRecord | undefined,
    operation: Operation,
  ): Awaitable<WriteResult>;
  remove(key: string, operation: Operation): Awaitable<void>;
}

/** How a save ended: `gone` means that the session was destroyed meanwhile and nothing was written. */
export type SaveOutcome = { reason: "written" | "gone" } | { reason: "merged"; keys: string[] };

type Deadline = Pick<StoredRecord, "expiresAt" | "slack">;

/**
 * Saves what a request holds (`held`, serialized), as the table in DESIGN.md, section 2.3, says. Ends when a write is
 * accepted: each round that is refused means that another request's write was accepted.
 */
export async function save(
  context: SaveContext,
  key: string,
  sid: string,
  session: SessionData,
  held: string,
  loaded: Loaded | undefined,
  operation: Operation,
): Promise<SaveOutcome> {
  const { settings, codec, versions } = context;
  const now = settings.now();
  let expected = loaded?.stored?.record;
  const createdAt = expected?.createdAt ?? now;
  const ownDeadline: Deadline = expiryOf(session, createdAt, now, settings.expiry);
  if (ownDeadline.expiresAt <= now) {
    await context.remove(key, operation);
    return { reason: "written" };
  }

  let text = held;
  let deadline = ownDeadline;
  let merged = false;
  let contested: string[] = [];
  /** Puts what this request changed on top of what is stored. Returns false if that cannot be read. */
  const rebase = async (stored: StoredRecord, memory: Loaded): Promise<boolean> => {
    const theirs = await codec.decode(key, stored, sid);
    if (theirs === null) return false;
    const [base, mine] = await Promise.all([codec.fieldsOf(memory.held), codec.fieldsOf(held)]);
    const merged = mergeSessions(base, mine, theirs as unknown as Fields);
    const ownIsLater = endOf(ownDeadline) >= endOf(stored);
    if (ownIsLater && Object.hasOwn(mine, "cookie")) merged.session.cookie = mine.cookie;
    text = await codec.serialize(merged.session);
    deadline = ownIsLater ? ownDeadline : stored;
    contested = merged.keys;
    return true;
  };
  if (loaded?.stored !== undefined && loaded.held !== codec.textOf(key, loaded.stored.record)) {
    await rebase(loaded.stored.record, loaded);
  }

  for (;;) {
    operation.throwIfEnded();
    const record: StoredRecord = {
      data: codec.pack(key, sid, text),
      version: expected === undefined ? versions.begin() : versions.follow(expected.version),
      expiresAt: deadline.expiresAt,
      slack: deadline.slack,
      createdAt,
    };
    loaded?.unanswered.set(record.version, held);
    const result = await context.write(key, record, expected, operation);
    // The caller has been told that it failed: what came of it is found out by the next save.
    operation.throwIfEnded();
    const written = result.written ? record : result.current;
    // A client that sends again after an answer was lost meets its own first attempt.
    if (written?.version === record.version) {
      if (loaded !== undefined) {
        loaded.stored = { record: written, expiresAt: written.expiresAt };
        loaded.held = held;
        loaded.unanswered.clear();
      }
      return merged ? { reason: "merged", keys: contested } : { reason: "written" };
    }

    // Only a write with an expectation is refused, and only a loaded session has one.
    const memory = loaded as Loaded;
    const current = written;
    if (current === undefined || lineageOf(current.version) !== lineageOf(record.version)) {
      return { reason: "gone" };
    }
    expected = current;
    const earlier = memory.unanswered.get(current.version);
    if (earlier !== undefined) {
      // An earlier write of this session that was never answered had been done after all.
      memory.stored = { record: current, expiresAt: current.expiresAt };
      memory.held = earlier;
      if (!(await rebase(current, memory))) return { reason: "gone" };
    } else if (current.version !== memory.stored?.record.version) {
      if (settings.conflict === "error") {
        throw new StoreError(
          "ERR_SESSION_CONFLICT",
          "Another request changed the session since it was loaded: load it again and repeat the change.",
        );
      }
      if (settings.conflict === "merge") {
        if (!(await rebase(current, memory))) return { reason: "gone" };
        merged = true;
      }
    }
  }
}

/** When the session ends for its owner. */
function endOf(deadline: Deadline): number {
  return deadline.expiresAt - deadline.slack;
}
