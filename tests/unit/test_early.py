"""A result that was long in loading is loaded anew shortly before it ends, by one of its many readers."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache
from rowstamp.entry import StoredEntry
from rowstamp.errors import ConfigurationError
from rowstamp.stampede import earliest, is_early
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock

pytestmark = pytest.mark.once

TTL, LOAD = 100.0, 4.0
ONE_LOAD_TIME = 1 - math.exp(-1)
"""The random number whose lot is exactly one load time before the end."""


class Source:
    """Each load takes four seconds by the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.loads = 0
        self.done = threading.Semaphore(0)

    def __call__(self) -> int:
        self.clock.advance(LOAD)
        self.loads += 1
        self.done.release()
        return self.loads


class Racing(MemoryStore):
    """Something comes first when a lease is asked for."""

    first: Callable[[], None] | None = None

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> bytes:
        if self.first is not None:
            self.first()
        return super().lease(entry, holder, ttl)


def with_clock(cache: Cache | AsyncCache, clock: FakeClock, lot: float = ONE_LOAD_TIME) -> None:
    core = cache._core
    core.wall_clock = core.clock = clock
    core.random = lambda: lot


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(clock: FakeClock) -> Source:
    return Source(clock)


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def cache(store: MemoryStore, clock: FakeClock) -> Iterator[Cache]:
    with Cache(store, ttl=TTL) as cache:
        with_clock(cache, clock)
        yield cache


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    yield engine
    engine.dispose()


def introduce(engine: Engine) -> None:
    """Before its first statement nothing is known of a database, and calls are not looked up."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"), execution_options={"rowstamp": True})


def landed() -> None:
    for thread in threading.enumerate():
        if thread.name == "rowstamp-load":
            thread.join()


STORED = StoredEntry(b"", (), b"", load_time=LOAD, ends_at=1000.0)


@pytest.mark.parametrize(
    ("now", "early", "lot", "renewed"),
    [
        (995.9, 1.0, ONE_LOAD_TIME, False),
        (996.1, 1.0, ONE_LOAD_TIME, True),
        (991.9, 2.0, ONE_LOAD_TIME, False),
        (992.1, 2.0, ONE_LOAD_TIME, True),
        (999.9, 1.0, 0.0, False),
        (1000.0, 1.0, 0.0, True),
    ],
)
def test_the_lot_is_drawn_from_an_exponential_distribution(now: float, early: float, lot: float, renewed: bool) -> None:
    assert is_early(STORED, early, now, lambda: lot) is renewed


def test_what_took_no_time_to_load_is_not_renewed() -> None:
    assert not is_early(STORED._replace(load_time=0.0), 1.0, 999.9, lambda: 0.999)


def test_before_the_earliest_moment_no_lot_is_long_enough() -> None:
    longest = 1.0 - 2.0**-53
    assert not is_early(STORED, 1.0, earliest(STORED, 1.0) - 0.001, lambda: longest)
    assert is_early(STORED, 1.0, earliest(STORED, 1.0) + 0.001, lambda: longest)


def test_one_caller_loads_a_value_anew_and_is_served_what_is_there(
    cache: Cache, clock: FakeClock, source: Source
) -> None:
    assert cache.get_or_load("key", source, early=1) == 1
    clock.advance(TTL - LOAD - 1)
    assert cache.get_or_load("key", source, early=1) == 1
    landed()
    assert source.loads == 1
    clock.advance(2)
    assert cache.get_or_load("key", source, early=1) == 1
    landed()
    assert source.loads == 2
    assert cache.get_or_load("key", source, early=1) == 2
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.early_refreshes, stats.fills) == (3, 1, 1, 2)


def test_without_being_asked_for_nothing_is_loaded_anew(cache: Cache, clock: FakeClock, source: Source) -> None:
    cache.get_or_load("key", source)
    clock.advance(TTL - 0.1)
    assert cache.get_or_load("key", source) == 1
    landed()
    assert source.loads == 1


def test_what_another_process_is_loading_is_left_to_it(
    cache: Cache, store: MemoryStore, clock: FakeClock, source: Source
) -> None:
    """The lease is the fleet's: whoever does not have it is served the hit."""
    cache.get_or_load("key", source, early=1)
    clock.advance(TTL - LOAD + 1)
    entries = [*store._kept.keys()]
    entry = next(bytes(key[-16:]) for key in entries if len(key) > 16)
    assert store.lease(entry, b"another loader..", 100) == b"another loader.."
    assert cache.get_or_load("key", source, early=1) == 1
    landed()
    assert source.loads == 1


def test_what_another_has_loaded_meanwhile_is_not_loaded_again(clock: FakeClock, source: Source) -> None:
    """Between a hit and its lease another process may have loaded and given the lease back."""
    store = Racing(clock=clock)
    with Cache(store, ttl=TTL) as cache, Cache(store, ttl=TTL) as other:
        with_clock(cache, clock)
        with_clock(other, clock)
        cache.get_or_load("key", source, early=1)
        clock.advance(TTL - LOAD + 1)

        def first() -> None:
            store.first = None
            other.delete("key")
            other.get_or_load("key", source, early=1)

        store.first = first
        assert cache.get_or_load("key", source, early=1) == 1
        landed()
    assert source.loads == 2


@pytest.mark.parametrize("given_session", [True, False])
def test_a_function_renews_its_result_in_its_callers_session_or_behind_it(
    cache: Cache, clock: FakeClock, engine: Engine, given_session: bool
) -> None:
    cache.attach(engine)
    sessions: list[Session | None] = []

    def run(session: Session | None) -> int:
        clock.advance(LOAD)
        sessions.append(session)
        return len(sessions)

    if given_session:

        @cache.query(early=1)
        def count(session: Session) -> int:
            return run(session)

        def call() -> int:
            with Session(engine) as session:
                session.connection()
                return count(session)
    else:

        @cache.query(early=1)
        def count_alone() -> int:
            return run(None)

        call = count_alone
    introduce(engine)
    assert call() == 1
    clock.advance(TTL - LOAD + 1)
    # With a session of the caller's the new result is loaded by it and returned; else behind it, and it has a hit.
    assert call() == (2 if given_session else 1)
    landed()
    assert len(sessions) == 2
    assert call() == 2
    assert len(sessions) == 2
    assert cache.stats().early_refreshes == 1
    assert cache.stats().misses == 1


def test_a_repeated_hit_goes_the_short_way_until_lots_are_drawn(cache: Cache, clock: FakeClock, engine: Engine) -> None:
    cache.attach(engine)
    introduce(engine)

    @cache.query(early=1)
    def count() -> int:
        clock.advance(0.1)
        return 1

    count._quick._clock = clock
    drawn: list[int] = []

    def lot() -> float:
        drawn.append(1)
        return 0.0

    cache._core.random = lot
    for _ in range(3):
        count()
    key = next(iter(cache._calls.quick._calls))
    until = cache._calls.quick._calls[key].until
    assert until is not None
    assert drawn == [1]  # the first hit, by the long way
    clock.advance(TTL - 0.2)
    count()
    assert drawn == [1, 1]


async def test_of_many_tasks_one_loads_anew(store: MemoryStore, clock: FakeClock) -> None:
    loads: list[int] = []

    async def load() -> int:
        await asyncio.sleep(0)
        clock.advance(LOAD)
        loads.append(1)
        return len(loads)

    async with AsyncCache(store, ttl=TTL) as cache:
        with_clock(cache, clock)
        await cache.get_or_load("key", load, early=1)
        clock.advance(TTL - LOAD + 1)
        values = await asyncio.gather(*[cache.get_or_load("key", load, early=1) for _ in range(50)])
        await asyncio.gather(*cache._core.background)
        assert set(values) == {1}
        assert len(loads) == 2
        assert cache.stats().early_refreshes == 1


@pytest.mark.parametrize("early", [-1, float("inf"), float("nan"), "1", True])
def test_what_is_no_factor_is_refused(cache: Cache, early: object, source: Source) -> None:
    with pytest.raises(ConfigurationError, match="early="):
        cache.query(early=early)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="early="):
        cache.get_or_load("key", source, early=early)  # type: ignore[arg-type]
