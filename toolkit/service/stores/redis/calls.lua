#!lua
-- Carries out calls of one app, in their order, in one atomic step. The rules are those of toolkit/service/core/state.py.
--
-- KEYS[1]  the app's tag, sms:{app_id}; every key that is touched begins with it, so all of them are in one slot
-- ARGV[1]  the deadline by Redis's own clock, in ms: after it nothing is done, for nobody waits any more
-- ARGV[2]  the wall's time in ms, or '' for Redis's own
-- ARGV[3]  the policy, the service clock's anchor and the return codes, as JSON
-- ARGV[4]  and so on: the calls, each a word, a space and what belongs to it
--
-- Keys of an app (a TTL on each but the first):
--   :balance      messages
--   :m:<msg_id>   hash. sent: an order as SENT packs it; verified: the token of the call that did it; tries: 16 bytes a
--                 wrong code, its call's token and its time; code: masked, until delivery is settled; state and so on
--   :w:<mobile>   times of the sends to a mobile (0: to everyone), 8 bytes each, ascending
--   :f:<mobile>   times of a mobile's wrong codes, likewise
--   :jobs         sorted set of the msg_ids whose delivery is to come, by the wall's ms when each is due

local ORDER = '<I8I4I4I2I2Bc16' -- mobile, temp_id, ttl_ms, segments, forced, ruled, digest
local ORDER_BYTES = 37
local SENT = ORDER .. 'I8' -- and sent_ms

local tag, settings = KEYS[1], cjson.decode(ARGV[3])
local anchor, codes = settings.anchor, settings.codes

local time = redis.call('TIME')
local redis_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if redis_ms > tonumber(ARGV[1]) then
  return redis.error_reply('LATE the deadline has passed')
end
local wall_ms = tonumber(ARGV[2]) or redis_ms
local now_ms = anchor.clock_ms + math.floor((wall_ms - anchor.wall_ms) * anchor.speed)

local function real(service_ms) -- how many of the wall's ms a span takes, rounded up
  return math.max(1, math.ceil(service_ms / anchor.speed))
end

local LIFE_MS = real(settings.longest_ms) -- no message is kept longer

local function message_key(msg_id)
  return tag .. ':m:' .. msg_id
end

-- Windows.

local function wait_of(key, window)
  local wait, bytes = 0, redis.call('STRLEN', key)
  for _, rule in ipairs(window.rules) do
    local from = bytes - 8 * rule.count
    if from >= 0 then
      local time_ms = struct.unpack('<I8', redis.call('GETRANGE', key, from, from + 7))
      wait = math.max(wait, time_ms + rule.window_ms - now_ms)
    end
  end
  return wait
end

local function note(key, window)
  local bytes = redis.call('APPEND', key, struct.pack('<I8', now_ms))
  if bytes > 16 * window.kept then -- seldom, so that a call costs the same whatever a rule's count is
    redis.call('SET', key, redis.call('GETRANGE', key, -8 * window.kept, -1))
  end
  redis.call('PEXPIRE', key, real(window.longest_ms))
end

local function unnote(key, time_ms)
  local times, gone = redis.call('GET', key) or '', struct.pack('<I8', time_ms)
  for from = #times - 7, 1, -8 do
    if times:sub(from, from + 7) == gone then
      redis.call('SET', key, times:sub(1, from - 1) .. times:sub(from + 8), 'KEEPTTL')
      return
    end
  end
end

local function windows_of(mobile)
  local found = {}
  for _, it in ipairs({ { mobile, settings.sends }, { 0, settings.app_sends } }) do
    if it[2].kept > 0 then
      found[#found + 1] = { key = tag .. ':w:' .. it[1], rules = it[2] }
    end
  end
  return found
end

-- The two decisions.

local calls = {}

function calls.send(payload) -- 4 bytes masked code, the order, the msg_id
  local masked = struct.unpack('<I4', payload)
  local mobile, _, ttl_ms, segments, _, ruled = struct.unpack(ORDER, payload, 5)
  local msg_id = payload:sub(5 + ORDER_BYTES)
  local windows, wait = ruled == 1 and windows_of(mobile) or {}, 0
  for _, window in ipairs(windows) do
    wait = math.max(wait, wait_of(window.key, window.rules))
  end
  if wait > 0 then
    return { codes.OUT_OF_FREQ, wait }
  end
  if tonumber(redis.call('GET', tag .. ':balance') or 0) < segments then
    return { codes.NO_MONEY, 0 }
  end
  for _, window in ipairs(windows) do
    note(window.key, window.rules)
  end
  redis.call('DECRBY', tag .. ':balance', segments)
  local key, sent = message_key(msg_id), payload:sub(5, 4 + ORDER_BYTES) .. struct.pack('<I8', now_ms)
  redis.call('HSET', key, 'sent', sent, 'code', masked)
  redis.call('PEXPIRE', key, real(ttl_ms + settings.kept_ms))
  -- Where no worker takes jobs, each send lets go of two that died long ago: so they don't pile up.
  for _, dead in ipairs(redis.call('ZRANGE', tag .. ':jobs', '-inf', wall_ms - LIFE_MS, 'BYSCORE', 'LIMIT', 0, 2)) do
    redis.call('ZREM', tag .. ':jobs', dead)
  end
  redis.call('ZADD', tag .. ':jobs', wall_ms, msg_id)
  redis.call('PEXPIRE', tag .. ':jobs', LIFE_MS)
  return { codes.SUCCESS, 0 }
end

function calls.verify(payload) -- 8 bytes token, 16 bytes digest, the msg_id
  local token, digest, key = payload:sub(1, 8), payload:sub(9, 24), message_key(payload:sub(25))
  local sent, verified, tries = unpack(redis.call('HMGET', key, 'sent', 'verified', 'tries'))
  if not sent then
    return { codes.INVALID_CODE, 0 }
  end
  local mobile, _, ttl_ms, _, forced, _, right, sent_ms = struct.unpack(SENT, sent)
  local failures_key = tag .. ':f:' .. mobile
  local wait = wait_of(failures_key, settings.failures)
  if wait > 0 then
    return { codes.OUT_OF_FREQ, wait }
  end
  if forced > 0 then
    return { forced, 0 }
  end
  if verified then
    return { codes.VERIFIED_CODE, 0 }
  end
  tries = tries or ''
  if now_ms >= sent_ms + ttl_ms or #tries / 16 >= settings.tries then
    return { codes.EXPIRED_CODE, 0 }
  end
  if digest == right then -- Lua compares strings by their address: in the same time, whatever they hold
    redis.call('HSET', key, 'verified', token)
    return { codes.SUCCESS, 0 }
  end
  redis.call('HSET', key, 'tries', tries .. token .. struct.pack('<I8', now_ms))
  note(failures_key, settings.failures)
  return { codes.INVALID_CODE, 0 }
end

-- Taking back a decision whose answer never arrived. JSON: after_ms, its deadline; msg_id; token, in hex, of a verify.

function calls.unsend(payload)
  local call = cjson.decode(payload)
  if redis_ms <= call.after_ms then
    return 0 -- it may still be carried out
  end
  local key = message_key(call.msg_id)
  local sent = redis.call('HGET', key, 'sent')
  if sent then
    local mobile, _, _, segments, _, ruled, _, sent_ms = struct.unpack(SENT, sent)
    for _, window in ipairs(ruled == 1 and windows_of(mobile) or {}) do
      unnote(window.key, sent_ms)
    end
    redis.call('INCRBY', tag .. ':balance', segments)
    redis.call('ZREM', tag .. ':jobs', call.msg_id)
    redis.call('DEL', key)
  end
  return 1
end

function calls.unverify(payload)
  local call = cjson.decode(payload)
  if redis_ms <= call.after_ms then
    return 0
  end
  local token = call.token:gsub('%x%x', function(byte)
    return string.char(tonumber(byte, 16))
  end)
  local key = message_key(call.msg_id)
  local sent, verified, tries = unpack(redis.call('HMGET', key, 'sent', 'verified', 'tries'))
  if verified == token then
    redis.call('HDEL', key, 'verified')
  end
  for from = 1, #(tries or ''), 16 do
    if tries:sub(from, from + 7) == token then
      redis.call('HSET', key, 'tries', tries:sub(1, from - 1) .. tries:sub(from + 16))
      unnote(tag .. ':f:' .. struct.unpack(SENT, sent), struct.unpack('<I8', tries, from + 8))
      break
    end
  end
  return 1
end

-- The balance.

function calls.balance()
  return tonumber(redis.call('GET', tag .. ':balance') or 0)
end

function calls.credit(messages) -- answers -1 where the balance would fall below zero, or past what Lua counts exactly
  local balance = calls.balance() + messages
  if balance < 0 or balance > 2 ^ 53 then
    return -1
  end
  return redis.call('INCRBY', tag .. ':balance', messages)
end

-- Delivery.

local function job(msg_id, attempts)
  local sent, code = unpack(redis.call('HMGET', message_key(msg_id), 'sent', 'code'))
  return sent and code and { msg_id, sent, code, attempts }
end

function calls.undelivered(msg_id)
  return job(msg_id, tonumber(redis.call('HGET', message_key(msg_id), 'attempts') or 0))
end

function calls.due(limit) -- when those that are due were so, the oldest first
  local times = {}
  local due = redis.call('ZRANGE', tag .. ':jobs', '-inf', wall_ms, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  for n = 2, #due, 2 do
    times[#times + 1] = tonumber(due[n])
  end
  return times
end

function calls.take(limit)
  local taken = {}
  for _, msg_id in ipairs(redis.call('ZRANGE', tag .. ':jobs', '-inf', wall_ms, 'BYSCORE', 'LIMIT', 0, limit)) do
    local found = job(msg_id)
    if found then
      found[4] = redis.call('HINCRBY', message_key(msg_id), 'attempts', 1) - 1
      taken[#taken + 1] = found
      redis.call('ZADD', tag .. ':jobs', wall_ms + settings.lease_ms, msg_id)
    else
      redis.call('ZREM', tag .. ':jobs', msg_id)
    end
  end
  return taken
end

function calls.postpone(payload)
  local call = cjson.decode(payload)
  return redis.call('ZADD', tag .. ':jobs', 'XX', wall_ms + call.wait_ms, call.msg_id)
end

local function record(key, call)
  redis.call('HSET', key, 'state', call.state, 'carrier_code', call.carrier_code, 'settled_ms', now_ms)
end

function calls.settle(payload)
  local call = cjson.decode(payload)
  local key = message_key(call.msg_id)
  redis.call('ZREM', tag .. ':jobs', call.msg_id)
  if redis.call('EXISTS', key) == 1 then
    record(key, call)
    redis.call('HSET', key, 'carrier_id', call.carrier_id)
    redis.call('HDEL', key, 'code')
  end
  return 1
end

function calls.receive(payload)
  local call = cjson.decode(payload)
  local key = message_key(call.msg_id)
  local state, carrier_id = unpack(redis.call('HMGET', key, 'state', 'carrier_id'))
  if state ~= settings.sent or carrier_id ~= call.carrier_id then
    return 0
  end
  record(key, call)
  return 1
end

function calls.message(msg_id)
  local fields = { 'sent', 'state', 'carrier_code', 'carrier_id', 'attempts', 'settled_ms' }
  return redis.call('HMGET', message_key(msg_id), unpack(fields))
end

function calls.backlog()
  return redis.call('ZCARD', tag .. ':jobs')
end

-- Which message a carrier's number names; these keys have a tag of their own.

function calls.name(message)
  return redis.call('SET', tag, message, 'PX', LIFE_MS)
end

function calls.named()
  return redis.call('GET', tag)
end

local answers = {}
for n = 4, #ARGV do
  local word, payload = ARGV[n]:match('^(%l+) (.*)$')
  answers[#answers + 1] = calls[word](payload)
end
return answers
