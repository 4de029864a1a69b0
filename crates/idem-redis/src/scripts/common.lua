local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Lua's own text of a time would be 1.7e+15.
local function text(number)
  return string.format('%.0f', number)
end

local function number(field)
  return tonumber(field or '') or 0
end

local function answer(code)
  return {code, text(now), redis.call('HGETALL', key)}
end

-- The key outlives its content by a second: whether the content has expired is for scripts to say.
local function keep_until(expires_at)
  redis.call('PEXPIREAT', key, text(math.ceil(expires_at / 1000) + 1000))
end

local function is_held(holder, epoch)
  local run = redis.call('HMGET', key, 'state', 'holder', 'epoch')
  return run[1] == 'run' and run[2] == holder and run[3] == epoch
end

-- Always a write: WAIT then also covers an earlier execution of the same command.
local function renew(lease)
  local ends = now + lease
  redis.call('HSET', key, 'leased_until', text(ends))
  keep_until(math.max(ends, number(redis.call('HGET', key, 'expires_at'))))
  return {'done', text(now), {}}
end

local lost = {'lost', text(now), {}}
