local name, result = ARGV[1], ARGV[2]
local run = redis.call('HMGET', key, 'state', 'leased_until', 'expires_at')
if run[1] == 'run' and number(run[2]) > now then
  return {'leased', text(now), {}}
end
local recorded = redis.call('HGET', key, 's:' .. name) or ''
local kind = string.match(recorded, '^(%d+) %d+ 0$')
if run[1] ~= 'run' or number(run[3]) <= now or not kind then
  return {'missing', text(now), {}}
end
-- The last holder may be frozen, and not dead.
local epoch = text(redis.call('HINCRBY', key, 'epoch', 1))
if result then
  redis.call('HSET', key, 's:' .. name, kind .. ' ' .. epoch .. ' ' .. result, 't:' .. name, text(now))
else
  redis.call('HDEL', key, 's:' .. name, 't:' .. name)
end
return {'done', text(now), {}}
