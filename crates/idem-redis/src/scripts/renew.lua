if not is_held(ARGV[1], ARGV[2]) then
  return lost
end
return renew(tonumber(ARGV[3]))
