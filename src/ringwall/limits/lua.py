"""The scripts that Redis runs: one for each method, each atomic, all on the server's own clock.

Times are whole microseconds; Lua's numbers hold them exactly up to 2^53, which ``MAX_HORIZON`` keeps to. KEYS[1]
is the state of the counters, ARGV[1] the epoch they are known by: where it is another, they were lost.
"""

from __future__ import annotations

from typing import Final

MAX_HORIZON: Final = 4 * 10**15  # microseconds (126 years) from empty to full; now is 2 * 10^15
LOST: Final = "RWLOST"
BAD: Final = "RWBAD"

_CHECK: Final = f"""
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return redis.error_reply('{LOST}') end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
"""
# A bucket that is not there is full, unless counters were lost: then nobody knows, and it was empty at that time.
_BUCKET: Final = f"""
local interval, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.call('GET', KEYS[2])
local full = now
if stored then
  full = tonumber(stored)
  if not full then return redis.error_reply('{BAD} no number') end
elseif redis.call('HGET', KEYS[1], 'lost') == '1' then
  full = tonumber(redis.call('HGET', KEYS[1], 'since')) + burst * interval
end
if full < now then full = now end
local function put()
  if full <= now then redis.call('DEL', KEYS[2])
  else redis.call('SET', KEYS[2], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000)) end
end
local function free() return math.floor((burst * interval - (full - now)) / interval) end
"""

OPEN: Final = """
local t = redis.call('TIME')
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'since', string.format('%.0f', t[1] * 1000000 + t[2]),
    'lost', ARGV[3] == '' and '0' or '1')
end
local stale = redis.call('SMEMBERS', KEYS[2])
for _, slot in ipairs(stale) do
  local at = string.find(slot, ' ', 1, true)
  redis.call('ZREM', string.sub(slot, at + 1), string.sub(slot, 1, at - 1))
end
redis.call('DEL', KEYS[2])
return {epoch, redis.call('HEXISTS', KEYS[1], 'seeded:' .. ARGV[2])}
"""
SEEDED: Final = _CHECK + """
redis.call('HSET', KEYS[1], 'seeded:' .. ARGV[2], '1')
return 1
"""
TAKE: Final = _CHECK + _BUCKET + """
local least, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local there = free()
if there < least then
  local wait = least > burst and -1 or (full - now) - (burst - least) * interval
  return {0, math.max(there, 0), wait}
end
local got = math.min(there, most)
full = full + got * interval
put()
return {got, there - got, 0}
"""
REFUND: Final = _CHECK + _BUCKET + """
full = full - tonumber(ARGV[4]) * interval
put()
return 1
"""
LOOK: Final = _CHECK + _BUCKET + "return math.max(free(), 0)"
LEASE: Final = _CHECK + """
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local taken = redis.call('ZCARD', KEYS[2])
if not redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  if taken >= tonumber(ARGV[3]) then return {0, 0} end
  taken = taken + 1
end
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[2])
redis.call('PEXPIRE', KEYS[2], math.ceil(ARGV[4] / 1000))
redis.call('SADD', KEYS[3], ARGV[2] .. ' ' .. KEYS[2])
redis.call('PEXPIRE', KEYS[3], math.ceil(ARGV[4] / 1000))
return {1, tonumber(ARGV[3]) - taken}
"""
RELEASE: Final = _CHECK + """
redis.call('SREM', KEYS[3], ARGV[2] .. ' ' .. KEYS[2])
return redis.call('ZREM', KEYS[2], ARGV[2])
"""
HELD: Final = _CHECK + "return redis.call('ZCOUNT', KEYS[2], now, '+inf')"
_SPENT: Final = f"""
local stored = redis.call('HGET', KEYS[2], ARGV[2])
local spent = tonumber(stored or '0')
if not spent then return redis.error_reply('{BAD} no number') end
"""
RESERVE: Final = _CHECK + _SPENT + f"""
local budget, amount = tonumber(ARGV[3]), tonumber(ARGV[4])
if spent + amount > budget then return {{0, math.max(budget - spent, 0)}} end
if not stored and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then
  return redis.error_reply('{BAD} too many budgets')
end
redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f', spent + amount))
redis.call('EXPIRE', KEYS[2], ARGV[5])
return {{1, budget - spent - amount}}
"""
SETTLE: Final = _CHECK + _SPENT + """
if not stored then return 0 end
local left = math.max(spent - tonumber(ARGV[3]) + tonumber(ARGV[4]), 0)
redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f', left))
return 1
"""
FORGET: Final = _CHECK + "return redis.call('DEL', KEYS[2])"
SPENT: Final = _CHECK + "return redis.call('HGETALL', KEYS[2])"
