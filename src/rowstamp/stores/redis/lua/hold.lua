-- Put a writer into the set of holders; the token goes. ARGV: writer, milliseconds, kind of the held value ("h" or "p").
local moment = now()
local stop = moment + ARGV[2]
local old = redis.call('GET', KEY)
local want, packed, last = 'u', '', 0
if old then
  if is_held(old) then
    want = string.sub(old, 2, 2)
    packed, last = others(old, ARGV[1], moment)
  else
    want = string.sub(old, 1, 1)
  end
end
keep_held(ARGV[3], want, packed .. struct.pack('>d', stop) .. ARGV[1], math.max(last, stop))
return 1
