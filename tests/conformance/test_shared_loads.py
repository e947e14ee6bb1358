"""Who waits for another's load gets its result only under equal stamps: never data older than its own begin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, cached
from rowstamp.stampede import Flight
from tests.conformance.models import Base, Tag

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
