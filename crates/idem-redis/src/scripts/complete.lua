local holder, epoch, lease, name, result = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if not is_held(holder, epoch) then
  return lost
end
local recorded = redis.call('HGET', key, 's:' .. name) or ''
local kind = string.match(recorded, '^(%d+) ') or ''
local step = kind .. ' ' .. epoch .. ' ' .. result
if string.match(recorded, '^%d+ %d+ 0$') then
  redis.call('HSET', key, 's:' .. name, step, 't:' .. name, text(now))
elseif recorded ~= step then
  return lost
end
return renew(lease)
