"""The scripts that run in Redis. Pure.

A script blocks the server, so each call has few keys. What a server refuses for now (it is full, or a replica) it
refuses at the first write. A full server takes all writes of a script that begins with a deletion: there an
invalidation holds, with its time, which is small, while an update waits.
Times are Unix microseconds, which fit a number of Lua.
"""

# KEYS: rate, seen, floor, open, names, history. ARGV: time, payload, TTL of the rate and of what is known in ms, code.
# Writes the rate, drops the histories whose names are known, and leaves the others to a sweep.
# Returns what became of the update and how many histories were dropped; 1: applied, 0: late, 2: repeated.
WRITE = """
local function number(text) return tonumber(text or '') or -math.huge end
local at, new = number(redis.call('HGET', KEYS[2], 'at')), tonumber(ARGV[1])
if at == new then return {2, 0} end
if math.max(at, number(redis.call('GET', KEYS[3]))) >= new then return {0, 0} end
redis.call('HSET', KEYS[2], 'at', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[4], ARGV[5], ARGV[1])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
local histories = {KEYS[6]}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[5])) do histories[#histories + 1] = KEYS[6] .. ':' .. name end
return {1, redis.call('UNLINK', unpack(histories))}
"""

# KEYS: open. ARGV: pairs of code and time. An update that came meanwhile waits for the next sweep.
CLOSE = """
local closed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then closed = closed + redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return closed
"""

# KEYS: names. ARGV: TTL in ms, the greatest number of names, names. Others make room for the new ones, at random.
LEARN = """
for i = 3, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local surplus = redis.call('SCARD', KEYS[1]) - tonumber(ARGV[2])
if surplus > 0 then redis.call('SPOP', KEYS[1], surplus) end
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
