import type { RedisClientType } from "@redis/client";
import {
  AbstractStore,
  type ActivityUpdate,
  type Found,
  type RecordWrite,
  type Removal,
  recordOf,
  type ScannedRecord,
  type StoreOptions,
  UNREADABLE,
  type UserEntry,
  type UserList,
  type UserSession,
  type WriteResult,
} from "express-session-stores";

import { REMOVE, TOUCH, WRITE } from "./redis-scripts.js";

type Values = readonly (string | number)[];

/*
 * A fifth backend: each record is a Redis hash. A condition and the write that depends on it are one Lua script. Redis'
 * own expiry deletes the records. The list of a user is a hash too. It maps the ids of the entries to the keys of the
 * sessions, and has a count of the entries that were added.
 */

export class RedisStore extends AbstractStore {
  readonly #client: RedisClientType;

  constructor({ client, ...options }: StoreOptions & { client: RedisClientType }) {
    super(options);
    this.#client = client;
  }

  protected override async _read(key: string): Promise<Found | undefined> {
    const fields = await this.#client.hGetAll(key).catch(foreign);
    if (fields === UNREADABLE) return { record: fields };
    if (Object.keys(fields).length === 0) return undefined;
    const [lifetime, activeAt, createdAt] = [fields.lifetime, fields.activeAt, fields.createdAt].map(Number);
    return { record: recordOf({ ...fields, lifetime, activeAt, createdAt }) };
  }

  protected override _write(key: string, write: RecordWrite): Promise<WriteResult> {
    const { record, condition, deleteAt, entry } = write;
    const { version = "", activeFrom = 0, activeTo = 0 } = condition.absent ? {} : condition;
    return this.#run(
      WRITE,
      key,
      [deleteAt, version, activeFrom, activeTo],
      Object.entries(record).flat(),
      entry,
    );
  }

  protected override _touch(key: string, touch: ActivityUpdate): Promise<WriteResult> {
    const { deleteAt, lifetime, activeFrom, activeAt, createdAt = "", entry } = touch;
    return this.#run(TOUCH, key, [deleteAt, lifetime, activeFrom, activeAt], [createdAt], entry);
  }

  protected override async _remove(key: string, { tombstone, id, deleteAt }: Removal): Promise<void> {
    await this.#run(REMOVE, key, [deleteAt, id, tombstone.activeAt, 0], Object.entries(tombstone).flat());
  }

  protected override async _listUser(user: string): Promise<UserList> {
    const { added = "0", ...entries } = await this.#client.hGetAll(this._userKey(user));
    const sessions = Object.entries(entries).map(async ([entryId, key]) => {
      return { key, entryId, found: await this._read(key) };
    });
    return { sessions: await Promise.all(sessions), token: added };
  }

  protected override async _removeEntries(user: string, entries: readonly UserSession[]): Promise<void> {
    const ids = entries.map(({ entryId }) => entryId);
    if (ids.length > 0) await this.#client.hDel(this._userKey(user), ids);
  }

  protected override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const seen = new Set<string>(); // SCAN may return a key twice.
    const MATCH = `${start.replace(/[\\*?[\]]/g, "\\$&")}*`;
    for await (const found of this.#client.scanIterator({ MATCH, COUNT: 250 })) {
      const keys = found.filter(key => !seen.has(key) && seen.add(key));
      const records = await Promise.all(keys.map(key => this._read(key)));
      yield keys.flatMap((key, index) => (records[index] ? { key, ...records[index] } : []));
    }
  }

  async #run(
    script: string,
    key: string,
    head: Values,
    tail: Values,
    entry?: UserEntry,
  ): Promise<WriteResult> {
    const { user, id = "", deleteAt = 0, listToken = "" } = entry ?? {};
    const keys = user === undefined ? [key] : [key, this._userKey(user)];
    const values = [...head, id, deleteAt, String(listToken), ...tail].map(String);
    const result = await this.#client.eval(script, { keys, arguments: values });
    if (result === 1) return { written: true };
    return { written: false, current: await this._read(key), listChanged: result === 2 };
  }
}

/** Whether the key belongs to another program, because it is not a hash. */
function foreign(error: Error): typeof UNREADABLE {
  if (error.message.startsWith("WRONGTYPE")) return UNREADABLE;
  throw error;
}
