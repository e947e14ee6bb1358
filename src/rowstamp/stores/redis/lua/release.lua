-- Take a writer out of the set of holders; the last to leave puts a new token. ARGV: tag, token, writer (empty for a mere
-- touch), milliseconds to live of a token that readers want, and of one that nobody has asked for.
-- Returns 1 if the writer's hold was still live, else 0.
local want, was_held = 'u', 0
local old = redis.call('GET', KEY)
if old then
  if is_held(old) then
    local packed, last, mine = others(old, ARGV[3], now())
    if mine then was_held = 1 end
    want = string.sub(old, 2, 2)
    if packed ~= '' then
      keep_held(string.sub(old, 1, 1), want, packed, last)
      return was_held
    end
  else
    want = string.sub(old, 1, 1)
  end
end
redis.call('SET', KEY, want .. ARGV[1] .. ARGV[2], 'PX', want == 't' and ARGV[4] or ARGV[5])
return was_held
