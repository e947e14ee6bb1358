"""Bounded freshness behind Sentinel: the feed of a primary that is replaced proves nothing, and that of the new one is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rowstamp.errors import StoreError
from rowstamp.stores import open_store
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.testing.store_harness import digest, drive
from tests.store.redis_topology import Watched, handed_over, killed, until, watched
from tests.store.test_redis_bounded import Process

pytestmark = [pytest.mark.once, pytest.mark.timeout(300)]


@pytest.fixture
def servers() -> Iterator[Watched]:
    with watched() as found:
        yield found


@pytest.mark.parametrize(
    ("failover", "asynchronous"), [(killed, True), pytest.param(handed_over, False, marks=pytest.mark.deep)]
)
def test_no_bounded_hit_outlives_a_failover(
    servers: Watched, failover: Callable[[Watched], None], asynchronous: bool
) -> None:
    """What another process commits on the new primary is seen, and hits without a round trip come back."""
    opened = open_store(servers.url, asynchronous=asynchronous, hold_ttl=0)
    other = open_store(servers.url, hold_ttl=0)
    assert isinstance(opened, RedisStore | AsyncRedisStore)
    assert isinstance(other, RedisStore)
    with drive(opened, check=False) as store:
        process = Process(store, opened)
        process.warm()
        old = {feed.identity for feed in process.mirror._feeds.values()}
        failover(servers)
        until(lambda: _is_told(other))
        # The old feed may go on for as long as its server does not know better, or the bound lasts; then it has to be gone.
        until(lambda: not old & process.mirror._feeds.keys())
        assert process.read() is None
        process.warm(b"new")
        other.touch({process.stamps[0]: digest("theirs")})
        process.beats()
        assert process.read() is None
    other.close()


def _is_told(store: RedisStore) -> bool:
    """Whether a commit reaches the new primary."""
    try:
        store.touch({digest("a stamp of its own"): digest("token")})
    except StoreError:
        return False
    return True
