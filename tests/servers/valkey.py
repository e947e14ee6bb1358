"""Valkey 9, from the wheel."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rowstamp.stores.redis.server import mark_name
from rowstamp.testing.servers import ValkeyServer


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """The URL of an empty Valkey."""
    with redis.Redis.from_url(valkey_server.url()) as client:
        client.flushall()
    return valkey_server.url()


def settled(url: str, prefix: str = "rs") -> str:
    """Leave the mark of one who has known this server for long, so that it serves at once; return the URL."""
    with redis.Redis.from_url(url) as client:
        untyped: Any = client
        client.set(f"{prefix}:m:".encode() + mark_name(untyped.info()), 0)
    return url
