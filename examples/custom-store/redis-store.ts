import type { RedisClientType } from "@redis/client";
import {
  AbstractStore,
  type Expected,
  type Extension,
  type ScannedRecord,
  type StoredRecord,
  type StoreOptions,
  UNREADABLE,
  type WriteResult,
} from "express-session-stores";

/*
 * A fifth backend, in the few operations that the base class asks for: each record is a Redis hash. A condition and
 * what depends on it are one Lua script, which Redis runs as one step; clean-up is Redis' own expiry.
 */

const WRITE = `
  if ARGV[1] ~= "" then
    local stored = redis.call("HMGET", KEYS[1], "version", "expiresAt")
    if stored[1] ~= ARGV[1] or tonumber(stored[2]) > tonumber(ARGV[2]) then return 0 end
  end
  redis.call("DEL", KEYS[1])
  redis.call("HSET", KEYS[1], unpack(ARGV, 4))
  redis.call("PEXPIREAT", KEYS[1], ARGV[3])
  return 1`;

const EXTEND = `
  local expiresAt = tonumber(redis.call("HGET", KEYS[1], "expiresAt") or 0)
  if expiresAt <= tonumber(ARGV[1]) or expiresAt >= tonumber(ARGV[2]) then return 0 end
  redis.call("HSET", KEYS[1], "expiresAt", ARGV[2], "slack", ARGV[3])
  redis.call("PEXPIREAT", KEYS[1], ARGV[4])
  return 1`;

/** Redis keeps a record a minute longer, for requests that were running when the session expired. */
const GRACE_MS = 60_000;

export class RedisStore extends AbstractStore {
  readonly #client: RedisClientType;

  constructor({ client, ...options }: StoreOptions & { client: RedisClientType }) {
    super(options);
    this.#client = client;
  }

  protected override async _read(key: string): Promise<StoredRecord | undefined> {
    return recordOf(await this.#client.hGetAll(key));
  }

  protected override async _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
  ): Promise<WriteResult> {
    const fields = Object.entries(record).flatMap(([name, value]) => [name, String(value)]);
    const condition = [expected?.version ?? "", String(expected?.expiresBy ?? "")];
    const args = [...condition, String(record.expiresAt + GRACE_MS), ...fields];
    const written = await this.#client.eval(WRITE, { keys: [key], arguments: args });
    return written === 1 ? { written: true } : { written: false, current: await this._read(key) };
  }

  protected override async _extend(key: string, { expiresAt, slack, now }: Extension): Promise<boolean> {
    const args = [now, expiresAt, slack, expiresAt + GRACE_MS].map(String);
    return (await this.#client.eval(EXTEND, { keys: [key], arguments: args })) === 1;
  }

  protected override async _remove(key: string): Promise<void> {
    await this.#client.unlink(key);
  }

  protected override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const seen = new Set<string>(); // SCAN may give a key twice.
    const MATCH = `${start.replace(/[\\*?[\]]/g, "\\$&")}*`;
    for await (const found of this.#client.scanIterator({ MATCH, COUNT: 250 })) {
      const keys = found.filter(key => !seen.has(key) && seen.add(key));
      const records = await Promise.all(keys.map(key => this._read(key)));
      yield keys.flatMap((key, index) => (records[index] ? { key, record: records[index] } : []));
    }
  }
}

function recordOf(fields: Record<string, string>): StoredRecord | undefined {
  const { data, version, expiresAt, slack, createdAt } = fields;
  if (Object.keys(fields).length === 0) return undefined;
  if (data === undefined || version === undefined) return UNREADABLE;
  return { data, version, expiresAt: Number(expiresAt), slack: Number(slack), createdAt: Number(createdAt) };
}
