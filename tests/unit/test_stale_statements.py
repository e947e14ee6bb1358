"""Old results of statements are served only where `cached(...)` says so, for as long as it says, and are counted."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, joinedload, selectinload, sessionmaker

from rowstamp import AsyncCache, Cache, ConfigurationError, Stats, cached
from rowstamp.near import NearCache
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock
from tests.unit.query_models import Category, Product, fill


class Outage:
    """The database is not there while this is set."""

    def __init__(self, engine: Engine) -> None:
        self.on = False
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, *_: Any) -> None:
        if self.on:
            sqlite3.connect("/nowhere/shop.db")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=NullPool)
    with engine.begin() as connection:
        fill(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def outage(engine: Engine) -> Outage:
    return Outage(engine)


@pytest.fixture(params=["engine", "sessionmaker", "near"])
def make(request: pytest.FixtureRequest, engine: Engine, clock: FakeClock) -> Iterator[sessionmaker[Session]]:
    with Cache(MemoryStore(clock=clock), ttl=100) as cache:
        core = cache._core
        core.wall_clock = clock
        if request.param == "near":
            core.near = NearCache(1_000_000, clock=clock, wall_clock=clock)
        maker = sessionmaker(engine)
        cache.attach(maker if request.param == "sessionmaker" else engine)
        maker.cache = cache  # type: ignore[attr-defined]
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"), execution_options={"rowstamp": True})
        yield maker


def names(make: sessionmaker[Session], **options: Any) -> list[str]:
    statement = select(Category.name).order_by(Category.id).options(cached(**options))
    with make() as session:
        return list(session.scalars(statement))


def cache_of(make: Any) -> Cache:
    found: Cache = make.cache
    return found


def stats(make: Any) -> Stats:
    return cache_of(make).stats()


def rename(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE query_categories SET name = :name WHERE id = 7"), {"name": name})


def landed() -> None:
    for thread in threading.enumerate():
        if thread.name == "rowstamp-load":
            thread.join()


def test_without_being_asked_for_nothing_old_is_served(
    make: sessionmaker[Session], engine: Engine, outage: Outage, clock: FakeClock
) -> None:
    before = names(make)
    rename(engine, "new")
    assert names(make) != before
    clock.advance(101)
    outage.on = True
    with pytest.raises(OperationalError):
        names(make)
    assert stats(make).stale_hits == 0


@pytest.mark.parametrize(("after", "served"), [(29, True), (31, False)])
def test_where_the_database_is_not_there_a_changed_result_is_served_so_long_after_it_was_loaded(
    make: sessionmaker[Session], engine: Engine, outage: Outage, clock: FakeClock, after: int, served: bool
) -> None:
    before = names(make, stale_if_error=30)
    rename(engine, "new")
    clock.advance(after)
    outage.on = True
    if served:
        assert names(make, stale_if_error=30) == before
        assert stats(make).stale_hits == 1
    else:
        with pytest.raises(OperationalError):
            names(make, stale_if_error=30)
    with pytest.raises(OperationalError):
        names(make)
    outage.on = False
    assert "new" in names(make, stale_if_error=30)


@pytest.mark.parametrize(("after", "served"), [(129, True), (131, False)])
def test_where_the_database_is_not_there_an_expired_result_is_served_so_long_after_its_end(
    make: sessionmaker[Session], outage: Outage, clock: FakeClock, after: int, served: bool
) -> None:
    before = names(make, stale_if_error=30)
    clock.advance(99)
    assert names(make, stale_if_error=30) == before
    clock.advance(after - 99)
    outage.on = True
    if served:
        assert names(make, stale_if_error=30) == before
    else:
        with pytest.raises(OperationalError):
            names(make, stale_if_error=30)


def test_what_is_kept_for_those_who_may_be_served_it_old_is_over_for_all_others(
    make: sessionmaker[Session], clock: FakeClock
) -> None:
    names(make, stale_if_error=1000)
    clock.advance(101)
    names(make)
    assert stats(make).hits == 0


def test_a_transaction_that_has_written_is_told_that_it_is_lost(
    make: sessionmaker[Session], engine: Engine, clock: FakeClock
) -> None:
    """An error of its connection ends its write, too, so nothing may hide it."""
    statement = select(Category.name).order_by(Category.id).options(cached(stale_if_error=60))
    with make() as session:
        session.scalars(statement).all()
    rename(engine, "new")
    failing: list[bool] = []

    @event.listens_for(engine, "do_execute", retval=True)
    def fail(*_: Any) -> bool:
        if failing:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return False

    with make() as session:
        session.add(Product(id=99, name="x", stock=1))
        session.flush()
        failing.append(True)
        with pytest.raises(OperationalError):
            session.scalars(statement).all()
    event.remove(engine, "do_execute", fail)


def test_a_table_that_is_gone_is_no_outage(make: sessionmaker[Session], engine: Engine) -> None:
    """SQLite's "no such table" has the class of a database that is not there."""
    names(make, stale_if_error=1000)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE query_products"))
        connection.execute(text("DROP TABLE query_categories"))
    with pytest.raises(OperationalError, match="no such table"):
        names(make, stale_if_error=1000)
    assert stats(make).stale_hits == 0


def test_while_a_new_result_is_loaded_the_old_one_is_served(
    make: sessionmaker[Session], engine: Engine, clock: FakeClock
) -> None:
    before = names(make, stale_while_revalidate=30)
    rename(engine, "new")
    cache = cache_of(make)
    with cache.counting() as counted:
        assert names(make, stale_while_revalidate=30) == before
        assert (counted().stale_hits, counted().hits) == (1, 0)
        landed()
    with cache.counting() as counted:
        assert "new" in names(make, stale_while_revalidate=30)
        assert (counted().stale_hits, counted().hits) == (0, 1)
    clock.advance(101)
    assert "new" in names(make, stale_while_revalidate=30)
    landed()
    assert stats(make).stale_hits == 2


def test_beyond_its_time_the_caller_loads(make: sessionmaker[Session], engine: Engine, clock: FakeClock) -> None:
    names(make, stale_while_revalidate=30)
    rename(engine, "new")
    clock.advance(31)
    assert "new" in names(make, stale_while_revalidate=30)
    assert stats(make).stale_hits == 0


@pytest.mark.parametrize("loader", [selectinload, joinedload])
def test_eager_loads_are_old_and_renewed_with_their_statement(
    make: sessionmaker[Session], engine: Engine, loader: Callable[..., Any]
) -> None:
    statement = (
        select(Category).where(Category.id == 7).options(loader(Category.products), cached(stale_while_revalidate=30))
    )

    def products() -> list[str]:
        with make() as session:
            found = session.scalars(statement).unique().one()
            return [product.name for product in found.products]

    before = products()
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE query_products SET name = 'new' WHERE id = (SELECT min(id) FROM query_products WHERE category_id = 7)"
            )
        )
    assert products() == before
    landed()
    assert "new" in products()


def test_inside_a_cached_function_nothing_old_is_served(make: sessionmaker[Session], engine: Engine) -> None:
    cache = cache_of(make)

    @cache.query()
    def inside() -> list[str]:
        return names(make, stale_while_revalidate=30)

    inside()
    rename(engine, "new")
    assert "new" in inside()
    assert stats(make).stale_hits == 0


def test_on_a_connection_nothing_old_is_served(make: sessionmaker[Session], engine: Engine) -> None:
    """Neither to itself nor to a session that is bound to it, as test suites do."""
    statement = select(Category.name).order_by(Category.id)
    option = cached(stale_while_revalidate=30, stale_if_error=30)
    with engine.connect() as connection:
        connection.scalars(statement, execution_options={"rowstamp": option}).all()
    rename(engine, "new")
    with engine.connect() as connection:
        assert "new" in connection.scalars(statement, execution_options={"rowstamp": option}).all()
    rename(engine, "newer")
    with engine.connect() as connection, make(bind=connection) as session:
        assert "newer" in session.scalars(statement.options(option)).all()
    assert stats(make).stale_hits == 0


def test_what_a_transaction_has_written_it_sees(make: sessionmaker[Session]) -> None:
    statement = select(Category.name).order_by(Category.id).options(cached(stale_while_revalidate=30))
    with make() as session:
        session.scalars(statement).all()
        session.get_one(Category, 7).name = "own"
        session.flush()
        assert "own" in session.scalars(statement).all()


def test_times_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="stale_if_error=-1"):
        cached(stale_if_error=-1)
    assert "stale_while_revalidate=5" in repr(cached(stale_while_revalidate=5))


# ---------------------------------------------------------------------------------------------------------- awaited


@pytest.fixture
async def async_engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}", poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(fill)
    yield engine
    await engine.dispose()


async def test_tasks_are_served_old_results_too(async_engine: AsyncEngine, clock: FakeClock) -> None:
    outage = Outage(async_engine.sync_engine)
    async with AsyncCache(MemoryStore(clock=clock), ttl=100) as cache:
        cache._core.wall_clock = clock
        cache.attach(async_engine)
        option = cached(stale_while_revalidate=30, stale_if_error=60)
        statement = select(Category.name).order_by(Category.id).options(option)

        async def names() -> list[str]:
            async with AsyncSession(async_engine) as session:
                return list(await session.scalars(statement))

        await names()
        before = await names()
        async with async_engine.begin() as connection:
            await connection.execute(text("UPDATE query_categories SET name = 'new' WHERE id = 7"))
        assert [await names() for _ in range(2)] == [before, before]
        await asyncio.gather(*cache._core.background)
        assert "new" in await names()
        clock.advance(140)
        outage.on = True
        assert "new" in await names()
        assert cache.stats().stale_hits == 3
        clock.advance(30)
        with pytest.raises(OperationalError):
            await names()
