-- Carry out calls of one app, in their order, in one atomic step. The rules are those of toolkit/service/core/state.py.
--
-- KEYS[1]  the app's tag, sms:{app_id}. Every key begins with it, so all keys of an app lie in one slot.
-- ARGV[1]  the deadline in ms by Redis's own clock. After it nothing is changed, because the callers have got an error.
-- ARGV[2]  the time in ms that decisions use, or '' for Redis's own
-- ARGV[3]  the settings as JSON: the policy, the anchor of the service clock, the return codes
-- ARGV[4]  and further: the calls, each a command, a space and its payload
--
-- Returns the answer of each call. A call that fails has an error as its answer, and the others are not affected. Each
-- command reads all keys that it is going to write before it writes the first, so a key of a wrong type changes nothing.
--
-- Keys of an app. Each has a TTL, except the balance.
--   :balance      in messages
--   :m:<msg_id>   hash of a message. sent: packed as SENT; verified: the token of the call that verified it;
--                 tries: 16 bytes a wrong code, its call's token and its time; waiting: until it is delivered;
--                 state, carrier_code, carrier_id, attempts, settled_ms, refunded: its delivery
--   :w:<mobile>   times of the sends to a mobile (0: to all mobiles), 8 bytes each, ascending
--   :f:<mobile>   times of a mobile's wrong codes, likewise
--   :t:<key>      messages of the top-up with an idempotency key
--   :inbox        in a sandbox, sorted set of the msg_ids by the number of each, which :sent counts
--   :jobs         sorted set of the msg_ids that are not delivered yet, by the time in ms when each is due

local MESSAGE = '<I8I4I4I2I2BI4' -- mobile, temp_id, ttl_ms, segments, forced, rate_limited, the encrypted code
local MESSAGE_BYTES = 25
local SENT = MESSAGE .. 'I8' -- and sent_ms

local tag, settings = KEYS[1], cjson.decode(ARGV[3])
local anchor, codes = settings.anchor, settings.codes

local time = redis.call('TIME')
local redis_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if redis_ms > tonumber(ARGV[1]) then
  return redis.error_reply('LATE the deadline has passed')
end
local wall_ms = tonumber(ARGV[2]) or redis_ms
local now_ms = anchor.clock_ms + math.floor((wall_ms - anchor.wall_ms) * anchor.speed)

-- Converts a duration of the service clock to real ms, rounded up.
local function real_ms(service_ms)
  return math.max(1, math.ceil(service_ms / anchor.speed))
end

local MAX_KEPT_MS = real_ms(settings.longest_ms) -- no message is kept longer

local TOP_UP_KEPT_MS = 30 * 24 * 3600 * 1000 -- an idempotency key is known for so long

local function message_key(msg_id)
  return tag .. ':m:' .. msg_id
end

-- Rate windows.

-- Returns the time until every rule of a window allows one more; 0 if they allow it now.
local function wait_ms_of(key, window)
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

local function add_time(key, window)
  local bytes = redis.call('APPEND', key, struct.pack('<I8', now_ms))
  if bytes > 16 * window.max_count then -- rarely true, so that the cost of a call does not depend on a rule's count
    redis.call('SET', key, redis.call('GETRANGE', key, -8 * window.max_count, -1))
  end
  redis.call('PEXPIRE', key, real_ms(window.longest_ms))
end

local function remove_time(key, time_ms)
  local times, removed = redis.call('GET', key) or '', struct.pack('<I8', time_ms)
  for from = #times - 7, 1, -8 do
    if times:sub(from, from + 7) == removed then
      redis.call('SET', key, times:sub(1, from - 1) .. times:sub(from + 8), 'KEEPTTL')
      return
    end
  end
end

-- In a sandbox: adds a message to the inbox, and drops two that have been deleted.
local function add_to_inbox(msg_id)
  for _, old in ipairs(redis.call('ZRANGE', tag .. ':inbox', 0, 1)) do
    if redis.call('EXISTS', message_key(old)) == 0 then
      redis.call('ZREM', tag .. ':inbox', old)
    end
  end
  redis.call('ZADD', tag .. ':inbox', redis.call('INCR', tag .. ':sent'), msg_id)
  redis.call('PEXPIRE', tag .. ':inbox', MAX_KEPT_MS)
  redis.call('PEXPIRE', tag .. ':sent', MAX_KEPT_MS)
end

local function windows_of(mobile)
  local found = {}
  for _, it in ipairs({ { mobile, settings.sends }, { 0, settings.app_sends } }) do
    if it[2].max_count > 0 then
      found[#found + 1] = { key = tag .. ':w:' .. it[1], rules = it[2] }
    end
  end
  return found
end

-- Decisions.

local commands = {}

-- Payload: the message packed as MESSAGE, the msg_id.
function commands.send(payload)
  local mobile, _, ttl_ms, segments, _, rate_limited = struct.unpack(MESSAGE, payload)
  local msg_id = payload:sub(1 + MESSAGE_BYTES)
  local windows, wait = rate_limited == 1 and windows_of(mobile) or {}, 0
  for _, window in ipairs(windows) do
    wait = math.max(wait, wait_ms_of(window.key, window.rules))
  end
  if wait > 0 then
    return { codes.OUT_OF_FREQ, wait }
  end
  if tonumber(redis.call('GET', tag .. ':balance') or 0) < segments then
    return { codes.NO_MONEY, 0 }
  end
  -- If nobody takes jobs, they would pile up: so each send deletes two whose message was deleted long ago.
  for _, old in ipairs(redis.call('ZRANGE', tag .. ':jobs', '-inf', wall_ms - MAX_KEPT_MS, 'BYSCORE', 'LIMIT', 0, 2)) do
    redis.call('ZREM', tag .. ':jobs', old)
  end
  if settings.has_inbox then
    add_to_inbox(msg_id)
  end
  redis.call('DECRBY', tag .. ':balance', segments)
  local key, sent = message_key(msg_id), payload:sub(1, MESSAGE_BYTES) .. struct.pack('<I8', now_ms)
  redis.call('HSET', key, 'sent', sent, 'waiting', 1)
  redis.call('PEXPIRE', key, real_ms(ttl_ms + settings.kept_ms))
  for _, window in ipairs(windows) do
    add_time(window.key, window.rules)
  end
  redis.call('ZADD', tag .. ':jobs', wall_ms, msg_id)
  redis.call('PEXPIRE', tag .. ':jobs', MAX_KEPT_MS)
  return { codes.SUCCESS, 0 }
end

-- Payload: the call's token in 8 bytes, the typed code, encrypted, in 4 bytes, the msg_id.
function commands.verify(payload)
  local token, typed, key = payload:sub(1, 8), struct.unpack('<I4', payload, 9), message_key(payload:sub(13))
  local sent, verified, tries = unpack(redis.call('HMGET', key, 'sent', 'verified', 'tries'))
  if not sent then
    return { codes.INVALID_CODE, 0 }
  end
  local mobile, _, ttl_ms, _, forced, _, right, sent_ms = struct.unpack(SENT, sent)
  local failures_key = tag .. ':f:' .. mobile
  local wait = wait_ms_of(failures_key, settings.failures)
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
  if typed == right then
    redis.call('HSET', key, 'verified', token)
    return { codes.SUCCESS, 0 }
  end
  redis.call('HSET', key, 'tries', tries .. token .. struct.pack('<I8', now_ms))
  add_time(failures_key, settings.failures)
  return { codes.INVALID_CODE, 0 }
end

-- Rollbacks of calls whose answer did not arrive. Payload, as JSON: after_ms, the deadline of that call; msg_id; for a
-- verify, its token in hex. They return 0 before that deadline, since the call may still come, and 1 when it is undone.

function commands.unsend(payload)
  local call = cjson.decode(payload)
  if redis_ms <= call.after_ms then
    return 0
  end
  local key = message_key(call.msg_id)
  local sent, refunded = unpack(redis.call('HMGET', key, 'sent', 'refunded'))
  if sent then
    local mobile, _, _, segments, _, rate_limited, _, sent_ms = struct.unpack(SENT, sent)
    for _, window in ipairs(rate_limited == 1 and windows_of(mobile) or {}) do
      remove_time(window.key, sent_ms)
    end
    if not refunded then
      redis.call('INCRBY', tag .. ':balance', segments)
    end
    redis.call('ZREM', tag .. ':jobs', call.msg_id)
    redis.call('ZREM', tag .. ':inbox', call.msg_id)
    redis.call('DEL', key)
  end
  return 1
end

function commands.unverify(payload)
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
      remove_time(tag .. ':f:' .. struct.unpack(SENT, sent), struct.unpack('<I8', tries, from + 8))
      break
    end
  end
  return 1
end

-- The balance.

function commands.balance()
  return tonumber(redis.call('GET', tag .. ':balance') or 0)
end

-- Returns -1, and changes nothing, if the balance would fall below zero or exceed the integers that Lua counts exactly.
-- Payload: the number, and after a space the idempotency key, if there is one. A key that was used for the same number
-- changes nothing; for another one the answer is -2.
function commands.credit(payload)
  local messages, key = payload:match('^(%-?%d+) ?(.*)$')
  local given = key ~= '' and redis.call('GET', tag .. ':t:' .. key)
  if given then
    return given == messages and commands.balance() or -2
  end
  local balance = commands.balance() + messages
  if balance < 0 or balance > 2 ^ 53 then
    return -1
  end
  if key ~= '' then
    redis.call('SET', tag .. ':t:' .. key, messages, 'PX', TOP_UP_KEPT_MS)
  end
  return redis.call('INCRBY', tag .. ':balance', messages)
end

-- Delivery.

local function job(msg_id, attempts)
  local sent, waiting, fault = unpack(redis.call('HMGET', message_key(msg_id), 'sent', 'waiting', 'carrier_code'))
  return sent and waiting and { msg_id, sent, attempts, fault or '' }
end

function commands.undelivered(msg_id)
  return job(msg_id, tonumber(redis.call('HGET', message_key(msg_id), 'attempts') or 0))
end

-- Returns the times at which the jobs that are due became due, the oldest first.
function commands.due(limit)
  local times = {}
  local due = redis.call('ZRANGE', tag .. ':jobs', '-inf', wall_ms, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  for n = 2, #due, 2 do
    times[#times + 1] = tonumber(due[n])
  end
  return times
end

function commands.take(limit)
  local taken = {}
  for _, msg_id in ipairs(redis.call('ZRANGE', tag .. ':jobs', '-inf', wall_ms, 'BYSCORE', 'LIMIT', 0, limit)) do
    local found = job(msg_id, 0)
    if found then
      found[3] = redis.call('HINCRBY', message_key(msg_id), 'attempts', 1) - 1
      taken[#taken + 1] = found
      redis.call('ZADD', tag .. ':jobs', wall_ms + settings.lease_ms, msg_id)
    else
      redis.call('ZREM', tag .. ':jobs', msg_id)
    end
  end
  return taken
end

function commands.postpone(payload)
  local call = cjson.decode(payload)
  redis.call('ZADD', tag .. ':jobs', 'XX', wall_ms + call.wait_ms, call.msg_id)
  local key = message_key(call.msg_id)
  if redis.call('HEXISTS', key, 'waiting') == 1 then -- it has no result yet
    redis.call('HSET', key, 'carrier_code', call.fault)
  end
  return 1
end

local function write_result(key, call)
  redis.call('HSET', key, 'state', call.state, 'carrier_code', call.carrier_code, 'settled_ms', now_ms)
end

function commands.complete(payload)
  local call = cjson.decode(payload)
  local key = message_key(call.msg_id)
  local was_open = redis.call('ZREM', tag .. ':jobs', call.msg_id) == 1
  local sent = redis.call('HGET', key, 'sent')
  if sent then
    if call.refund and was_open then
      local _, _, _, segments = struct.unpack(SENT, sent)
      redis.call('INCRBY', tag .. ':balance', segments)
      redis.call('HSET', key, 'refunded', 1)
    end
    write_result(key, call)
    redis.call('HSET', key, 'carrier_id', call.carrier_id)
    redis.call('HDEL', key, 'waiting')
  end
  return 1
end

function commands.receive(payload)
  local call = cjson.decode(payload)
  local key = message_key(call.msg_id)
  local state, carrier_id, sent = unpack(redis.call('HMGET', key, 'state', 'carrier_id', 'sent'))
  if state ~= settings.sent or carrier_id ~= call.carrier_id then
    return 0
  end
  if call.mobile > 0 and call.mobile ~= struct.unpack(SENT, sent) then
    return 0
  end
  write_result(key, call)
  return 1
end

function commands.message(msg_id)
  local fields = { 'sent', 'state', 'carrier_code', 'carrier_id', 'attempts', 'settled_ms' }
  return redis.call('HMGET', message_key(msg_id), unpack(fields))
end

function commands.backlog()
  return redis.call('ZCARD', tag .. ':jobs')
end

-- The sandbox.

-- Payload, as JSON: after, the msg_id of the message before the first one; mobile, or 0 for all; limit.
-- Returns the msg_id and the packed message of each message that is not delivered.
function commands.inbox(payload)
  local call, found = cjson.decode(payload), {}
  local last = redis.call('ZSCORE', tag .. ':inbox', call.after) or 0
  repeat
    local some = redis.call('ZRANGE', tag .. ':inbox', '(' .. last, '+inf', 'BYSCORE', 'LIMIT', 0, 500, 'WITHSCORES')
    for n = 1, #some, 2 do
      local sent, waiting = unpack(redis.call('HMGET', message_key(some[n]), 'sent', 'waiting'))
      local is_wanted = sent and waiting and (call.mobile == 0 or call.mobile == struct.unpack(SENT, sent))
      if is_wanted and #found < call.limit then
        found[#found + 1] = { some[n], sent }
      end
      last = some[n + 1]
    end
  until #some == 0 or #found == call.limit
  return found
end

-- Deletes up to a number of messages with their windows and tries. Returns how many, and how many their app was charged.
function commands.empty(limit)
  local msg_ids, charged = redis.call('ZRANGE', tag .. ':inbox', 0, limit - 1), 0
  for _, msg_id in ipairs(msg_ids) do
    local key = message_key(msg_id)
    local sent, refunded = unpack(redis.call('HMGET', key, 'sent', 'refunded'))
    if sent then
      local mobile, _, _, segments = struct.unpack(SENT, sent)
      charged = charged + (refunded and 0 or segments)
      redis.call('DEL', key, tag .. ':w:' .. mobile, tag .. ':f:' .. mobile)
    end
    redis.call('ZREM', tag .. ':jobs', msg_id)
    redis.call('ZREM', tag .. ':inbox', msg_id)
  end
  redis.call('DEL', tag .. ':w:0')
  return { #msg_ids, charged }
end

-- The message of a carrier's id. Such a key has a tag of its own: KEYS[1] is sms:{receipt-<carrier_id>}.

function commands.link(message)
  return redis.call('SET', tag, message, 'PX', MAX_KEPT_MS)
end

function commands.find()
  return redis.call('GET', tag)
end

local answers = {}
for n = 4, #ARGV do
  local command, payload = ARGV[n]:match('^(%l+) (.*)$')
  local done, answer = pcall(commands[command], payload)
  if not done then
    answer = redis.error_reply('FAILED ' .. tostring(type(answer) == 'table' and answer.err or answer))
  end
  answers[#answers + 1] = answer
end
return answers
