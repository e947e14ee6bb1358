"""The asynchronous API as its users write it: awaited, streamed, gathered."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, selectinload

from rowstamp import AsyncCache, cached
from tests.conformance.conftest import POSTGRES, SQLITE, database_url
from tests.conformance.models import Category, Product, Tag, product
from tests.harness import Traffic, watching

ASKED = {"rowstamp": cached()}
NAMES = select(Product.name).order_by(Product.id).options(cached())


@pytest.fixture(params=[each for each in SQLITE + POSTGRES if each.asynchronous], ids=str)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url(request, request.param))
    yield engine
    await engine.dispose()


@pytest.fixture
async def cache(engine: AsyncEngine) -> AsyncIterator[AsyncCache]:
    async with AsyncCache("memory://") as cache:
        cache.attach(engine)
        yield cache


async def names(engine: AsyncEngine) -> tuple[list[str], Traffic]:
    async with AsyncSession(engine) as session:
        with watching(engine.sync_engine) as traffic:
            return list((await session.scalars(NAMES)).all()), traffic


async def test_scalars(engine: AsyncEngine, cache: AsyncCache) -> None:
    """`await session.scalars()` is served on the second call, without a connection."""
    first, _ = await names(engine)
    second, traffic = await names(engine)
    assert first == second == ["atlas", "bestiary", "chess", "dominoes"]
    assert (traffic.statements, traffic.checkouts) == ([], 0)
    assert cache.stats().hits == 1


async def test_commit_then_read_at_once(engine: AsyncEngine, cache: AsyncCache) -> None:
    """Right after `await session.commit()` everybody reads the new row."""
    for number in range(3):
        await names(engine)
        async with AsyncSession(engine) as session:
            session.add(product(100 + number))
            await session.commit()
        assert len((await names(engine))[0]) == 5 + number


async def test_a_connection(engine: AsyncEngine, cache: AsyncCache) -> None:
    """`await connection.execute()` with the execution option."""
    table: Any = Product.__table__
    for expected in (1, 0):
        async with engine.connect() as connection:
            with watching(engine.sync_engine) as traffic:
                result = await connection.execute(select(table.c.name), execution_options=ASKED)
                assert len(result.all()) == 4
                assert await connection.scalar(select(table.c.name).limit(1), execution_options=ASKED)
        assert len(traffic) == expected * 2
    async with engine.begin() as connection:
        await connection.execute(update(table).where(table.c.id == 1).values(name="changed"))
    async with engine.connect() as connection:
        assert "changed" in (await connection.scalars(select(table.c.name), execution_options=ASKED)).all()


async def test_streams_are_not_cached(engine: AsyncEngine, cache: AsyncCache) -> None:
    """`session.stream()` and `connection.stream()` read from the database, row by row."""
    for _ in range(2):
        with watching(engine.sync_engine) as traffic:
            async with AsyncSession(engine) as session:
                assert [name async for name in await session.stream_scalars(NAMES.limit(1))] == ["atlas"]
            async with engine.connect() as connection:
                result = await connection.stream(select(Tag.__table__), execution_options=ASKED)
                assert len([row async for row in result]) == 3
        assert len(traffic) == 2
    assert dict(cache.stats().bypasses) == {"streaming": 4}


async def test_run_sync(engine: AsyncEngine, cache: AsyncCache) -> None:
    """Synchronous code inside `run_sync` is served, lazy loads included."""
    cache.policy(Product)
    cache.policy(Category)

    def category(session: Session) -> str:
        found = session.get_one(Product, 1).category
        assert found is not None
        return found.name

    for expected in (2, 0):
        async with AsyncSession(engine) as session:
            with watching(engine.sync_engine) as traffic:
                assert await session.run_sync(category) == "books"
        assert len(traffic) == expected


async def test_gathered_sessions(engine: AsyncEngine, cache: AsyncCache) -> None:
    """Readers and writers in one loop: nobody reads what was true before its own read began."""
    published = 0

    async def write(number: int) -> None:
        nonlocal published
        async with AsyncSession(engine) as session:
            await session.execute(update(Product).where(Product.id == 1).values(stock=number))
            await session.commit()
        published = number

    async def read() -> None:
        for _ in range(30):
            least = published
            async with AsyncSession(engine) as session:
                stock = await session.scalar(select(Product.stock).where(Product.id == 1), execution_options=ASKED)
            assert stock is not None
            assert stock >= least

    async def write_all() -> None:
        for number in range(10, 40):
            await write(number)

    async with AsyncSession(engine) as session:
        await session.execute(update(Product).where(Product.id == 1).values(stock=0))
        await session.commit()
    await asyncio.gather(write_all(), *(read() for _ in range(4)))
    await read()  # nobody writes any more
    assert cache.stats().hits > 0


async def test_eager_loads_and_refresh(engine: AsyncEngine, cache: AsyncCache) -> None:
    """Eager loads are served; `await session.refresh()` is not."""
    stmt = select(Product).where(Product.id == 1).options(selectinload(Product.tags), cached())
    for expected in (2, 0):
        async with AsyncSession(engine) as session:
            with watching(engine.sync_engine) as traffic:
                found = (await session.scalars(stmt)).one()
                assert [tag.name for tag in found.tags] == ["new", "sale"]
            assert len(traffic) == expected
            with watching(engine.sync_engine) as traffic:
                await session.refresh(found)
            assert len(traffic) >= 1


async def test_a_sessionmaker(engine: AsyncEngine) -> None:
    """`attach(async_sessionmaker)` serves its sessions."""
    maker = async_sessionmaker(engine)
    async with AsyncCache() as cache:
        cache.attach(maker)
        for expected in (1, 0):
            async with maker() as session:
                with watching(engine.sync_engine) as traffic:
                    await session.scalars(NAMES)
            assert len(traffic) == expected
        async with maker.begin() as session:
            session.add(product())
        async with maker() as session:
            assert len((await session.scalars(NAMES)).all()) == 5


async def test_invalidation(engine: AsyncEngine, cache: AsyncCache) -> None:
    """`await cache.invalidate()` now, with an AsyncSession's commit, and `await cache.clear()`."""
    await names(engine)
    await cache.invalidate(Product)
    assert len((await names(engine))[1]) == 1
    async with AsyncSession(engine) as session:
        await cache.invalidate(Product, session=session)
        assert len((await names(engine))[1]) == 0
        await session.commit()
    assert len((await names(engine))[1]) == 1
    await cache.clear()
    assert len((await names(engine))[1]) == 1


async def test_disabled_holds_for_its_task(engine: AsyncEngine, cache: AsyncCache) -> None:
    """`disabled()` is a matter of the task inside it, not of its neighbours."""
    await names(engine)
    inside, done = asyncio.Event(), asyncio.Event()

    async def disable() -> int:
        with cache.disabled():
            inside.set()
            await done.wait()
            return len((await names(engine))[1])

    task = asyncio.create_task(disable())
    await inside.wait()
    assert len((await names(engine))[1]) == 0
    done.set()
    assert await task == 1


async def test_a_cancelled_reader_and_writer(engine: AsyncEngine, cache: AsyncCache) -> None:
    """Tasks that are cancelled anywhere leave nothing stale behind."""
    for turns in range(1, 25):
        await names(engine)

        async def write(name: str = f"turn {turns}") -> None:
            async with AsyncSession(engine) as session:
                await session.execute(text("UPDATE products SET name = :name WHERE id = 1"), {"name": name})
                await session.commit()

        task = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with AsyncSession(engine) as session:
            truth = await session.scalar(select(Product.name).where(Product.id == 1))
        assert (await names(engine))[0][0] == truth
