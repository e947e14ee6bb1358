"""Old results are served only where their user has said so, for as long as he has said, and never as hits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache
from rowstamp.errors import ConfigurationError
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock


class Source:
    """Where values come from: it counts, and fails when it is told to."""

    def __init__(self) -> None:
        self.loads = 0
        self.error: Exception | None = None
        self.loaded = threading.Event()

    def __call__(self) -> int:
        if self.error is not None:
            raise self.error
        self.loads += 1
        self.loaded.set()
        return self.loads

    async def awaited(self) -> int:
        await asyncio.sleep(0)
        return self()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> Iterator[Cache]:
    with Cache(MemoryStore(clock=clock), ttl=100) as cache:
        cache._core.wall_clock = clock
        yield cache


@pytest.fixture
def source() -> Source:
    return Source()


def filled(cache: Cache) -> int:
    """How many results have been stored, once whatever is under way has ended."""
    for thread in threading.enumerate():
        if thread.name == "rowstamp-load":
            thread.join()
    return cache.stats().fills


def test_without_being_asked_for_nothing_old_is_served(cache: Cache, clock: FakeClock, source: Source) -> None:
    cache.get_or_load("key", source)
    cache.invalidate(tags=["none"])
    cache.delete("key")
    assert cache.get_or_load("key", source) == 2
    source.error = ValueError("gone")
    cache.delete("key")
    with pytest.raises(ValueError, match="gone"):
        cache.get_or_load("key", source)
    clock.advance(200)
    with pytest.raises(ValueError, match="gone"):
        cache.get_or_load("key", source)
    assert cache.stats().stale_hits == 0


@pytest.mark.parametrize(("after", "served"), [(0, True), (29, True), (31, False)])
def test_if_its_load_fails_a_changed_value_is_served_so_long_after_it_was_loaded(
    cache: Cache, clock: FakeClock, source: Source, after: int, served: bool
) -> None:
    cache.get_or_load("key", source, tags=["all"], stale_if_error=30)
    clock.advance(after)
    cache.invalidate(tags=["all"])
    source.error = ValueError("gone")
    if served:
        assert cache.get_or_load("key", source, tags=["all"], stale_if_error=30) == 1
        assert cache.stats().stale_hits == 1
        assert cache.stats().hits == 0
    else:
        with pytest.raises(ValueError, match="gone"):
            cache.get_or_load("key", source, tags=["all"], stale_if_error=30)


@pytest.mark.parametrize(("after", "served"), [(101, True), (129, True), (131, False)])
def test_if_its_load_fails_an_expired_value_is_served_so_long_after_its_end(
    cache: Cache, clock: FakeClock, source: Source, after: int, served: bool
) -> None:
    cache.get_or_load("key", source, stale_if_error=30)
    clock.advance(after)
    source.error = ValueError("gone")
    if served:
        assert cache.get_or_load("key", source, stale_if_error=30) == 1
    else:
        with pytest.raises(ValueError, match="gone"):
            cache.get_or_load("key", source, stale_if_error=30)
    source.error = None
    assert cache.get_or_load("key", source, stale_if_error=30) == 2


def test_an_expired_value_is_no_hit_though_it_is_still_there(cache: Cache, clock: FakeClock, source: Source) -> None:
    cache.get_or_load("key", source, stale_if_error=1000)
    clock.advance(99)
    assert cache.get_or_load("key", source, stale_if_error=1000) == 1
    clock.advance(2)
    assert cache.get_or_load("key", source, stale_if_error=1000) == 2


def test_a_deleted_value_is_no_longer_served_even_old_after_that_time(
    cache: Cache, clock: FakeClock, source: Source
) -> None:
    cache.get_or_load("key", source, stale_while_revalidate=10)
    clock.advance(11)
    cache.delete("key")
    assert cache.get_or_load("key", source, stale_while_revalidate=10) == 2
    assert cache.stats().stale_hits == 0


def test_while_a_new_value_is_loaded_the_old_one_is_served(cache: Cache, clock: FakeClock, source: Source) -> None:
    cache.get_or_load("key", source, stale_while_revalidate=30)
    cache.delete("key")
    source.loaded.clear()
    assert cache.get_or_load("key", source, stale_while_revalidate=30) == 1
    assert source.loaded.wait(60)
    assert filled(cache) == 2
    assert cache.get_or_load("key", source, stale_while_revalidate=30) == 2
    assert (cache.stats().stale_hits, cache.stats().hits) == (1, 1)


def test_a_background_load_that_fails_leaves_it_to_the_next_caller(
    cache: Cache, clock: FakeClock, source: Source
) -> None:
    cache.get_or_load("key", source, stale_while_revalidate=30)
    cache.delete("key")
    source.error = ValueError("gone")
    assert cache.get_or_load("key", source, stale_while_revalidate=30) == 1
    assert filled(cache) == 1
    clock.advance(31)
    with pytest.raises(ValueError, match="gone"):
        cache.get_or_load("key", source, stale_while_revalidate=30)


async def test_tasks_are_served_the_old_value_while_one_loads(clock: FakeClock, source: Source) -> None:
    async with AsyncCache(MemoryStore(clock=clock), ttl=100) as cache:
        cache._core.wall_clock = clock
        load: Any = source.awaited
        await cache.get_or_load("key", load, stale_while_revalidate=30)
        await cache.delete("key")
        values = await asyncio.gather(*[cache.get_or_load("key", load, stale_while_revalidate=30) for _ in range(100)])
        assert set(values) <= {1, 2}
        await asyncio.gather(*cache._core.background)
        assert await cache.get_or_load("key", load, stale_while_revalidate=30) == 2
        assert source.loads == 2
        assert cache.stats().stale_hits >= 1


# -------------------------------------------------------------------------------------------------------- functions


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    yield engine
    engine.dispose()


def test_a_function_that_is_given_a_session_cannot_be_called_without_its_caller(cache: Cache) -> None:
    with pytest.raises(ConfigurationError, match=r"stale_while_revalidate= .*'session' cannot be used"):

        @cache.query(stale_while_revalidate=30)
        def count(session: Session) -> int:
            return 1


def test_an_answer_of_the_function_is_no_outage(cache: Cache, engine: Engine) -> None:
    """That something is not found is what the caller wants to know; that the database is not there is not."""
    cache.attach(engine)
    error: list[Exception] = []

    @cache.query(stale_if_error=30, outages=[KeyError])
    def count(session: Session) -> int:
        if error:
            raise error[0]
        return session.scalar(text("SELECT 7")) or 0

    with Session(engine) as session:
        session.scalar(text("SELECT name FROM sqlite_master"), execution_options={"rowstamp": True})
        count(session)
        count.invalidate()
        for answer in (
            LookupError("not found"),
            OperationalError("SELECT", {}, sqlite3.OperationalError("no such table")),
        ):
            error[:] = [answer]
            with pytest.raises(type(answer)):
                count(session)
        assert cache.stats().stale_hits == 0
        error[0] = KeyError("an error that counts as one")
        assert count(session) == 7
        error[0] = OperationalError("SELECT", {}, Exception("server closed the connection"))
        assert count(session) == 7
    assert cache.stats().stale_hits == 2


@pytest.mark.parametrize("wrong", [KeyError, "KeyError", [KeyError("x")], [BaseException], 5])
def test_outages_are_classes_of_exceptions(cache: Cache, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a collection of exceptions"):
        cache.query(stale_if_error=30, outages=wrong)


def test_a_result_that_was_written_here_is_never_served_old(cache: Cache, engine: Engine) -> None:
    cache.attach(engine)
    broken: list[int] = []

    @cache.query(stale_if_error=1000)
    def count(session: Session) -> int:
        if broken:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))
        return session.scalar(text("SELECT count(*) FROM things")) or 0

    @cache.query()
    def outer(session: Session) -> int:
        return count(session)

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
    with Session(engine) as session:
        session.scalar(text("SELECT count(*) FROM things"), execution_options={"rowstamp": True})
        assert count(session) == count(session) == 0
        count.invalidate()
        broken.append(1)
        assert count(session) == 0
        assert cache.stats().stale_hits == 1
        with pytest.raises(OperationalError):
            outer(session)
        session.execute(text("INSERT INTO things VALUES (1)"))
        with pytest.raises(OperationalError):
            count(session)
    assert cache.stats().stale_hits == 1


@pytest.mark.parametrize("seconds", [-1, float("inf"), True, "30"])
@pytest.mark.parametrize("option", ["stale_while_revalidate", "stale_if_error"])
def test_a_time_that_is_none_is_refused(cache: Cache, option: str, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{option}="):
        cache.query(**{option: seconds})
    with pytest.raises(ConfigurationError, match=f"{option}="):
        cache.get_or_load("key", lambda: 1, **{option: seconds})


def test_what_is_kept_for_those_who_may_be_served_it_old_is_over_for_all_others(
    cache: Cache, clock: FakeClock, source: Source
) -> None:
    cache.get_or_load("key", source, stale_if_error=1000)
    clock.advance(101)
    assert cache.get("key") is None
    assert not cache.touch("key", 50)
    assert cache.get_or_load("key", source) == 2
