local names = {'state', 'operation', 'attempts', 'at', 'expires_at'}
local values, fields = redis.call('HMGET', key, unpack(names)), {}
for place, name in ipairs(names) do
  if values[place] then
    table.insert(fields, name)
    table.insert(fields, values[place])
  end
end
if #fields > 0 then
  table.insert(fields, 'bytes')
  table.insert(fields, text(redis.call('HSTRLEN', key, 'response')))
end
return {'read', text(now), fields}
