#!lua
-- Keeps what every machine shares: apps, templates, the clock's anchor, the check of the key. One atomic step a call.
--
-- KEYS[1]  the tag of the accounts; every key begins with it
-- ARGV[1]  what to do; the rest belongs to it
--
-- Keys:  :store  hash: format, check (of the key), wall_ms, clock_ms and speed (the anchor), version (of all of this)
--        :apps, :templates  hashes: number to JSON;  :keys  hash: app key to app_id

local tag = KEYS[1]
local store = tag .. ':store'
local calls = {}

function calls.open(format, check, wall_ms, clock_ms, speed)
  redis.call('HSETNX', store, 'format', format)
  redis.call('HSETNX', store, 'check', check)
  if redis.call('HGET', store, 'speed') ~= speed then
    redis.call('HSET', store, 'wall_ms', wall_ms, 'clock_ms', clock_ms, 'speed', speed)
    redis.call('HINCRBY', store, 'version', 1)
  end
  return redis.call('HMGET', store, 'format', 'check')
end

function calls.poll()
  local time = redis.call('TIME')
  return { redis.call('HGET', store, 'version') or '', time[1], time[2] }
end

function calls.read()
  return {
    redis.call('HMGET', store, 'version', 'wall_ms', 'clock_ms', 'speed'),
    redis.call('HGETALL', tag .. ':apps'),
    redis.call('HGETALL', tag .. ':templates'),
  }
end

function calls.put(app_id, app_key, app, temp_id, template) -- answers 0, with nothing done, where another app has the key
  if app ~= '' then
    redis.call('HSETNX', tag .. ':keys', app_key, app_id)
    if redis.call('HGET', tag .. ':keys', app_key) ~= app_id then
      return 0
    end
    redis.call('HSET', tag .. ':apps', app_id, app)
  end
  if template ~= '' then
    redis.call('HSET', tag .. ':templates', temp_id, template)
  end
  redis.call('HINCRBY', store, 'version', 1)
  return 1
end

return calls[ARGV[1]](unpack(ARGV, 2))
