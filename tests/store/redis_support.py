"""A Redis whose time can be moved, and stores that move it with the suite's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import pytest
import redis

from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.clients import address_of_client
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.sentinel import SentinelAddress
from rowstamp.testing import FakeClock, StoreSuite

AnyAddress: TypeAlias = Address | SentinelAddress | ClusterAddress

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
    """Lets the time of servers follow a clock."""

    def __init__(self, urls: Sequence[str], clock: FakeClock) -> None:
        self.clients = [redis.Redis.from_url(url) for url in urls]
        self.clock = clock
        self.seen = clock.now
        for client in self.clients:
            client.flushall()

    def follow(self) -> None:
        past, self.seen = self.clock.now - self.seen, self.clock.now
        if past:
            for client in self.clients:
                client.eval(_PASS, 0, str(round(past * 1000)))

    def close(self) -> None:
        for client in self.clients:
            client.close()


PATIENT = {"timeout_ms": 20_000, "connect_timeout_ms": 20_000}


def address_of(url: str, **options: Any) -> Address:
    with redis.Redis.from_url(url) as client:
        address = address_of_client(client, **{**PATIENT, **options})
    assert isinstance(address, Address)
    return address


class TimedRedisStore(RedisStore):
    """Empties its servers and moves their time."""

    def __init__(self, urls: Sequence[str], clock: FakeClock, address: AnyAddress | None = None) -> None:
        super().__init__(address or address_of(urls[0]), hold_ttl=0)
        self._time = Timed(urls, clock)

    def _converse(self, calls: Sequence[ops.Call]) -> list[Any]:
        self._time.follow()
        return super()._converse(calls)

    def close(self) -> None:
        super().close()
        self._time.close()


class TimedAsyncRedisStore(AsyncRedisStore):
    """The same, awaited."""

    def __init__(self, urls: Sequence[str], clock: FakeClock, address: AnyAddress | None = None) -> None:
        super().__init__(address or address_of(urls[0]), hold_ttl=0)
        self._time = Timed(urls, clock)

    def _call(self, call: ops.Call) -> Any:
        self._time.follow()
        return super()._call(call)

    async def aclose(self) -> None:
        await super().aclose()
        self._time.close()


class RedisSuite(StoreSuite):
    """The contract on Redis and Valkey; fixtures of subclasses set `urls`.

    A second of the suite is a minute of the servers, which costs nothing where time is moved, and takes nothing from the suite
    however slow the machine is: with seconds for seconds a life of 1.5 s may end while a clock stands at 1 s.
    """

    unit = 60.0
    leases = True
    wakes = True
    batches = True
    sequences = 25
    urls: Sequence[str]
    address: AnyAddress | None = None

    @pytest.fixture(autouse=True)
    def _long_lives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing but what the suite ends may end in the suite's hours."""
        for name in ("STAMP_SECONDS", "UNREAD_SECONDS", "EPOCH_SECONDS"):
            monkeypatch.setattr(ops, name, 10**8)

    def make_store(self, clock: FakeClock) -> TimedRedisStore | TimedAsyncRedisStore:
        return TimedRedisStore(self.urls, clock, self.address)


class AsyncRedisSuite(RedisSuite):
    """The same, awaited."""

    def make_store(self, clock: FakeClock) -> TimedAsyncRedisStore:
        return TimedAsyncRedisStore(self.urls, clock, self.address)
