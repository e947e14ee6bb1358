"""Who waits for another's load gets its result only under equal stamps: never data older than its own begin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, event, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, cached
from rowstamp.orm import reads, replay
from rowstamp.stampede import Flight, Flights
from tests.conformance.models import Base, Product, Tag
from tests.harness import Env, read

pytestmark = pytest.mark.once

NAME = select(Tag.name).where(Tag.id == 1)


@pytest.fixture
def url(tmp_path: Any) -> str:
    engine = create_engine(f"sqlite:///{tmp_path / 'tags.db'}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Tag).values(id=1, name="old"))
    engine.dispose()
    return f"{tmp_path / 'tags.db'}"


@pytest.fixture(params=[False, True], ids=["a write between", "no write"])
def quiet(request: pytest.FixtureRequest) -> bool:
    """Whether nothing is written between the beginnings of the two calls."""
    return bool(request.param)


def test_threads(url: str, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer commits after a load has read, and before another thread asks for the same."""
    engine, cache = create_engine(f"sqlite:///{url}"), Cache()
    cache.attach(engine)
    with Session(engine) as session:
        session.execute(
            select(Tag.id).options(cached())
        )  # before its first read of an engine nothing is served or shared
    loads: list[str] = []
    has_read, go_on, waits = threading.Event(), threading.Event(), threading.Event()
    wait = Flight.wait

    def waiting(flight: Flight, patience: float | None) -> None:
        waits.set()
        wait(flight, patience)

    monkeypatch.setattr(Flight, "wait", waiting)

    @cache.query()
    def name() -> str:
        with Session(engine) as session:
            loads.append(session.scalars(NAME).one())
        has_read.set()
        assert go_on.wait(10)
        return loads[-1]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(name)
        assert has_read.wait(10)
        if not quiet:
            with Session(engine) as session:
                session.execute(update(Tag).values(name="new"))
                session.commit()
        second: Future[str] = pool.submit(name)
        assert waits.wait(10)
        go_on.set()
        assert first.result(10) == "old"
        assert second.result(10) == ("old" if quiet else "new")
    assert loads == (["old"] if quiet else ["old", "new"])
    assert name() == loads[-1]
    cache.close()
    engine.dispose()


async def test_tasks(url: str, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with tasks of one event loop, and with values under a key and a tag."""
    engine, cache = create_async_engine(f"sqlite+aiosqlite:///{url}"), AsyncCache()
    cache.attach(engine)
    loads: list[str] = []
    has_read, go_on, waits = asyncio.Event(), asyncio.Event(), asyncio.Event()
    wait: Callable[..., Any] = Flight.wait_async

    async def waiting(flight: Flight, patience: float | None) -> None:
        waits.set()
        await wait(flight, patience)

    monkeypatch.setattr(Flight, "wait_async", waiting)

    async def load() -> str:
        async with engine.connect() as connection:
            loads.append((await connection.execute(NAME)).scalar_one())
        has_read.set()
        assert await asyncio.wait_for(go_on.wait(), 10)
        return loads[-1]

    async def ask() -> str:
        return await cache.get_or_load("name", load, tags=["names"])

    first = asyncio.ensure_future(ask())
    await has_read.wait()
    if not quiet:
        async with engine.begin() as connection:
            await connection.execute(update(Tag).values(name="new"))
        await cache.invalidate(tags=["names"])
    second = asyncio.ensure_future(ask())
    await waits.wait()
    go_on.set()
    assert await first == "old"
    assert await second == ("old" if quiet else "new")
    assert loads == (["old"] if quiet else ["old", "new"])
    assert await ask() == loads[-1]
    await cache.aclose()
    await engine.dispose()


# ------------------------------------------------------------------------------------------------ statements


class Sessions:
    """Threads whose sessions read one statement; the first of them is kept between its query and its fill."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.cache = create_engine(f"sqlite:///{url}"), Cache()
        self.cache.attach(self.engine)
        self.sent: list[str] = []
        self.has_read, self.go_on, self.waits = threading.Event(), threading.Event(), threading.Event()
        with Session(self.engine) as session:
            session.execute(select(Tag.id).options(cached()))
        encode, wait = replay.encode_result, Flight.wait

        def encoded(*result: Any) -> bytes:
            if not self.has_read.is_set():
                self.has_read.set()
                assert self.go_on.wait(10)
            return encode(*result)

        def waiting(flight: Flight, patience: float | None) -> None:
            self.waits.set()
            wait(flight, patience)

        monkeypatch.setattr(reads, "encode_result", encoded)
        monkeypatch.setattr(Flight, "wait", waiting)
        event.listen(self.engine, "before_cursor_execute", lambda *sent: self.sent.append(sent[2]))

    def read(self) -> str:
        with Session(self.engine) as session:
            return session.scalars(NAME.options(cached())).one()

    def write(self) -> None:
        with Session(self.engine) as session:
            session.execute(update(Tag).values(name="new"))
            session.commit()

    @property
    def queries(self) -> int:
        return sum(each.startswith("SELECT tags.name") for each in self.sent)


@pytest.fixture
def sessions(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    made = Sessions(url, monkeypatch)
    yield made
    made.cache.close()
    made.engine.dispose()


def test_sessions_that_miss_one_statement(sessions: Sessions, quiet: bool) -> None:
    """One is sent to the database; the others are served what it has stored, if it is valid after their own beginning."""
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(sessions.read)
        assert sessions.has_read.wait(10)
        if not quiet:
            sessions.write()
        second = pool.submit(sessions.read)
        assert sessions.waits.wait(10)
        sessions.go_on.set()
        assert first.result(10) == "old"
        assert second.result(10) == ("old" if quiet else "new")
    assert sessions.queries == (1 if quiet else 2)
    counted = sessions.cache.stats()
    assert (counted.hits, counted.misses) == ((1, 2) if quiet else (0, 3))  # one miss is that of the preparation


def test_a_session_that_has_written_waits_for_nobody(postgres_env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locks may be what the load waits for."""
    postgres_env.warm(select(Tag.id))  # before its first read of an engine nothing is shared
    joined: list[bytes] = []
    join = Flights.join

    def joining(flights: Flights, entry: bytes, loop: Any) -> tuple[Flight, bool]:
        joined.append(entry)
        return join(flights, entry, loop)

    monkeypatch.setattr(Flights, "join", joining)
    statement = select(Product.name).order_by(Product.id)
    with postgres_env.session() as session:
        session.execute(insert(Tag).values(name="another table"))
        read(session, statement)
        assert not joined
        session.rollback()
        session.connection()
        read(session, statement.where(Product.id > 1))
        assert joined


def test_a_statement_within_another_waits_for_nobody(sessions: Sessions) -> None:
    """A listener that reads what is being loaded would wait for itself, and two of them for each other."""
    found: list[str] = []

    def ask(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if "tags.name" in sql and not found:
            found.append("")
            found[0] = sessions.read()

    sessions.go_on.set()
    event.listen(sessions.engine, "before_cursor_execute", ask)
    assert sessions.read() == "old"
    assert found == ["old"]
    assert not sessions.waits.is_set()


def test_a_load_that_fails_is_no_reason_to_wait_longer(sessions: Sessions) -> None:
    """Whoever waits goes on, and asks the database itself."""
    failing = threading.Event()

    def fail(*_: Any) -> None:
        if not failing.is_set():
            failing.set()
            assert sessions.waits.wait(10)
            raise RuntimeError

    event.listen(sessions.engine, "before_cursor_execute", fail)
    sessions.go_on.set()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(sessions.read)
        assert failing.wait(10)
        second = pool.submit(sessions.read)
        with pytest.raises(RuntimeError):
            first.result(10)
        assert second.result(10) == "old"
    assert sessions.read() == "old"
    assert sessions.queries == 1 + 1


@pytest.mark.parametrize("of", [AsyncSession, AsyncEngine.connect], ids=["sessions", "connections"])
async def test_readers_that_come_before_anything_is_known_of_the_engine(url: str, of: Callable[..., Any]) -> None:
    """Each takes a connection then, and waits for another's load with it."""
    engine, cache = create_async_engine(f"sqlite+aiosqlite:///{url}"), AsyncCache()
    cache.attach(engine)

    async def read_name() -> str:
        async with of(engine) as reader:
            return str((await reader.execute(NAME, execution_options={"rowstamp": cached()})).scalar_one())

    assert set(await asyncio.gather(*[read_name() for _ in range(20)])) == {"old"}
    counted = cache.stats()
    assert (counted.misses, counted.fills, counted.hits) == (1, 1, 19)
    await cache.aclose()
    await engine.dispose()
