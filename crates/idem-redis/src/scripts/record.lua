local holder, epoch, lease, name, kind, result = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
if not is_held(holder, epoch) then
  return lost
end
local step = kind .. ' ' .. epoch .. ' ' .. result
local recorded = redis.call('HGET', key, 's:' .. name)
if not recorded then
  redis.call('HSET', key, 's:' .. name, step, 't:' .. name, text(now))
elseif recorded ~= step then
  return lost
end
return renew(lease)
