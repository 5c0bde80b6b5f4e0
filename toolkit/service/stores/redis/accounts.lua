-- Keep the accounts that all machines share: apps, templates, the clock's anchor, the check value of the key.
-- Each call of the script is one atomic step.
--
-- KEYS[1]  the tag of the accounts; every key begins with it
-- ARGV[1]  the command; the further arguments are its own
--
-- Keys:  :store  hash: format; check (the check value of the key); wall_ms, clock_ms, speed (the anchor);
--                version (counts the changes of all of this)
--        :apps, :templates  hashes from a number to JSON
--        :keys   hash from an app key to its app_id

local tag = KEYS[1]
local store = tag .. ':store'
local commands = {}

function commands.open(format, check, wall_ms, clock_ms, speed)
  redis.call('HSETNX', store, 'format', format)
  redis.call('HSETNX', store, 'check', check)
  if redis.call('HGET', store, 'speed') ~= speed then
    redis.call('HSET', store, 'wall_ms', wall_ms, 'clock_ms', clock_ms, 'speed', speed)
    redis.call('HINCRBY', store, 'version', 1)
  end
  return redis.call('HMGET', store, 'format', 'check')
end

function commands.poll()
  local time = redis.call('TIME')
  return { redis.call('HGET', store, 'version') or '', time[1], time[2] }
end

function commands.read()
  return {
    redis.call('HMGET', store, 'version', 'wall_ms', 'clock_ms', 'speed'),
    redis.call('HGETALL', tag .. ':apps'),
    redis.call('HGETALL', tag .. ':templates'),
  }
end

function commands.advance(by_ms)
  redis.call('HINCRBY', store, 'clock_ms', by_ms)
  return redis.call('HINCRBY', store, 'version', 1)
end

-- Returns 0, and changes nothing, if another app has the key.
function commands.put(app_id, app_key, app, temp_id, template)
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

return commands[ARGV[1]](unpack(ARGV, 2))
