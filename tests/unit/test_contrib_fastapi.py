"""The helpers for FastAPI: what a response says, what a request may ask for, and when the cache is closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, ClosedError, ConfigurationError, cached
from rowstamp.contrib.fastapi import CacheMiddleware, cache_of, lifespan
from tests.unit.query_models import Product, fill

pytestmark = pytest.mark.once


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = str(tmp_path / "shop.db")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        fill(connection)
    engine.dispose()
    return path


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    yield engine
    await engine.dispose()


@pytest.fixture
def blocking_engine(database: str) -> Any:
    engine = create_engine(f"sqlite:///{database}")
    yield engine
    engine.dispose()


def application(engine: AsyncEngine, cache: AsyncCache, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan(cache, engine))
    app.add_middleware(cast("Any", CacheMiddleware), cache=cache, **options)

    @app.get("/reads/{number}")
    async def reads(number: int) -> list[str]:
        async with AsyncSession(engine) as session:
            statement = select(Product.name).where(Product.id == number).options(cached())
            return [await session.scalar(statement) or "", await session.scalar(statement) or ""]

    @app.get("/random")
    async def volatile() -> int:
        async with AsyncSession(engine) as session:
            return await session.scalar(select(Product.id + text("random()")).limit(1).options(cached())) or 0

    @app.get("/nothing")
    async def nothing(used: Annotated[AsyncCache, Depends(cache_of)]) -> bool:
        return used is cache

    @app.post("/writes/{number}")
    async def writes(number: int) -> None:
        async with AsyncSession(engine) as session, session.begin():
            product = await session.get_one(Product, number)
            product.name = "renamed"

    return app


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_a_response_says_what_its_reads_were_served_from(engine: AsyncEngine) -> None:
    async with serving(application(engine, AsyncCache())) as client:
        answers = [await client.get(path) for path in ("/reads/1", "/reads/1", "/random", "/nothing")]
    assert [each.headers.get("cache-status") for each in answers] == [
        'rowstamp; fwd=miss; detail="hits=1 misses=1"',
        'rowstamp; hit; detail="hits=2"',
        'rowstamp; fwd=bypass; detail="bypasses=1"',
        None,
    ]
    assert answers[-1].json() is True


async def test_requests_at_the_same_time_do_not_count_each_others_reads(engine: AsyncEngine) -> None:
    async with serving(application(engine, AsyncCache())) as client:
        await client.get("/reads/1")
        found: list[str] = []

        async def ask(path: str) -> None:
            found.append((await client.get(path)).headers.get("cache-status", ""))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask, "/reads/1")
    assert found == ['rowstamp; hit; detail="hits=2"'] * 5


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0, No-Cache", "no-store"])
async def test_a_request_asks_for_the_database_where_that_is_allowed(engine: AsyncEngine, directive: str) -> None:
    cache = AsyncCache()
    async with serving(application(engine, cache, honour_no_cache=True)) as client:
        await client.get("/reads/1")
        before = cache.stats()
        answer = await client.get("/reads/1", headers={"Cache-Control": directive})
        assert answer.headers["cache-status"] == "rowstamp; fwd=request"
        assert cache.stats().hits == before.hits
        assert (await client.get("/reads/1")).headers["cache-status"] == 'rowstamp; hit; detail="hits=2"'


async def test_by_default_no_client_decides_over_the_cache(engine: AsyncEngine) -> None:
    async with serving(application(engine, AsyncCache())) as client:
        await client.get("/reads/1")
        answer = await client.get("/reads/1", headers={"Cache-Control": "no-cache"})
    assert "hit" in answer.headers["cache-status"]


async def test_a_write_that_asks_for_the_database_still_invalidates(engine: AsyncEngine) -> None:
    async with serving(application(engine, AsyncCache(), honour_no_cache=True)) as client:
        await client.get("/reads/1")
        await client.post("/writes/1", headers={"Cache-Control": "no-cache"})
        assert (await client.get("/reads/1")).json() == ["renamed", "renamed"]


async def test_the_header_has_another_name_or_none(engine: AsyncEngine) -> None:
    async with serving(application(engine, AsyncCache(), header="X-Cache")) as client:
        assert "x-cache" in (await client.get("/reads/1")).headers
    async with serving(application(engine, AsyncCache(), header=None)) as client:
        assert not {"x-cache", "cache-status"} & set((await client.get("/reads/1")).headers)


async def test_the_cache_is_closed_with_the_application_even_if_its_own_lifespan_fails(engine: AsyncEngine) -> None:
    cache = AsyncCache()

    @asynccontextmanager
    async def failing(_app: object) -> AsyncGenerator[None]:
        assert cache.is_attached(engine)
        yield
        raise RuntimeError("at the end")

    app = FastAPI(lifespan=lifespan(cache, engine, inner=failing))
    with pytest.raises(RuntimeError, match="at the end"):
        async with app.router.lifespan_context(app):
            pass
    with pytest.raises(ClosedError):
        cache.policy(Product)


async def test_an_engine_that_is_attached_already_stays_so(engine: AsyncEngine) -> None:
    cache = AsyncCache()
    cache.attach(engine)
    async with serving(application(engine, cache)) as client:
        assert (await client.get("/reads/1")).status_code == 200


async def test_what_a_lifespan_of_the_applications_own_yields_is_yielded() -> None:
    @asynccontextmanager
    async def inner(_app: object) -> AsyncGenerator[dict[str, int]]:
        yield {"answer": 42}

    app = FastAPI()
    async with lifespan(AsyncCache(), inner=inner)(app) as state:
        assert state == {"answer": 42}


async def test_blocking_endpoints_are_counted_in_their_threads(blocking_engine: Engine) -> None:
    cache = Cache()
    app = FastAPI(lifespan=lifespan(cache, blocking_engine))
    app.add_middleware(cast("Any", CacheMiddleware), cache=cache, honour_no_cache=True)

    @app.get("/reads")
    def reads() -> str | None:
        with Session(blocking_engine) as session:
            return session.scalar(select(Product.name).where(Product.id == 1).options(cached()))

    async with serving(app) as client:
        answers = [await client.get("/reads"), await client.get("/reads")]
        asked = await client.get("/reads", headers={"Cache-Control": "no-cache"})
    assert ["hit" in each.headers["cache-status"] for each in answers] == [False, True]
    assert asked.headers["cache-status"] == "rowstamp; fwd=request"


async def test_what_is_not_a_cache_is_refused_at_once() -> None:
    wrong: Any = "redis://localhost"
    with pytest.raises(ConfigurationError, match="redis://localhost"):
        lifespan(wrong)
    with pytest.raises(ConfigurationError, match="redis://localhost"):
        CacheMiddleware(cast("Any", None), cache=wrong)


async def test_an_application_without_the_lifespan_is_told_so() -> None:
    app = FastAPI()

    @app.get("/")
    async def nothing(used: Annotated[AsyncCache, Depends(cache_of)]) -> None: ...

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        with pytest.raises(ConfigurationError, match="lifespan"):
            await client.get("/")
