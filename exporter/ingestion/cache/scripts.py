"""The scripts that run in Redis. Pure.

A script blocks the server, so each call has few keys. What a server refuses for now (it is full, or a replica) it
refuses at the first write. A full server takes all writes of a script that begins with a deletion: there an
invalidation holds, with its time, which is small, while an update waits.
Times are Unix microseconds, which fit a number of Lua.
"""

# KEYS: rate, seen, floor. ARGV: time, payload, TTL of the rate and of what is known, in ms.
# Returns 1: written, 2: known and its history still to be dropped, 0: as new or newer is known.
WRITE = """
local function number(text) return tonumber(text or '') or -math.huge end
local at, new = number(redis.call('HGET', KEYS[2], 'at')), tonumber(ARGV[1])
if redis.call('HGET', KEYS[2], 'open') == ARGV[1] then return 2 end
if math.max(at, number(redis.call('GET', KEYS[3]))) >= new then return 0 end
redis.call('HSET', KEYS[2], 'at', ARGV[1], 'open', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""

# KEYS: seen. ARGV: time. An update that came meanwhile has a history of its own to drop.
CLOSE = """
if redis.call('HGET', KEYS[1], 'open') == ARGV[1] then redis.call('HDEL', KEYS[1], 'open') end
return 1
"""

# KEYS: pairs of rate and seen. ARGV: time, TTL of what is known, in ms. Returns how many rates were dropped.
DROP = """
local function number(text) return tonumber(text or '') or -math.huge end
local new, dropped = tonumber(ARGV[1]), 0
for i = 1, #KEYS, 2 do
  local at = number(redis.call('HGET', KEYS[i + 1], 'at'))
  if at <= new then
    dropped = dropped + redis.call('UNLINK', KEYS[i])
    redis.call('HSET', KEYS[i + 1], 'at', ARGV[1])
    redis.call('PEXPIRE', KEYS[i + 1], ARGV[2])
  end
end
return dropped
"""

# KEYS: a key with a time. ARGV: time, TTL in ms. Returns 1 if the time is newer.
RAISE = """
local at = tonumber(redis.call('GET', KEYS[1]) or '') or -math.huge
if at >= tonumber(ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: any. ARGV: TTL in ms. Limits the time to live of keys that would stay for longer, or for ever.
LIMIT = """
local limited = 0
for _, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key)
  if left == -1 or left > tonumber(ARGV[1]) then limited = limited + redis.call('PEXPIRE', key, ARGV[1]) end
end
return limited
"""
