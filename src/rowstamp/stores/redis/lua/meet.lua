-- Say for how many milliseconds somebody has known this server; the first who asks makes it known. ARGV: milliseconds to
-- live of the mark, which is renewed by whoever asks.
local met = redis.call('GET', KEY)
if met then
  redis.call('PEXPIRE', KEY, ARGV[1])
  return math.max(0, now() - tonumber(met))
end
redis.call('SET', KEY, string.format('%.0f', now()), 'PX', ARGV[1])
return 0
