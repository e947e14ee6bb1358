"""`@cache.query` on coroutine functions: contexts, tasks, threads, and callers who miss at the same time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, selectinload

from rowstamp import AsyncCache, Cache, ConfigurationError
from rowstamp.stores.memory import MemoryStore
from tests.tricks import AwaitedStore, TrickStore
from tests.unit.query_models import Category, Product, Runs, User, fill


@pytest.fixture(params=["store", "awaited store"])
def store(request: pytest.FixtureRequest) -> Any:
    tricks = TrickStore(MemoryStore())
    return tricks if request.param == "store" else AwaitedStore(tricks)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(fill)
    yield engine
    await engine.dispose()


@pytest.fixture
async def cache(engine: AsyncEngine, store: Any) -> AsyncIterator[AsyncCache]:
    async with AsyncCache(store) as cache:
        cache.attach(engine)
        yield cache


@pytest.fixture
async def alone(store: Any) -> AsyncIterator[AsyncCache]:
    """A cache without a database: nothing has to be found out before it serves."""
    async with AsyncCache(store) as cache:
        yield cache


@pytest.fixture
def runs() -> Runs:
    return Runs()


async def rename(engine: AsyncEngine, model: Any, key: int, name: str) -> None:
    async with AsyncSession(engine) as session:
        (await session.get_one(model, key)).name = name
        await session.commit()


async def test_the_second_call_is_served_until_a_commit(engine: AsyncEngine, cache: AsyncCache, runs: Runs) -> None:
    @cache.query()
    async def name_of(session: AsyncSession, category_id: int) -> str | None:
        runs.number += 1
        return await session.scalar(select(Category.name).where(Category.id == category_id))

    for _ in range(2):
        async with AsyncSession(engine) as session:
            assert await name_of(session, 7) == "books"
    assert runs.since() == 1
    await rename(engine, Category, 7, "novels")
    async with AsyncSession(engine) as session:
        assert await name_of(session, 7) == "novels"
        assert await name_of.uncached(session, 7) == "novels"
        assert await name_of.refresh(session, 7) == "novels"
        await name_of.invalidate(7)
        assert await name_of(session, 7) == "novels"
        await name_of.invalidate_all()
        assert await name_of(session, 7) == "novels"
    assert runs.since() == 5


async def test_entities_with_their_collections_need_no_database_on_a_hit(
    engine: AsyncEngine, cache: AsyncCache
) -> None:
    @cache.query()
    async def category(session: AsyncSession, category_id: int) -> Category | None:
        return await session.scalar(
            select(Category).where(Category.id == category_id).options(selectinload(Category.products))
        )

    async with AsyncSession(engine) as session:
        await category(session, 7)
    async with AsyncSession(engine) as session:
        found = await category(session, 7)
        assert found is not None
        assert found in session
        assert [product.name for product in found.products] == ["atlas", "bestiary"]
    assert category.stats().hits == 1


@pytest.mark.parametrize("way", ["gather", "task group", "run_sync"])
async def test_what_tasks_of_a_call_read_is_part_of_it(
    engine: AsyncEngine, cache: AsyncCache, runs: Runs, way: str
) -> None:
    async def one(model: Any, key: int) -> str:
        async with AsyncSession(engine) as session:
            return await session.scalar(select(model.name).where(model.id == key)) or ""

    def both(session: Session) -> list[str]:
        return [session.get_one(User, 1).name, session.get_one(Category, 7).name]

    @cache.query()
    async def names() -> list[str]:
        runs.number += 1
        if way == "gather":
            return list(await asyncio.gather(one(User, 1), one(Category, 7)))
        if way == "run_sync":
            async with AsyncSession(engine) as session:
                return await session.run_sync(both)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(User, 1)), group.create_task(one(Category, 7))]
        return [task.result() for task in tasks]

    assert await names() == ["ann", "books"]
    assert await names() == ["ann", "books"]
    assert runs.since() == 1
    await rename(engine, User, 1, "anna")
    assert await names() == ["anna", "books"]
    await rename(engine, Category, 7, "novels")
    assert await names() == ["anna", "novels"]
    assert runs.since() == 2
    await rename(engine, User, 2, "rob")
    assert await names() == ["anna", "novels"]
    assert runs.since() == 0


async def test_calls_at_the_same_time_do_not_hear_each_other(
    engine: AsyncEngine, cache: AsyncCache, runs: Runs
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @cache.query()
    async def slow() -> int:
        runs.number += 1
        entered.set()
        await leave.wait()
        return 1

    @cache.query()
    async def volatile(session: AsyncSession) -> Any:
        return (await session.execute(select(func.random()))).scalar_one()

    task = asyncio.create_task(slow())
    await entered.wait()
    async with AsyncSession(engine) as session:
        await volatile(session)
        await rename(engine, User, 1, "anna")
    leave.set()
    assert await task == 1
    assert await slow() == 1
    assert runs.since() == 1


async def test_callers_who_miss_together_load_once(engine: AsyncEngine, cache: AsyncCache, runs: Runs) -> None:
    @cache.query()
    async def total() -> int:
        runs.number += 1
        async with AsyncSession(engine) as session:
            return await session.scalar(select(func.sum(Product.stock))) or 0

    async with AsyncSession(engine) as session:  # the isolation level is known from now on
        await session.execute(select(User.id))
    assert await total() == 9
    await cache.clear()
    runs.since()
    assert set(await asyncio.gather(*(total() for _ in range(200)))) == {9}
    assert runs.since() == 1


async def test_one_who_comes_after_a_commit_is_not_given_the_load_from_before(
    engine: AsyncEngine, cache: AsyncCache, runs: Runs
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @cache.query()
    async def name() -> str:
        runs.number += 1
        async with AsyncSession(engine) as session:
            found = await session.scalar(select(User.name).where(User.id == 1)) or ""
        if runs.number == 1:
            entered.set()
            await leave.wait()
        return found

    async with AsyncSession(engine) as session:
        await session.execute(select(User.id))
        await session.scalar(select(User.name), execution_options={"rowstamp": True})
    early = asyncio.create_task(name())
    await entered.wait()
    await rename(engine, User, 1, "anna")
    late = asyncio.create_task(name())
    await asyncio.sleep(0)
    leave.set()
    assert await early == "ann"
    assert await late == "anna"
    assert runs.since() == 2


async def test_a_load_that_fails_lets_those_who_wait_load_themselves(alone: AsyncCache, runs: Runs) -> None:
    @alone.query()
    async def run() -> int:
        runs.number += 1
        mine = runs.number
        await asyncio.sleep(0)
        if mine == 1:
            raise LookupError("once")
        return mine

    results = await asyncio.gather(*(run() for _ in range(3)), return_exceptions=True)
    assert isinstance(results[0], LookupError)
    assert all(isinstance(each, int) for each in results[1:])


async def test_functions_that_call_each_other_do_not_wait_for_each_other(alone: AsyncCache) -> None:
    both_run = asyncio.Barrier(2)
    entered: set[str] = set()

    @alone.query()
    async def ping() -> int:
        if "ping" in entered:
            return 1
        entered.add("ping")
        await both_run.wait()
        return await pong() + 10

    @alone.query()
    async def pong() -> int:
        if "pong" in entered:
            return 2
        entered.add("pong")
        await both_run.wait()
        return await ping() + 10

    found = await asyncio.wait_for(asyncio.gather(ping(), pong()), 10)
    assert len(found) == 2, "neither has waited for the other"


async def test_a_plain_function_is_refused(cache: AsyncCache) -> None:
    with pytest.raises(ConfigurationError, match="plain function, which needs Cache"):
        cache.query()(lambda: 1)  # type: ignore[arg-type,return-value]


def test_threads_with_the_context_are_part_of_a_call(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        fill(connection)
    runs = Runs()
    with Cache() as cache:
        cache.attach(engine)

        @cache.query()
        def name() -> str:
            runs.number += 1
            found: list[str] = []

            def read() -> None:
                with Session(engine) as session:
                    found.append(session.get_one(User, 1).name)

            thread = threading.Thread(target=contextvars.copy_context().run, args=(read,))
            thread.start()
            thread.join()
            return found[0]

        assert [name(), name()] == ["ann", "ann"]
        assert runs.since() == 1
        with Session(engine) as session:
            session.get_one(User, 1).name = "anna"
            session.commit()
        assert name() == "anna"
    engine.dispose()


def test_threads_who_miss_together_load_once(tmp_path: Path) -> None:
    runs = Runs()
    waiting = threading.Semaphore(0)
    with Cache() as cache:

        @cache.query()
        def run() -> int:
            runs.number += 1
            for _ in range(4):
                waiting.acquire()
            return 1

        results: list[int] = []

        def call() -> None:
            results.append(run())

        join = cache._calls.flights.join

        def joined(entry: bytes, loop: Any) -> Any:
            found = join(entry, loop)
            if not found[1]:
                waiting.release()
            return found

        cache._calls.flights.join = joined  # type: ignore[method-assign]
        threads = [threading.Thread(target=call) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [1] * 5
    assert runs.number == 1
