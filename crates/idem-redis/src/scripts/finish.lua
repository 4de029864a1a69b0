local holder, epoch, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local operation, fingerprint, state, attempts, status, response = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
if is_held(holder, epoch) then
  redis.call('DEL', key)
  redis.call('HSET', key, 'state', state, 'operation', operation, 'fingerprint', fingerprint,
    'epoch', epoch, 'holder', holder, 'attempts', attempts, 'at', text(now),
    'expires_at', text(now + ttl), 'status', status)
  if response then
    redis.call('HSET', key, 'response', response)
  end
  keep_until(now + ttl)
else
  local found = redis.call('HMGET', key, 'state', 'holder', 'epoch')
  if found[1] ~= state or found[2] ~= holder or found[3] ~= epoch then
    return lost
  end
  redis.call('HSET', key, 'holder', holder)
end
local times = redis.call('HMGET', key, 'at', 'expires_at')
return {'done', text(now), {'at', times[1], 'expires_at', times[2]}}
