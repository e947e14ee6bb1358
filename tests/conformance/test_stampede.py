"""Many misses at once are one query: in a process, over processes, and when the one who loads is killed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, cached
from rowstamp.testing.servers import ValkeyServer
from tests.conformance.fleet import STATEMENT, Member
from tests.servers.valkey import settled

# Four processes that start on a busy machine take their time.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

CALLS = 500
PROCESSES = 4


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "things.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO things VALUES (1), (2)"))
    engine.dispose()
    return path


@pytest.fixture(params=["memory", "lmdb", "valkey"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else _shared(request.param, request, tmp_path)


@pytest.fixture(params=["lmdb", "valkey"])
def shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return _shared(request.param, request, tmp_path)


# Four processes are a matter of seconds. What they run is one text, so that each store and each colour is met in both scenarios,
# and not each pair of them.
ONE_WAY = pytest.mark.parametrize(
    ("shared_store", "kind"), [("lmdb", "sync"), ("valkey", "async")], indirect=["shared_store"]
)
THE_OTHER = pytest.mark.parametrize(
    ("shared_store", "kind"), [("lmdb", "async"), ("valkey", "sync")], indirect=["shared_store"]
)


def _shared(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    # What takes long here is the machine, with hundreds of threads at once: it is no sign of a store that is down.
    if kind == "lmdb":
        return f"lmdb://{tmp_path}/store?timeout_ms=20000"
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    settled(server.url(), tmp_path.name)
    return f"{server.url()}?prefix={tmp_path.name}&timeout_ms=20000&connect_timeout_ms=20000"


# ---------------------------------------------------------------------------------------------------- one process


def test_five_hundred_threads_that_miss_at_once_are_one_query(database: Path, any_store: str) -> None:
    engine = create_engine(f"sqlite:///{database}")
    runs: list[int] = []
    everybody = threading.Barrier(CALLS)
    with Cache(any_store, namespace="threads") as cache, ThreadPoolExecutor(CALLS) as pool:
        cache.attach(engine)

        @cache.query()
        def count(session: Session) -> int:
            runs.append(1)
            return session.scalar(STATEMENT) or 0

        def call() -> int:
            everybody.wait()
            with Session(engine) as session:
                return count(session)

        with Session(engine) as session:
            session.scalar(STATEMENT, execution_options={"rowstamp": True})
        futures = [pool.submit(call) for _ in range(CALLS)]
        assert {future.result() for future in futures} == {2}
        assert not cache.stats().bypasses, cache.stats()
        assert len(runs) == 1
        assert (count.stats().fills, count.stats().misses) == (1, 1)
        assert count.stats().hits == CALLS - 1
    engine.dispose()


async def test_five_hundred_tasks_that_miss_at_once_are_one_query(database: Path, any_store: str) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    runs: list[int] = []
    async with AsyncCache(any_store, namespace="tasks") as cache:
        cache.attach(engine)

        @cache.query()
        async def count(session: AsyncSession) -> int:
            runs.append(1)
            return await session.scalar(STATEMENT) or 0

        async def call() -> int:
            async with AsyncSession(engine) as session:
                return await count(session)

        async with AsyncSession(engine) as session:
            await session.scalar(STATEMENT, execution_options={"rowstamp": True})
        assert set(await asyncio.gather(*[call() for _ in range(CALLS)])) == {2}
        assert len(runs) == 1
        assert (count.stats().fills, count.stats().misses) == (1, 1)
        assert count.stats().hits == CALLS - 1
    await engine.dispose()


async def test_five_hundred_sessions_that_miss_one_statement_at_once_are_one_query(
    database: Path, any_store: str
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    sent: list[str] = []
    async with AsyncCache(any_store, namespace="statements") as cache:
        cache.attach(engine)

        async def call() -> int | None:
            async with AsyncSession(engine) as session:
                found: int | None = await session.scalar(STATEMENT, execution_options={"rowstamp": cached(ttl=60)})
                return found

        async with AsyncSession(engine) as session:
            await session.scalar(text("SELECT max(id) FROM things"), execution_options={"rowstamp": True})
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *seen: sent.append(seen[2]))
        assert set(await asyncio.gather(*[call() for _ in range(CALLS)])) == {2}
        assert len(sent) == 1
        assert cache.stats().hits == CALLS - 1
    await engine.dispose()


async def test_loads_from_elsewhere_are_shared_too(any_store: str) -> None:
    loads: list[int] = []

    async def load() -> int:
        loads.append(1)
        await asyncio.sleep(0)
        return 7

    async with AsyncCache(any_store, namespace="loads") as cache:
        values = await asyncio.gather(*[cache.get_or_load("key", load) for _ in range(CALLS)])
    assert (set(values), len(loads)) == ({7}, 1)


def test_two_caches_in_one_process_share_a_load(database: Path, shared_store: str) -> None:
    """Other threads of other caches, or of other event loops, find the lease in the store."""
    engines = [create_engine(f"sqlite:///{database}") for _ in range(2)]
    runs: list[int] = []
    waiting, finish = threading.Event(), threading.Event()

    def caller(number: int) -> Callable[[], int]:
        cache = Cache(shared_store, namespace="two")
        cache.attach(engines[number], database="things")
        resources.callback(cache.close)

        def count(session: Session) -> int:
            runs.append(1)
            waiting.set()
            finish.wait()
            return session.scalar(STATEMENT) or 0

        cached = cache.query()(count)

        def call() -> int:
            with Session(engines[number]) as session:
                return cached(session)

        with Session(engines[number]) as session:
            session.scalar(STATEMENT, execution_options={"rowstamp": True})
        return call

    with ExitStack() as resources, ThreadPoolExecutor(2) as pool:
        callers = [caller(0), caller(1)]
        first = pool.submit(callers[0])
        waiting.wait()
        second = pool.submit(callers[1])
        finish.set()
        assert (first.result(), second.result()) == (2, 2)
    assert runs == [1]
    for engine in engines:
        engine.dispose()


# ------------------------------------------------------------------------------------------------------- a fleet


@pytest.fixture
def fleet(database: Path, shared_store: str) -> Iterator[Callable[..., list[Member]]]:
    with ExitStack() as members:

        def start(kind: str, *, calls: int, lease: float) -> list[Member]:
            started = [
                members.enter_context(Member(kind, database, shared_store, calls, lease)) for _ in range(PROCESSES)
            ]
            assert [member.heard() for member in started] == ["ready"] * PROCESSES
            for member in started:
                member.tell("go")
            return started

        yield start


def first_to_load(members: list[Member]) -> Member:
    """Wait until somebody loads; everybody has begun by then."""
    loaders: list[Member] = []
    everybody = threading.Lock()
    found = threading.Event()

    def listen(member: Member) -> None:
        word = member.heard()
        if word == "started":
            word = member.heard()
        member.said = word
        if word == "loading":
            with everybody:
                loaders.append(member)
            found.set()

    for member in members:
        member.listener = threading.Thread(target=listen, args=(member,), daemon=True)
        member.listener.start()
    found.wait()
    return loaders[0]


def results(members: list[Member]) -> list[Any]:
    """What each says at the end."""
    found: list[Any] = []
    for member in members:
        member.tell("finish")
    for member in members:
        assert member.listener is not None
        member.listener.join()
        word = member.said
        while isinstance(word, str):
            word = member.heard()
        found.append(word)
    return found


@ONE_WAY
def test_five_hundred_misses_over_four_processes_are_one_query(fleet: Callable[..., list[Member]], kind: str) -> None:
    members = fleet(kind, calls=CALLS // PROCESSES, lease=60)
    first_to_load(members)
    found = results(members)
    assert sum(each["runs"] for each in found) == 1
    assert {(*each["values"], each["calls"]) for each in found} == {(2, CALLS // PROCESSES)}


@THE_OTHER
def test_a_loader_that_is_killed_delays_the_others_by_its_lease(fleet: Callable[..., list[Member]], kind: str) -> None:
    """Its lease ends by the store's clock; then one of the others loads, and all are served."""
    members = fleet(kind, calls=20, lease=1)
    loader = first_to_load(members)
    loader.kill()
    others = [member for member in members if member is not loader]
    found = results(others)
    assert sum(each["runs"] for each in found) == 1
    assert {(*each["values"], each["calls"]) for each in found} == {(2, 20)}
