"""A call has one deadline for all that it does: redirections, new connections, the search for the primary, words said again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from rowstamp.errors import StoreError
from rowstamp.store import Store
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.deadline import Deadline, left
from rowstamp.stores.redis.sentinel import SentinelAddress, afind, find
from rowstamp.stores.redis.trip import Node
from rowstamp.testing import FakeClock
from rowstamp.testing.store_harness import BlockingStore, digest
from tests.store.scripted import Words, bulk, greeting, scripted

pytestmark = pytest.mark.once

E = digest("entry")
Open: TypeAlias = Callable[[Address | ClusterAddress, FakeClock], Store]


def at(port: int | None = None) -> Address:
    """Return an address whose calls take a second at most.

    Servers here answer at once; what takes long is said by a clock that they move.
    """
    place = {"host": "127.0.0.1"} if port is None else {"host": "127.0.0.1", "port": port}
    return Address(options=place, timeout_ms=400, connect_timeout_ms=600)


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens stores that tell the time by a clock."""
    stores: list[Store] = []

    def make(address: Address | ClusterAddress, clock: FakeClock) -> Store:
        store = (AsyncRedisStore if request.param else RedisStore)(address, hold_ttl=0)
        store._plan.clock = clock
        stores.append(BlockingStore(store) if isinstance(store, AsyncRedisStore) else store)
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def test_a_step_takes_its_own_time_or_what_is_left() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, clock)
    assert left(deadline, 0.4) == 0.4
    clock.advance(0.75)
    assert left(deadline, 0.4) == pytest.approx(0.25)
    part = deadline.within(0.1)
    assert part.remaining == pytest.approx(0.1)
    clock.advance(0.25)
    assert part.remaining == deadline.remaining == 0
    with pytest.raises(TimeoutError, match="the whole call"):
        left(deadline, 0.4)
    assert left(None, 0.4) == 0.4


def test_redirections_share_one_deadline(opened: Open) -> None:
    """Each takes 0.4 s, as it may; after three of them nothing is left for the fourth."""
    clock = FakeClock()

    def answer(words: Words) -> bytes:
        if words[0] == b"CLUSTER":
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % server.port
        if words[0] == b"GET":
            clock.advance(0.2)  # two keys are asked for
            return b"-MOVED 0 127.0.0.1:%d\r\n" % server.port
        return greeting(words, "cluster") or b"+OK\r\n"

    with scripted(answer) as server:
        address = ClusterAddress((Node("127.0.0.1", server.port),), at())
        with pytest.raises(StoreError, match="did not answer in time"):
            opened(address, clock).read(E, [])
    assert server.heard.count(b"GET") == 3 * 2


@pytest.mark.parametrize(("took", "connections"), [(0.5, 2), (1.0, 1)])
def test_a_new_connection_is_not_begun_when_the_time_is_over(opened: Open, took: float, connections: int) -> None:
    """The server closes a line that was used before, as one that restarts does, but takes its time to."""
    clock = FakeClock()

    def answer(words: Words) -> bytes | None:
        if words[0] != b"MGET":
            return greeting(words) or b"+OK\r\n"
        if server.heard == [b"MGET"]:
            return b"*2\r\n$-1\r\n$-1\r\n"
        clock.advance(took)
        return None

    with scripted(answer) as server:
        store = opened(at(server.port), clock)
        store.read(E, [])
        with pytest.raises(StoreError):
            store.read(E, [])
    assert server.connections == connections


@pytest.mark.parametrize("asynchronous", [False, True])
def test_sentinels_that_are_slow_are_not_all_asked(asynchronous: bool) -> None:
    clock = FakeClock()

    def answer(words: Words) -> bytes:
        if words[0] == b"SENTINEL":
            clock.advance(0.5)
            return b"*2\r\n" + bulk("127.0.0.1") + bulk(str(len(server.heard)))  # each time another
        return greeting(words) or b"+OK\r\n"

    with scripted(answer) as server:
        sentinel = at(server.port)
        address = SentinelAddress((sentinel,) * 5, "main", sentinel)
        deadline = Deadline(1.0, clock)
        with pytest.raises(StoreError, match="most of the 5 sentinels"):
            asyncio.run(afind(address, deadline)) if asynchronous else find(address, deadline)
    assert server.heard == [b"SENTINEL"] * 2


def test_a_line_whose_time_was_cut_short_is_not_kept() -> None:
    """Its timeouts are what was left of one call; the next call has all of its time."""
    clock = FakeClock()

    def answer(words: Words) -> bytes | None:
        if words[0] == b"CLUSTER":
            clock.advance(0.7)
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % other.port
        return greeting(words, "cluster") or b"$-1\r\n"

    with scripted(answer) as other, scripted(answer) as server:
        each = at()
        store = RedisStore(ClusterAddress((Node("127.0.0.1", server.port),), each), hold_ttl=0)
        store._plan.clock = clock
        store.read(E, [])
        store.read(E, [])
        store.read(E, [])
        assert other.connections == 2
        store.close()
