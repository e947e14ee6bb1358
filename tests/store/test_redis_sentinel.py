"""The stores behind Sentinel: the contract, who is asked, and failovers under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.stores import open_store, split_url
from rowstamp.stores.redis import RedisStore
from rowstamp.stores.redis.sentinel import SentinelAddress
from rowstamp.testing.store_harness import digest
from tests.faults.figures import Report
from tests.faults.shop import AsyncShop, shop, under_load
from tests.servers.redis import make_redis_server
from tests.store.redis_support import AsyncRedisSuite, RedisSuite
from tests.store.redis_topology import SERVICE, Watched, handed_over, killed, watched

pytestmark = pytest.mark.once

OPTIONS = "?timeout_ms=100&connect_timeout_ms=200"


@pytest.fixture(scope="module")
def quiet() -> Iterator[Watched]:
    """Servers that no test disturbs."""
    with watched() as found:
        yield found


@pytest.fixture(scope="module")
def quiet_redis() -> Iterator[Watched]:
    """The same of Redis."""
    with watched(make_redis_server) as found:
        yield found


@pytest.fixture
def disturbed() -> Iterator[Watched]:
    """Servers for one test."""
    with watched() as found:
        yield found


class _BehindSentinel(RedisSuite):
    sequences = 5  # the servers are those of `test_redis.py`; what is special here is the way to them

    def use(self, servers: Watched) -> None:
        self.urls = [servers.primary().url()]
        self.address = SentinelAddress.of_url(
            urlsplit(servers.url), {"timeout_ms": "20000", "connect_timeout_ms": "20000"}
        )

    @pytest.fixture(autouse=True)
    def _server(self, quiet: Watched) -> None:
        self.use(quiet)


class TestRedisStoreBehindSentinel(_BehindSentinel):
    pass


class TestAsyncRedisStoreBehindSentinel(_BehindSentinel, AsyncRedisSuite):
    pass


class TestRedisStoreBehindSentinelOnRedis(_BehindSentinel):
    """Servers and sentinels of Redis."""

    @pytest.fixture(autouse=True)
    def _server(self, quiet_redis: Watched) -> None:
        self.use(quiet_redis)


@pytest.mark.parametrize("failover", [killed, handed_over])
def test_nothing_is_stale_and_nothing_is_raised_while_the_primary_is(
    disturbed: Watched, tmp_path: Path, failover: Callable[[Watched], None], fault_report: Report
) -> None:
    with shop(disturbed.url + OPTIONS, f"{tmp_path}/shop.db") as opened:
        load = under_load(opened, lambda: failover(disturbed), seconds=0.5)
        opened.recover(load=load)
        fault_report(f"primary {failover.__name__}", load)
        opened.write()
        assert not opened.hits()


@pytest.mark.parametrize("failover", [killed, handed_over])
async def test_nothing_is_stale_and_nothing_is_raised_in_tasks_while_the_primary_is(
    disturbed: Watched, tmp_path: Path, failover: Callable[[Watched], None], fault_report: Report
) -> None:
    async with AsyncShop(disturbed.url + OPTIONS, f"{tmp_path}/shop.db") as opened:
        load = await opened.under_load(lambda: failover(disturbed), seconds=0.5)
        await opened.recover(load=load)
        fault_report(f"primary {failover.__name__}, in tasks", load)
        await opened.write()
        assert not await opened.hits()


def test_one_sentinel_that_stands_alone_is_not_believed(quiet: Watched) -> None:
    """Two of three do not answer: whoever the third names may have been replaced long ago."""
    (alone, _, _) = quiet.sentinels
    url = f"redis+sentinel://127.0.0.1:{alone.port},127.0.0.1:1,127.0.0.1:2/{SERVICE}"
    store = open_store(url)
    with pytest.raises(StoreError, match=r"most of the 3 sentinels did not name a primary for 'main'"):
        store.read(digest("entry"), [])
    store.close()


def test_a_name_that_nobody_watches_is_said(quiet: Watched) -> None:
    store = open_store(quiet.url.replace(SERVICE, "other"))
    with pytest.raises(StoreError, match=r"did not name a primary for 'other'"):
        store.read(digest("entry"), [])
    store.close()


def test_two_of_three_are_enough(quiet: Watched) -> None:
    one, two, _ = quiet.sentinels
    store = open_store(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{one.port},127.0.0.1:{two.port}/{SERVICE}")
    assert store.read(digest("what nobody has put"), []).entry is None
    store.close()


@pytest.mark.parametrize(
    "url", ["redis+sentinel://", "redis+sentinel://a,b", "redis+sentinel:///main", "redis+sentinel://a:x,b/main"]
)
def test_a_sentinel_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"needs its sentinels|has no host, or a port that is no number"):
        open_store(url)


def test_a_sentinel_url_has_all_parts() -> None:
    url = split_url("redis+sentinel://ann:p%40ss@one,two:2,[::1]:3/main/5")
    address = SentinelAddress.of_url(url, {"prefix": "shop", "sentinel_password": "word"})
    assert str(address) == "main of one:26379, two:2, ::1:3"
    assert address.prefix == "shop"
    assert address.primary.options["db"] == 5
    assert (address.primary.options["username"], address.primary.options["password"]) == ("ann", "p@ss")
    assert address.sentinels[0].options["password"] == "word"
    assert "word" not in repr(address)
    assert "p@ss" not in repr(RedisStore(address))
