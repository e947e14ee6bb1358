"""The stores on Valkey and Redis: the contract of every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rowstamp.testing import FakeClock, StoreSuite
from rowstamp.testing.servers import ValkeyServer
from tests.servers.redis import RedisServer
from tests.store.redis_support import TimedAsyncRedisStore, TimedRedisStore


class _Suite(StoreSuite):
    url: str

    def make_store(self, clock: FakeClock) -> TimedRedisStore | TimedAsyncRedisStore:
        return TimedRedisStore(self.url, clock)


class _AsyncSuite(_Suite):
    def make_store(self, clock: FakeClock) -> TimedAsyncRedisStore:
        return TimedAsyncRedisStore(self.url, clock)


class _OnValkey(StoreSuite):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_server: ValkeyServer) -> None:
        self.url = valkey_server.url()


class _OnRedis(StoreSuite):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.url = redis_server.url()


@pytest.fixture(scope="module")
def volatile_server() -> Iterator[ValkeyServer]:
    """A server that evicts what has a time to live, so that holds must have none."""
    with ValkeyServer(options={"maxmemory-policy": "volatile-ttl"}) as server:
        yield server


class _OnVolatile(StoreSuite):
    @pytest.fixture(autouse=True)
    def _server(self, volatile_server: ValkeyServer) -> None:
        self.url = volatile_server.url()


class TestRedisStoreOnValkey(_OnValkey, _Suite):
    pass


class TestRedisStoreOnRedis(_OnRedis, _Suite):
    pass


class TestRedisStoreUnderVolatilePolicies(_OnVolatile, _Suite):
    pass


class TestAsyncRedisStoreOnValkey(_OnValkey, _AsyncSuite):
    pass


class TestAsyncRedisStoreOnRedis(_OnRedis, _AsyncSuite):
    pass
