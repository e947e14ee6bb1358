"""A caller need not wait for its load: it has an old result or an error, and the load goes on and is stored."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from rowstamp import AsyncCache, Cache, LoadTimeout
from rowstamp.errors import ConfigurationError
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock

SHORT = 0.01
"""The load does not end before it is let go, however long this is."""


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Gate:
    """A load that ends when it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.loads = 0
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.open.wait()
        if self.error is not None:
            raise self.error
        self.loads += 1
        return self.loads


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> Iterator[Cache]:
    with Cache(MemoryStore(clock=clock), ttl=100) as cache:
        cache._core.wall_clock = clock
        yield cache


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()
    landed()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/things.db")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO things VALUES (1, 'one'), (2, 'two')"))
    yield engine
    engine.dispose()


def landed() -> None:
    for thread in threading.enumerate():
        if thread.name == "rowstamp-load":
            thread.join()


def test_a_load_that_takes_too_long_is_an_error_and_is_stored_all_the_same(cache: Cache, gate: Gate) -> None:
    gate.open.clear()
    with pytest.raises(LoadTimeout, match=r"timeout=0\.01 seconds"):
        cache.get_or_load("key", gate, timeout=SHORT)
    gate.open.set()
    landed()
    assert cache.get_or_load("key", gate, timeout=SHORT) == 1
    stats = cache.stats()
    assert (stats.load_timeouts, stats.misses, stats.fills, stats.hits) == (1, 1, 1, 1)


def test_a_load_within_its_time_is_a_load_like_any_other(cache: Cache, gate: Gate) -> None:
    assert cache.get_or_load("key", gate, timeout=60) == 1
    landed()
    assert cache.get_or_load("key", gate, timeout=60) == 1
    stats = cache.stats()
    assert (stats.load_timeouts, stats.misses, stats.fills, stats.hits) == (0, 1, 1, 1)


def test_an_error_of_the_load_is_the_callers(cache: Cache, gate: Gate) -> None:
    gate.error = ValueError("gone")
    with pytest.raises(ValueError, match="gone"):
        cache.get_or_load("key", gate, timeout=60)


def test_who_waits_for_anothers_load_waits_no_longer_than_for_its_own(cache: Cache, gate: Gate) -> None:
    gate.open.clear()
    for _ in range(2):
        with pytest.raises(LoadTimeout):
            cache.get_or_load("key", gate, timeout=SHORT)
    gate.open.set()
    landed()
    assert gate.loads == 1
    assert cache.stats().load_timeouts == 2


def test_after_the_soft_timeout_an_old_value_is_served_and_the_load_goes_on(
    cache: Cache, gate: Gate, clock: FakeClock
) -> None:
    def call() -> int:
        return cache.get_or_load("key", gate, stale_if_error=60, soft_timeout=SHORT)

    assert call() == 1
    clock.advance(101)
    gate.open.clear()
    with cache.counting() as counted:
        assert call() == 1
        assert (counted().stale_hits, counted().hits) == (1, 0)
    gate.open.set()
    landed()
    assert call() == 2
    assert gate.loads == 2


def test_an_old_value_is_served_no_longer_than_its_user_said(cache: Cache, gate: Gate, clock: FakeClock) -> None:
    def call() -> int:
        return cache.get_or_load("key", gate, stale_if_error=60, soft_timeout=SHORT, timeout=2 * SHORT)

    call()
    clock.advance(161)
    gate.open.clear()
    with pytest.raises(LoadTimeout):
        call()


def test_without_an_old_value_the_soft_timeout_waits_on(cache: Cache, gate: Gate) -> None:
    gate.open.clear()
    threading.Timer(5 * SHORT, gate.open.set).start()
    assert cache.get_or_load("key", gate, stale_if_error=60, soft_timeout=SHORT) == 1


def test_at_the_hard_timeout_an_old_value_serves_as_if_the_load_had_failed(
    cache: Cache, gate: Gate, clock: FakeClock
) -> None:
    def call() -> int:
        return cache.get_or_load("key", gate, stale_if_error=60, timeout=SHORT)

    call()
    clock.advance(101)
    gate.open.clear()
    assert call() == 1
    assert cache.stats().load_timeouts == 0


def test_a_background_load_that_fails_serves_the_old_value_too(cache: Cache, gate: Gate, clock: FakeClock) -> None:
    def call() -> int:
        return cache.get_or_load("key", gate, stale_if_error=60, timeout=60)

    call()
    clock.advance(101)
    gate.error = ValueError("gone")
    assert call() == 1
    clock.advance(60)
    with pytest.raises(ValueError, match="gone"):
        call()


def test_what_cannot_be_stored_is_returned_within_its_time(cache: Cache) -> None:
    assert isinstance(cache.get_or_load("key", object, timeout=60), object)
    assert cache.stats().fills == 0


async def test_tasks_have_their_timeouts_too(clock: FakeClock) -> None:
    going = asyncio.Event()
    loads: list[int] = []

    async def load() -> int:
        await going.wait()
        loads.append(1)
        return len(loads)

    async with AsyncCache(MemoryStore(clock=clock), ttl=100) as cache:
        cache._core.wall_clock = clock
        results = await asyncio.gather(
            *[cache.get_or_load("key", load, timeout=SHORT) for _ in range(10)], return_exceptions=True
        )
        assert {type(each) for each in results} == {LoadTimeout}
        going.set()
        await asyncio.gather(*cache._core.background)
        assert await cache.get_or_load("key", load, timeout=SHORT) == 1
        clock.advance(101)
        assert await cache.get_or_load("key", load, stale_if_error=1) == 2
        clock.advance(100.5)
        going.clear()
        assert await cache.get_or_load("key", load, stale_if_error=1, soft_timeout=SHORT) == 2
        going.set()
        await asyncio.gather(*cache._core.background)
        assert await cache.get_or_load("key", load) == 3


async def test_a_load_whose_task_is_cancelled_is_taken_up_by_its_caller(clock: FakeClock) -> None:
    started = asyncio.Event()
    loads: list[int] = []

    async def load() -> int:
        loads.append(1)
        if len(loads) == 1:
            started.set()
            await asyncio.Event().wait()
        return len(loads)

    async with AsyncCache() as cache:
        caller = asyncio.ensure_future(cache.get_or_load("key", load, timeout=60))
        await started.wait()
        for task in list(cache._core.background):
            task.cancel()
        assert await caller == 2


async def test_closing_does_not_wait_for_a_load_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowstamp.cache.CLOSING_SECONDS", SHORT)
    cancelled: list[int] = []

    async def load() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)
        return 1

    async with AsyncCache() as cache:
        with pytest.raises(LoadTimeout):
            await cache.get_or_load("key", load, timeout=SHORT)
    assert cancelled == [1]


# ------------------------------------------------------------------------------------------------------- sessions


def introduce(engine: Engine) -> None:
    """Before its first statement nothing is known of a database, and calls are not looked up."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"), execution_options={"rowstamp": True})


def opened(cache: Cache, engine: Engine) -> sessionmaker[Session]:
    cache.attach(engine)
    introduce(engine)
    return sessionmaker(engine)


@pytest.mark.parametrize(
    "option",
    [{"timeout": 1}, {"stale_if_error": 60, "soft_timeout": 1}, {"stale_while_revalidate": 60}],
    ids=lambda option: next(reversed(option)),
)
def test_a_function_that_is_given_a_session_needs_another_for_the_background(
    cache: Cache, engine: Engine, option: dict[str, Any]
) -> None:
    def things(session: Session) -> int:
        return 0

    with pytest.raises(ConfigurationError, match=r"refresh_with= a sessionmaker"):
        cache.query(**option)(things)
    cache.query(**option, refresh_with=sessionmaker(engine))(things)


def test_a_session_of_its_own_needs_its_place(cache: Cache, engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="is given none"):
        cache.query(refresh_with=sessionmaker(engine))(lambda: 0)
    with pytest.raises(ConfigurationError, match="makes no sessions"):
        cache.query(refresh_with=engine)  # type: ignore[arg-type]


def test_a_function_goes_on_in_a_session_of_its_own(cache: Cache, engine: Engine, gate: Gate) -> None:
    make = opened(cache, engine)
    sessions: list[Session] = []

    @cache.query(timeout=SHORT, refresh_with=make)
    def thing(session: Session, number: int) -> Thing | None:
        gate()
        sessions.append(session)
        return session.get(Thing, number)

    gate.open.clear()
    with make() as session:
        with pytest.raises(LoadTimeout):
            thing(session, 2)
        caller = session
    gate.open.set()
    landed()
    assert len(sessions) == 1
    assert sessions[0] is not caller
    with make() as session:
        found = thing(session, 2)
        assert found is not None
        assert (found.name, found in session) == ("two", True)
    assert len(sessions) == 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE things SET name = 'new' WHERE id = 2"))
    with make() as session:
        found = thing.refresh(session, 2)
        assert found is not None
        assert found.name == "new"


def test_a_value_loaded_in_time_belongs_to_the_callers_session(cache: Cache, engine: Engine) -> None:
    make = opened(cache, engine)

    @cache.query(timeout=60, refresh_with=make)
    def things(session: Session) -> list[Thing]:
        return list(session.scalars(select(Thing).order_by(Thing.id)))

    with make() as session:
        assert all(thing in session for thing in things(session))
    assert (cache.stats().misses, cache.stats().fills) == (1, 1)


def test_what_a_transaction_has_written_is_read_in_it(cache: Cache, engine: Engine) -> None:
    make = opened(cache, engine)
    own: list[Session] = []

    @cache.query(timeout=60, refresh_with=make)
    def names(session: Session) -> list[str]:
        own.append(session)
        return list(session.scalars(select(Thing.name).order_by(Thing.id)))

    with make() as session:
        session.add(Thing(id=3, name="three"))
        session.flush()
        assert names(session) == ["one", "two", "three"]
        assert own == [session]


def test_revalidation_uses_a_session_of_its_own(cache: Cache, engine: Engine, clock: FakeClock) -> None:
    make = opened(cache, engine)
    own: list[Session] = []

    @cache.query(stale_while_revalidate=60, refresh_with=make)
    def names(session: Session) -> list[str]:
        own.append(session)
        return list(session.scalars(select(Thing.name).order_by(Thing.id)))

    def call() -> list[str]:
        with make() as session:
            result = names(session)
            landed()
            assert len(own) < 2 or own[1] is not session
            return result

    assert call() == ["one", "two"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE things SET name = 'new' WHERE id = 2"))
    assert call() == ["one", "two"]
    assert call() == ["one", "new"]
    assert len(own) == 2


def test_a_session_of_another_database_stores_nothing(cache: Cache, engine: Engine, tmp_path: Path) -> None:
    make = opened(cache, engine)
    other = create_engine(f"sqlite:///{tmp_path}/other.db")
    Base.metadata.create_all(other)
    cache.attach(other)
    introduce(other)

    @cache.query(timeout=60, refresh_with=sessionmaker(other))
    def names(session: Session) -> list[str]:
        return list(session.scalars(select(Thing.name).order_by(Thing.id)))

    with make() as session:
        assert names(session) == ["one", "two"]
    assert any("another key" in reason for reason in cache.stats().bypasses)
    other.dispose()


def test_a_session_of_an_engine_that_is_not_attached_stores_nothing(
    cache: Cache, engine: Engine, tmp_path: Path
) -> None:
    make = opened(cache, engine)
    other = create_engine(f"sqlite:///{tmp_path}/things.db")

    @cache.query(stale_while_revalidate=60, refresh_with=sessionmaker(other))
    def names(session: Session) -> list[str]:
        return list(session.scalars(select(Thing.name).order_by(Thing.id)))

    def call() -> list[str]:
        with make() as session:
            result = names(session)
            landed()
            return result

    call()
    with engine.begin() as connection:
        connection.execute(text("UPDATE things SET name = 'new' WHERE id = 2"))
    assert (call(), call()) == (["one", "two"], ["one", "two"])
    assert cache.stats().fills == 1
    assert "it uses an engine that is not attached" in cache.stats().bypasses
    other.dispose()


# -------------------------------------------------------------------------------------------------------- tenants


def test_a_background_load_has_the_tenant_of_its_caller(gate: Gate) -> None:
    """In a thread without the caller's context `vary=` would name another tenant, who would be served this one's value."""
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    with Cache(vary=tenant.get) as cache:
        tenant.set("ann")
        gate.open.clear()
        with pytest.raises(LoadTimeout):
            cache.get_or_load("key", gate, timeout=SHORT)
        gate.open.set()
        landed()
        assert cache.get("key") == 1
        tenant.set("nobody")
        assert cache.get("key") is None


def test_where_the_background_has_another_tenant_nothing_is_stored(gate: Gate) -> None:
    here = threading.local()
    here.tenant = "ann"
    with Cache(vary=lambda: getattr(here, "tenant", "nobody")) as cache:
        assert cache.get_or_load("key", gate, timeout=60) == 1
        assert any("another key" in reason for reason in cache.stats().bypasses)
        here.tenant = "nobody"
        assert cache.get("key") is None


# ---------------------------------------------------------------------------------------------------- awaited sessions


async def test_an_awaited_function_goes_on_in_a_session_of_its_own(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/things.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("INSERT INTO things VALUES (1, 'one')"))
    going = asyncio.Event()
    make = async_sessionmaker(engine)
    async with AsyncCache() as cache:
        cache.attach(engine)

        @cache.query(timeout=SHORT, refresh_with=make)
        async def thing(session: AsyncSession, number: int) -> Thing | None:
            await going.wait()
            return await session.get(Thing, number)

        async with make() as session:
            await session.execute(text("SELECT 1"), execution_options={"rowstamp": True})
        async with make() as session:
            with pytest.raises(LoadTimeout):
                await thing(session, 1)
        going.set()
        await asyncio.gather(*cache._core.background)
        async with make() as session:
            found = await thing(session, 1)
            assert found is not None
            assert found in session
        assert (thing.stats().fills, thing.stats().hits) == (1, 1)
    await engine.dispose()


# ------------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": "1"}, "timeout='1'"),
        ({"soft_timeout": 1}, "stale_if_error=60"),
        ({"soft_timeout": 2, "timeout": 1, "stale_if_error": 9}, "is not before timeout=1"),
    ],
)
def test_timeouts_that_mean_nothing_are_refused(
    cache: Cache, gate: Gate, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cache.query(**options)
    with pytest.raises(ConfigurationError, match=message):
        cache.get_or_load("key", gate, **options)


def test_the_error_is_one_of_this_library_and_a_timeout() -> None:
    error = pickle.loads(pickle.dumps(LoadTimeout(0.5)))
    assert isinstance(error, LoadTimeout)
    assert isinstance(error, TimeoutError)
    assert error.seconds == 0.5
    assert error.code == "load-timeout"


def test_nothing_of_the_callers_session_is_used_behind_its_back(
    cache: Cache, engine: Engine, gate: Gate, clock: FakeClock
) -> None:
    """Entities among the arguments belong to the caller's session, so such a call waits for its own load."""
    make = opened(cache, engine)
    threads: list[threading.Thread] = []

    @cache.query(timeout=60)
    def name_of(thing: Thing) -> str:
        threads.append(threading.current_thread())
        return thing.name

    with make() as session:
        assert name_of(session.get_one(Thing, 1)) == "one"
    assert threads == [threading.current_thread()]
