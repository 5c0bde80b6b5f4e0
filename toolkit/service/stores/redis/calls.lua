-- Carry out calls of one app, in their order, in one atomic step. The rules are those of toolkit/service/core/state.py.
--
-- KEYS[1]  the app's tag, sms:{app_id}. Every key begins with it, so all keys of an app lie in one slot.
-- ARGV[1]  the deadline in ms by Redis's own clock. After it nothing is changed, because the callers have got an error.
-- ARGV[2]  the time in ms that decisions use, or '' for Redis's own
-- ARGV[3]  the settings as JSON: the policy, the anchor of the service clock, the return codes
-- ARGV[4]  the command of all calls
-- ARGV[5]  and further: the payload of each call
--
-- Returns the answer of each call. A call that fails has an error as its answer, and the others are not affected. Each
-- command reads all keys that it is going to write before it writes the first, so a key of a wrong type changes nothing.
--
-- Keys of an app. Each has a TTL, except the balance.
--   :balance      in messages
--   :m:<msg_id>   a message, packed as SENT. Then, in 8 bytes, the token of the call that verified it, or zeros. Then, in
--                 16 bytes a wrong code, its call's token and its time.
--   :d:<msg_id>   hash of a message's delivery: attempts, carrier_code, carrier_id, settled_ms, refunded; and its state,
--                 once it is delivered
--   :w:<mobile>   times of the sends to a mobile (0: to all mobiles), 8 bytes each, ascending
--   :f:<mobile>   times of a mobile's wrong codes, likewise
--   :t:<key>      messages of the top-up with an idempotency key
--   :inbox        in a sandbox, sorted set of the msg_ids in the order of their sends, by 1024 times the time in ms
--   :jobs         sorted set of the msg_ids that are not delivered yet, by the time in ms when each is due
--
-- Most of a call's time is that of its writes, also because each is copied to the append-only file: a SET with a TTL costs
-- as much as eight reads. So a message is one SET, and the sends of a script share the writes of the balance, the jobs and
-- the inbox.

local MESSAGE = '<I8I4I4I2I2BI4' -- mobile, temp_id, ttl_ms, segments, forced, rate_limited, the encrypted code
local MESSAGE_BYTES = 25
local SENT = MESSAGE .. 'I8' -- and sent_ms
local VERIFIED, TRIES = 33, 41 -- offsets
local NOBODY = ('\0'):rep(8)
local INBOX_SCALE = 1024

local tag, settings = KEYS[1], cjson.decode(ARGV[3])
local anchor, codes = settings.anchor, settings.codes

local time = redis.call('TIME')
local redis_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if redis_ms > tonumber(ARGV[1]) then
  return redis.error_reply('LATE the deadline has passed')
end
local wall_ms = tonumber(ARGV[2]) or redis_ms
local now_ms = anchor.clock_ms + math.floor((wall_ms - anchor.wall_ms) * anchor.speed)
local now = struct.pack('<I8', now_ms)

-- Converts a duration of the service clock to real ms, rounded up.
local function real_ms(service_ms)
  return math.max(1, math.ceil(service_ms / anchor.speed))
end

-- Returns the time at which a key expires whose TTL is a duration of the service clock.
local function expiry(service_ms)
  return string.format('%d', redis_ms + real_ms(service_ms))
end

local MAX_KEPT_MS = real_ms(settings.longest_ms) -- no message is kept longer

local TOP_UP_KEPT_MS = 30 * 24 * 3600 * 1000 -- an idempotency key is known for so long

local function key_of(kind, msg_id)
  return tag .. kind .. msg_id
end

-- Rate windows.

-- Returns the time until every rule of a window allows one more, which is 0 if they allow it now, and the window's size.
local function wait_ms_of(key, window)
  local wait, bytes = 0, redis.call('STRLEN', key)
  for _, rule in ipairs(window.rules) do
    local from = bytes - 8 * rule.count
    if from >= 0 then
      local time_ms = struct.unpack('<I8', redis.call('GETRANGE', key, from, from + 7))
      wait = math.max(wait, time_ms + rule.window_ms - now_ms)
    end
  end
  return wait, bytes
end

local function add_time(key, window, bytes)
  if bytes == 0 then
    redis.call('SET', key, now, 'PXAT', expiry(window.longest_ms))
    return
  end
  redis.call('APPEND', key, now)
  if bytes >= 16 * window.max_count then -- rarely true, so that the cost of a call does not depend on a rule's count
    redis.call('SET', key, redis.call('GETRANGE', key, -8 * window.max_count, -1))
  end
  redis.call('PEXPIREAT', key, expiry(window.longest_ms))
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

local function send_window_key(window, mobile)
  return string.format('%s:w:%d', tag, window.is_of_app and 0 or mobile)
end

-- The sends of a script share the balance, and the writes of the jobs and of a sandbox's inbox.

local balance, charged, jobs, inbox, inbox_end = 0, 0, {}, {}, 0

-- Deletes the members of a sorted set up to a score, at most two for each send, so that they do not pile up.
local function remove_old(key, score)
  local old = redis.call('ZRANGE', key, '-inf', score, 'BYSCORE', 'LIMIT', 0, 2 * (#ARGV - 4))
  if #old > 0 then
    redis.call('ZREM', key, unpack(old))
  end
end

local function read_for_sends()
  balance = tonumber(redis.call('GET', tag .. ':balance') or 0)
  remove_old(tag .. ':jobs', wall_ms - MAX_KEPT_MS)
  if settings.has_inbox then
    remove_old(tag .. ':inbox', INBOX_SCALE * (wall_ms - MAX_KEPT_MS))
    local last = redis.call('ZRANGE', tag .. ':inbox', -1, -1, 'WITHSCORES')[2] or 0
    inbox_end = math.max(last + 1, INBOX_SCALE * wall_ms)
  end
end

local function append(list, one, other)
  list[#list + 1], list[#list + 2] = one, other
end

local function add_members(key, members)
  redis.call('ZADD', key, unpack(members))
  redis.call('PEXPIREAT', key, expiry(settings.longest_ms))
end

local function write_for_sends()
  if charged > 0 then
    redis.call('DECRBY', tag .. ':balance', charged)
    add_members(tag .. ':jobs', jobs)
  end
  if #inbox > 0 then
    add_members(tag .. ':inbox', inbox)
  end
end

-- Decisions.

local commands = {}

-- Payload: the message packed as MESSAGE, the msg_id.
function commands.send(payload)
  local mobile, _, ttl_ms, segments, _, rate_limited = struct.unpack(MESSAGE, payload)
  local msg_id = payload:sub(1 + MESSAGE_BYTES)
  local windows, keys, sizes, wait = rate_limited == 1 and settings.windows or {}, {}, {}, 0
  for n, window in ipairs(windows) do
    local key = send_window_key(window, mobile)
    local window_wait, bytes = wait_ms_of(key, window)
    keys[n], sizes[n], wait = key, bytes, math.max(wait, window_wait)
  end
  if wait > 0 then
    return { codes.OUT_OF_FREQ, wait }
  end
  if balance - charged < segments then
    return { codes.NO_MONEY, 0 }
  end
  local message = payload:sub(1, MESSAGE_BYTES) .. now .. NOBODY
  redis.call('SET', key_of(':m:', msg_id), message, 'PXAT', expiry(ttl_ms + settings.kept_ms))
  for n, window in ipairs(windows) do
    add_time(keys[n], window, sizes[n])
  end
  charged = charged + segments
  append(jobs, string.format('%d', wall_ms), msg_id)
  if settings.has_inbox then
    append(inbox, string.format('%d', inbox_end + #inbox / 2), msg_id)
  end
  return { codes.SUCCESS, 0 }
end

-- Payload: the call's token in 8 bytes, the typed code, encrypted, in 4 bytes, the msg_id.
function commands.verify(payload)
  local token, typed, key = payload:sub(1, 8), struct.unpack('<I4', payload, 9), key_of(':m:', payload:sub(13))
  local message = redis.call('GET', key)
  if not message then
    return { codes.INVALID_CODE, 0 }
  end
  local mobile, _, ttl_ms, _, forced, _, right, sent_ms = struct.unpack(SENT, message)
  local failures_key = string.format('%s:f:%d', tag, mobile)
  local wait, bytes = wait_ms_of(failures_key, settings.failures)
  if wait > 0 then
    return { codes.OUT_OF_FREQ, wait }
  end
  if forced > 0 then
    return { forced, 0 }
  end
  if message:sub(1 + VERIFIED, TRIES) ~= NOBODY then
    return { codes.VERIFIED_CODE, 0 }
  end
  if now_ms >= sent_ms + ttl_ms or (#message - TRIES) / 16 >= settings.tries then
    return { codes.EXPIRED_CODE, 0 }
  end
  if typed == right then
    redis.call('SETRANGE', key, VERIFIED, token)
    return { codes.SUCCESS, 0 }
  end
  redis.call('APPEND', key, token .. now)
  add_time(failures_key, settings.failures, bytes)
  return { codes.INVALID_CODE, 0 }
end

-- Rollbacks of calls whose answer did not arrive. Payload, as JSON: after_ms, the deadline of that call; msg_id; for a
-- verify, its token in hex. They return 0 before that deadline, since the call may still come, and 1 when it is undone.

function commands.unsend(payload)
  local call = cjson.decode(payload)
  if redis_ms <= call.after_ms then
    return 0
  end
  local key, delivery = key_of(':m:', call.msg_id), key_of(':d:', call.msg_id)
  local message = redis.call('GET', key)
  if message then
    local mobile, _, _, segments, _, rate_limited, _, sent_ms = struct.unpack(SENT, message)
    for _, window in ipairs(rate_limited == 1 and settings.windows or {}) do
      remove_time(send_window_key(window, mobile), sent_ms)
    end
    if redis.call('HEXISTS', delivery, 'refunded') == 0 then
      redis.call('INCRBY', tag .. ':balance', segments)
    end
    redis.call('ZREM', tag .. ':jobs', call.msg_id)
    redis.call('ZREM', tag .. ':inbox', call.msg_id)
    redis.call('DEL', key, delivery)
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
  local key = key_of(':m:', call.msg_id)
  local message = redis.call('GET', key) or ''
  if message:sub(1 + VERIFIED, TRIES) == token then
    redis.call('SETRANGE', key, VERIFIED, NOBODY)
  end
  for from = 1 + TRIES, #message, 16 do
    if message:sub(from, from + 7) == token then
      redis.call('SET', key, message:sub(1, from - 1) .. message:sub(from + 16), 'KEEPTTL')
      local mobile, tried_ms = struct.unpack(SENT, message), struct.unpack('<I8', message, from + 8)
      remove_time(string.format('%s:f:%d', tag, mobile), tried_ms)
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

local function write_delivery(msg_id, ...)
  local key = key_of(':d:', msg_id)
  redis.call('HSET', key, ...)
  redis.call('PEXPIREAT', key, expiry(settings.longest_ms))
end

-- Returns the job of a message that is not delivered.
function commands.undelivered(msg_id)
  local message = redis.call('GET', key_of(':m:', msg_id))
  local attempts, state, fault = unpack(redis.call('HMGET', key_of(':d:', msg_id), 'attempts', 'state', 'carrier_code'))
  return message and not state and { msg_id, message, tonumber(attempts or 0), fault or '' }
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
    local job = commands.undelivered(msg_id)
    if job then
      write_delivery(msg_id, 'attempts', job[3] + 1)
      taken[#taken + 1] = job
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
  if commands.undelivered(call.msg_id) then -- it has no result yet
    write_delivery(call.msg_id, 'carrier_code', call.fault)
  end
  return 1
end

local function write_result(call, ...)
  write_delivery(call.msg_id, 'state', call.state, 'carrier_code', call.carrier_code, 'settled_ms', now_ms, ...)
end

function commands.complete(payload)
  local call = cjson.decode(payload)
  local was_open = redis.call('ZREM', tag .. ':jobs', call.msg_id) == 1
  local message = redis.call('GET', key_of(':m:', call.msg_id))
  if message then
    if call.refund and was_open then
      local _, _, _, segments = struct.unpack(SENT, message)
      redis.call('INCRBY', tag .. ':balance', segments)
      write_delivery(call.msg_id, 'refunded', 1)
    end
    write_result(call, 'carrier_id', call.carrier_id)
  end
  return 1
end

function commands.receive(payload)
  local call = cjson.decode(payload)
  local message = redis.call('GET', key_of(':m:', call.msg_id))
  local state, carrier_id = unpack(redis.call('HMGET', key_of(':d:', call.msg_id), 'state', 'carrier_id'))
  if not message or state ~= settings.sent or carrier_id ~= call.carrier_id then
    return 0
  end
  if call.mobile > 0 and call.mobile ~= struct.unpack(SENT, message) then
    return 0
  end
  write_result(call)
  return 1
end

function commands.message(msg_id)
  local fields = { 'state', 'carrier_code', 'carrier_id', 'attempts', 'settled_ms' }
  return { redis.call('GET', key_of(':m:', msg_id)), unpack(redis.call('HMGET', key_of(':d:', msg_id), unpack(fields))) }
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
      local job = commands.undelivered(some[n])
      local is_wanted = job and (call.mobile == 0 or call.mobile == struct.unpack(SENT, job[2]))
      if is_wanted and #found < call.limit then
        found[#found + 1] = { some[n], job[2] }
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
    local key, delivery = key_of(':m:', msg_id), key_of(':d:', msg_id)
    local message = redis.call('GET', key)
    if message then
      local mobile, _, _, segments = struct.unpack(SENT, message)
      charged = charged + (redis.call('HEXISTS', delivery, 'refunded') == 1 and 0 or segments)
      redis.call('DEL', key, delivery, string.format('%s:w:%d', tag, mobile), string.format('%s:f:%d', tag, mobile))
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

-- The calls.

local command, answers = ARGV[4], {}
if command == 'send' then
  read_for_sends()
end
for n = 5, #ARGV do
  local done, answer = pcall(commands[command], ARGV[n])
  if not done then
    answer = redis.error_reply('FAILED ' .. tostring(type(answer) == 'table' and answer.err or answer))
  end
  answers[#answers + 1] = answer
end
if command == 'send' then
  write_for_sends()
end
return answers
