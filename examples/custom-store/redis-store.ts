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
  type WriteResult,
} from "express-session-stores";

/*
 * A fifth backend: each record is a Redis hash. A condition and the write that depends on it are one Lua script, which
 * Redis runs atomically. Redis' own expiry deletes the records.
 */

const PUT = `
  redis.call("DEL", KEYS[1])
  redis.call("HSET", KEYS[1], unpack(ARGV, 5))
  redis.call("PEXPIREAT", KEYS[1], ARGV[1])`;

const WRITE = `
  local type = redis.call("TYPE", KEYS[1]).ok
  if ARGV[2] == "" and type ~= "none" or ARGV[2] ~= "" and type ~= "hash" then return 0 end
  if type == "hash" then
    local stored = redis.call("HMGET", KEYS[1], "version", "activeAt")
    local activeAt = tonumber(stored[2])
    if stored[1] ~= ARGV[2] or activeAt < tonumber(ARGV[3]) or activeAt > tonumber(ARGV[4]) then return 0 end
  end ${PUT} return 1`;

const TOUCH = `
  if redis.call("TYPE", KEYS[1]).ok ~= "hash" then return 0 end
  local stored = redis.call("HMGET", KEYS[1], "lifetime", "createdAt", "activeAt")
  if stored[1] ~= ARGV[2] or ARGV[5] ~= "" and stored[2] ~= ARGV[5] then return 0 end
  if tonumber(stored[3]) < tonumber(ARGV[3]) or tonumber(stored[3]) >= tonumber(ARGV[4]) then return 0 end
  redis.call("HSET", KEYS[1], "activeAt", ARGV[4])
  redis.call("PEXPIREAT", KEYS[1], ARGV[1])
  return 1`;

const REMOVE = `
  local stored = redis.call("TYPE", KEYS[1]).ok == "hash" and redis.call("HMGET", KEYS[1], "version", "activeAt") or {}
  if stored[1] and string.find(stored[1], ARGV[2], 1, true) then return 0 end ${PUT}
  if tonumber(stored[2]) then redis.call("HSET", KEYS[1], "activeAt", math.max(stored[2] + 1, ARGV[3])) end
  return 1`;

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

  protected override _write(key: string, { record, condition, deleteAt }: RecordWrite): Promise<WriteResult> {
    const { version = "", activeFrom = 0, activeTo = 0 } = condition.absent ? {} : condition;
    return this.#run(WRITE, key, [deleteAt, version, activeFrom, activeTo, ...Object.entries(record).flat()]);
  }

  protected override _touch(key: string, touch: ActivityUpdate): Promise<WriteResult> {
    const { deleteAt, lifetime, activeFrom, activeAt, createdAt = "" } = touch;
    return this.#run(TOUCH, key, [deleteAt, lifetime, activeFrom, activeAt, createdAt]);
  }

  protected override async _remove(key: string, { tombstone, id, deleteAt }: Removal): Promise<void> {
    await this.#run(REMOVE, key, [deleteAt, id, tombstone.activeAt, 0, ...Object.entries(tombstone).flat()]);
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

  async #run(script: string, key: string, values: (string | number)[]): Promise<WriteResult> {
    const written = await this.#client.eval(script, { keys: [key], arguments: values.map(String) });
    return written === 1 ? { written: true } : { written: false, current: await this._read(key) };
  }
}

/** Another program's key is not a hash. */
function foreign(error: Error): typeof UNREADABLE {
  if (error.message.startsWith("WRONGTYPE")) return UNREADABLE;
  throw error;
}
