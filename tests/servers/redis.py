"""Redis 7 or newer, where the machine has it."""

from collections.abc import Iterator, Mapping

import pytest
import redis

from rowstamp.testing.servers import ValkeyServer
from tests.servers.support import find_program


class RedisServer(ValkeyServer):
    """A private Redis: it takes Valkey's options."""

    name = "redis"


def make_redis_server(options: Mapping[str, str] | None = None) -> RedisServer:
    """Return a server that is not started yet, or skip the test."""
    return RedisServer(find_program("redis-server", remedy="apt-get install redis-server"), options)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with make_redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    return redis_server.url()
