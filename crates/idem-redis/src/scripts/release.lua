if not is_held(ARGV[1], ARGV[2]) then
  return lost
end
redis.call('HSET', key, 'leased_until', text(now))
-- A run that is forgotten is one that has expired, so the same command can come once more.
if ARGV[3] == '1' then
  redis.call('HSET', key, 'expires_at', text(now))
end
keep_until(math.max(now, number(redis.call('HGET', key, 'expires_at'))))
return {'done', text(now), {}}
