"""The stores on Valkey and Redis: the contract of every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rowstamp.testing.servers import ValkeyServer
from tests.servers.redis import RedisServer
from tests.store.redis_support import AsyncRedisSuite, RedisSuite

pytestmark = pytest.mark.once


class _OnValkey(RedisSuite):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_server: ValkeyServer) -> None:
        self.urls = [valkey_server.url()]


class _OnRedis(RedisSuite):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.urls = [redis_server.url()]


@pytest.fixture(scope="module")
def volatile_server() -> Iterator[ValkeyServer]:
    """A server that evicts what has a time to live, so that holds must have none."""
    with ValkeyServer(options={"maxmemory-policy": "volatile-ttl"}) as server:
        yield server


class _OnVolatile(RedisSuite):
    @pytest.fixture(autouse=True)
    def _server(self, volatile_server: ValkeyServer) -> None:
        self.urls = [volatile_server.url()]


class TestRedisStoreOnValkey(_OnValkey):
    pass


class TestRedisStoreOnRedis(_OnRedis):
    pass


class TestRedisStoreUnderVolatilePolicies(_OnVolatile):
    pass


class TestAsyncRedisStoreOnValkey(_OnValkey, AsyncRedisSuite):
    pass


class TestAsyncRedisStoreOnRedis(_OnRedis, AsyncRedisSuite):
    pass
