"""A Redis whose time can be moved, and stores that move it with the suite's clock."""

from __future__ import annotations

from typing import Any, Final

import redis

from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis.address import Address, address_of_client
from rowstamp.stores.redis.sentinel import SentinelAddress
from rowstamp.testing import FakeClock

# A server's clock cannot be set, but all that it is for is how far away each end is. So time passes by moving every end
# nearer: those of the keys, and those of the holds within.
_PASS: Final = """
local past = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= past then
    redis.call('DEL', key)
  else
    local value = redis.call('GET', key)
    local kind = string.sub(value, 1, 1)
    if string.find(key, ':s:', 1, true) and (kind == 'h' or kind == 'p') then
      local moved = string.sub(value, 1, 2)
      for at = 3, #value, 24 do
        local stop = struct.unpack('>d', string.sub(value, at, at + 7))
        moved = moved .. struct.pack('>d', stop - past) .. string.sub(value, at + 8, at + 23)
      end
      redis.call('SET', key, moved, 'KEEPTTL')
    end
    if left >= 0 then redis.call('PEXPIRE', key, left - past) end
  end
end
"""


class Timed:
    """Lets the server's time follow a clock."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.client = redis.Redis.from_url(url)
        self.clock = clock
        self.seen = clock.now

    def follow(self) -> None:
        past, self.seen = self.clock.now - self.seen, self.clock.now
        if past:
            self.client.eval(_PASS, 0, str(round(past * 1000)))

    def close(self) -> None:
        self.client.close()


def address_of(url: str, **options: Any) -> Address:
    client = redis.Redis.from_url(url)
    return address_of_client(client, **{"timeout_ms": 20_000, "connect_timeout_ms": 20_000, **options})


class TimedRedisStore(RedisStore):
    def __init__(self, url: str, clock: FakeClock, address: Address | SentinelAddress | None = None) -> None:
        super().__init__(address or address_of(url))
        self._time = Timed(url, clock)
        self._time.client.flushall()

    def _call(self, call: ops.Call) -> Any:
        self._time.follow()
        return super()._call(call)

    def close(self) -> None:
        super().close()
        self._time.close()


class TimedAsyncRedisStore(AsyncRedisStore):
    def __init__(self, url: str, clock: FakeClock, address: Address | SentinelAddress | None = None) -> None:
        super().__init__(address or address_of(url))
        self._time = Timed(url, clock)
        self._time.client.flushall()

    def _call(self, call: ops.Call) -> Any:
        self._time.follow()
        return super()._call(call)

    async def aclose(self) -> None:
        await super().aclose()
        self._time.close()
