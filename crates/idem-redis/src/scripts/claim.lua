local holder, lease, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local operation, fingerprint, attempt = ARGV[4], ARGV[5], ARGV[6]
local seen_attempts, seen_at = ARGV[7], ARGV[8]
local is_durable = ARGV[9] == '1'

local function take(epoch)
  redis.call('HSET', key, 'state', 'run', 'operation', operation, 'fingerprint', fingerprint,
    'epoch', epoch, 'holder', holder, 'attempts', attempt, 'at', text(now),
    'leased_until', text(now + lease), 'expires_at', text(now + ttl))
  keep_until(now + math.max(lease, ttl))
  return answer('won')
end

local found = redis.call('HMGET', key, 'state', 'holder', 'epoch', 'attempts', 'at', 'expires_at', 'leased_until')
local state, epoch, at, expires_at, leased_until = found[1], tonumber(found[3] or ''), tonumber(found[5] or ''),
  tonumber(found[6] or ''), tonumber(found[7] or '')
local is_seen = found[4] == seen_attempts and found[5] == seen_at

if redis.call('EXISTS', key) == 0 then
  -- The record or the run that was seen has expired.
  if seen_at ~= '' then
    return answer('changed')
  end
  return take('1')
end
if not (state and epoch and at and expires_at) or (state == 'run' and not leased_until) then
  return answer('changed')
end
if state == 'run' then
  if found[2] == holder then
    renew(lease)
    return answer('won')
  end
  if leased_until > now then
    return answer('leased')
  end
  if expires_at <= now then
    redis.call('DEL', key)
    return take('1')
  end
  if is_seen then
    return take(text(epoch + 1))
  end
elseif is_seen and (expires_at <= now or state == '3') then
  redis.call('DEL', key)
  return take('1')
elseif is_durable then
  -- A write, so that WAIT covers the record that is replayed.
  redis.call('HSET', key, 'state', state)
end
return answer('changed')
