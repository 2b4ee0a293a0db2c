/*
 * The Lua scripts of the store. Redis runs each of them atomically.
 *
 * KEYS: the record and, if an entry is added, the list of its user.
 * ARGV: the expiry of the record and three values of the script. Then the entry: its id, its expiry and, if required,
 * the count that the list must have. Last, more values of the script.
 */

const ADD_ENTRY = `
  if KEYS[2] then
    redis.call("HSET", KEYS[2], ARGV[5], KEYS[1])
    redis.call("HINCRBY", KEYS[2], "added", 1)
    if tonumber(ARGV[6]) > redis.call("PEXPIRETIME", KEYS[2]) then redis.call("PEXPIREAT", KEYS[2], ARGV[6]) end
  end`;

const PUT = `
  redis.call("DEL", KEYS[1])
  redis.call("HSET", KEYS[1], unpack(ARGV, 8))
  redis.call("PEXPIREAT", KEYS[1], ARGV[1])`;

export const WRITE = `
  local type = redis.call("TYPE", KEYS[1]).ok
  if ARGV[2] == "" and type ~= "none" or ARGV[2] ~= "" and type ~= "hash" then return 0 end
  if type == "hash" then
    local stored = redis.call("HMGET", KEYS[1], "version", "activeAt")
    local activeAt = tonumber(stored[2])
    if stored[1] ~= ARGV[2] or activeAt < tonumber(ARGV[3]) or activeAt > tonumber(ARGV[4]) then return 0 end
  end
  if ARGV[7] ~= "" and (redis.call("HGET", KEYS[2], "added") or "0") ~= ARGV[7] then return 2 end
  ${ADD_ENTRY} ${PUT} return 1`;

export const TOUCH = `
  if redis.call("TYPE", KEYS[1]).ok ~= "hash" then return 0 end
  local stored = redis.call("HMGET", KEYS[1], "lifetime", "createdAt", "activeAt")
  if stored[1] ~= ARGV[2] or ARGV[8] ~= "" and stored[2] ~= ARGV[8] then return 0 end
  if tonumber(stored[3]) < tonumber(ARGV[3]) or tonumber(stored[3]) >= tonumber(ARGV[4]) then return 0 end
  redis.call("HSET", KEYS[1], "activeAt", ARGV[4])
  redis.call("PEXPIREAT", KEYS[1], ARGV[1]) ${ADD_ENTRY} return 1`;

export const REMOVE = `
  local stored = redis.call("TYPE", KEYS[1]).ok == "hash" and redis.call("HMGET", KEYS[1], "version", "activeAt") or {}
  if stored[1] and string.find(stored[1], ARGV[2], 1, true) then return 0 end ${PUT}
  if tonumber(stored[2]) then redis.call("HSET", KEYS[1], "activeAt", stored[2] + ARGV[3]) end
  return 1`;
