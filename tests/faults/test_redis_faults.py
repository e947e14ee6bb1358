"""Readers and writers while the store's server fails: nothing stale, no error, and the cache comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from rowstamp.stores.breaker import FAILURES
from rowstamp.stores.redis.talk import Health
from rowstamp.testing.servers import ValkeyServer
from tests.faults.figures import Load, Report
from tests.faults.proxy import Proxy
from tests.faults.shop import FAULTS, OPTIONS, AsyncShop, Fault, Shop, shop, under_load

pytestmark = pytest.mark.once


@pytest.fixture
def open_shop(proxy: Proxy, database: str) -> Iterator[Shop]:
    with shop(proxy.url(**OPTIONS), database) as opened:
        yield opened


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_stale_and_nothing_is_raised_while_the_server_is(
    open_shop: Shop, server: ValkeyServer, proxy: Proxy, fault: Fault, fault_report: Report
) -> None:
    load = under_load(open_shop, lambda: fault(server, proxy))
    open_shop.recover(load=load)
    fault_report(fault.__name__, load)
    open_shop.write()
    assert not open_shop.hits()


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_stale_and_nothing_is_raised_in_tasks_while_the_server_is(
    server: ValkeyServer, proxy: Proxy, database: str, fault: Fault, fault_report: Report
) -> None:
    async with AsyncShop(proxy.url(**OPTIONS), database) as opened:
        load = await opened.under_load(lambda: fault(server, proxy))
        await opened.recover(load=load)
        fault_report(f"{fault.__name__}, in tasks", load)
        await opened.write()
        assert not await opened.hits()


def test_a_commit_without_the_server_is_published_before_the_next_hit(open_shop: Shop, proxy: Proxy) -> None:
    open_shop.recover()
    proxy.refusing = True
    proxy.cut()
    open_shop.write()
    open_shop.read()
    proxy.refusing = False
    open_shop.recover()
    assert open_shop.read() == open_shop.committed == 1


def test_a_server_that_is_down_at_the_start_is_found_later(server: ValkeyServer, proxy: Proxy, database: str) -> None:
    proxy.refusing = True
    with shop(proxy.url(**OPTIONS), database) as opened:
        opened.write()
        opened.read()
        proxy.refusing = False
        opened.recover()


def test_a_full_server_fails_fills_quietly_and_they_are_counted(open_shop: Shop, server: ValkeyServer) -> None:
    """Under noeviction: reads and commits go on, commits are still seen, and with room again results are stored again."""
    open_shop.recover()
    open_shop.write()
    with redis.Redis.from_url(server.url()) as client:
        client.config_set("maxmemory", 1)
        before = open_shop.cache.stats()
        open_shop.read()
        open_shop.write()
        open_shop.read()
        after = open_shop.cache.stats()
        assert after.fills == before.fills
        assert after.store_errors == before.store_errors + 2
        assert after.invalidations == before.invalidations + 1
        assert after.breakers_open == 0
        client.config_set("maxmemory", 0)
    open_shop.recover()


def test_while_the_breaker_is_open_reads_do_not_wait(
    open_shop: Shop, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, fault_report: Report
) -> None:
    """A stopped server swallows what it is sent. A few reads find that out; later the probes do, in threads of their own."""
    beside, uncached = Load(), Load()
    open_shop.recover()
    waited: Counter[str] = Counter()
    failed = Health.failed

    def noted(self: Health, exc: BaseException) -> None:
        waited[threading.current_thread().name] += 1
        failed(self, exc)

    monkeypatch.setattr(Health, "failed", noted)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 20
        while waited["rowstamp-redis-probe"] < 2:
            assert time.monotonic() < end, "nobody has tried the server again"
            if _outages(open_shop) == (1, 1):
                beside.timed(open_shop.read)
                uncached.timed(open_shop.read_uncached)
            else:
                open_shop.read()
        assert _outages(open_shop) == (1, 1)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert waited[threading.current_thread().name] == FAILURES
    fault_report("reads while the breaker is open", beside)
    fault_report("the same without a cache", uncached)
    open_shop.recover()
    assert _outages(open_shop) == (1, 0)


def _outages(shop: Shop) -> tuple[int, int]:
    stats = shop.cache.stats()
    return stats.breaker_openings, stats.breakers_open
