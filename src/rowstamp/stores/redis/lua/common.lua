-- What the scripts share. A stamp is one string:
--
--   "t" tag token     a token that a reader has asked for
--   "u" tag token     a token that a writer left behind and that nobody is known to have read
--   "h" want holds    held; the key ends by itself with its last hold
--   "p" want holds    held; the key has no time to live, for a volatile-* policy evicts whatever has one
--
-- tag: 8 bytes, the server and epoch under which the token was given; of another tag it is as good as missing.
-- token, writer: 16 bytes. want: the "t" or "u" that the next token begins with. holds: one or more of (end, writer),
-- where end is a moment of this server's clock, in milliseconds, as 8 bytes.
-- An expired hold is taken out by whoever comes next; until then it counts for nobody.

local KEY = KEYS[1]

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function is_held(value)
  local kind = string.sub(value, 1, 1)
  return kind == 'h' or kind == 'p'
end

-- The live holds of a value other than the writer's own, packed; the last of their ends; and whether the writer's is live.
local function others(value, writer, moment)
  local packed, last, mine = '', 0, false
  for at = 3, #value, 24 do
    local stop = struct.unpack('>d', string.sub(value, at, at + 7))
    if stop > moment then
      if string.sub(value, at + 8, at + 23) == writer then
        mine = true
      else
        packed = packed .. string.sub(value, at, at + 23)
        last = math.max(last, stop)
      end
    end
  end
  return packed, last, mine
end

local function keep_held(kind, want, packed, last)
  if kind == 'p' then
    redis.call('SET', KEY, kind .. want .. packed)
  else
    redis.call('SET', KEY, kind .. want .. packed, 'PXAT', string.format('%.0f', last))
  end
end
