-- Give a missing stamp a token. ARGV: tag, token, milliseconds to live.
-- Returns what the stamp now is, in the form in which it is stored.
local old = redis.call('GET', KEY)
if old then
  if is_held(old) then
    if others(old, '', now()) ~= '' then return old end
  elseif string.sub(old, 2, 9) == ARGV[1] then
    return old
  end
end
local new = 't' .. ARGV[1] .. ARGV[2]
redis.call('SET', KEY, new, 'PX', ARGV[3])
return new
