local found = redis.pcall('HMGET', key, 'state', 'leased_until', 'expires_at')
local is_run = not found.err and found[1] == 'run'
if is_run and number(found[2]) > now then
  return {'leased', text(now), {}}
end
if ARGV[1] == '1' and redis.call('EXISTS', key) == 0 then
  -- A write, so that WAIT covers an earlier deletion that too few replicas had.
  redis.call('HSET', key, 'state', 'run')
  redis.call('DEL', key)
end
local is_there = redis.call('DEL', key) == 1 and not (is_run and number(found[3]) <= now)
return {is_there and 'done' or 'missing', text(now), {}}
