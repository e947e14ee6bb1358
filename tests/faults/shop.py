"""Readers and writers on SQLite through a cache, and the faults that befall their store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

import redis
from sqlalchemy import create_engine, select, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rowstamp import AsyncCache, Cache, cached
from rowstamp.testing.servers import ValkeyServer
from tests.faults.figures import Load
from tests.faults.proxy import Proxy


class StaleRead(AssertionError):
    """A read was served a version older than one committed before it began."""


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


STOCK = select(Product.stock).where(Product.id == 1).options(cached())
OPTIONS = {"timeout_ms": 100, "connect_timeout_ms": 200}

HOLD_TTL = 2.0
"""A hold that a stopped server carries out later, when its writer has long given up, ends by itself only."""


class Shop:
    """One cache, one writer, and readers that know what they may not be told any more."""

    def __init__(self, url: str, database: str) -> None:
        self.engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 30})
        Base.metadata.create_all(self.engine)
        with Session(self.engine) as session:
            session.merge(Product(id=1, stock=0))
            session.commit()
        self.cache = Cache(url, hold_ttl=HOLD_TTL)
        self.cache.attach(self.engine)
        self.committed = 0

    def close(self) -> None:
        self.cache.close()
        self.engine.dispose()

    def read(self) -> int:
        """Read the stock, and see that it is no older than what was committed when the read began."""
        least = self.committed
        with Session(self.engine) as session:
            found = session.scalars(STOCK).one()
        if found < least:
            raise StaleRead(found, least)
        return found

    def read_uncached(self) -> int:
        """Read the stock without the cache."""
        with Session(self.engine, info={"rowstamp": False}) as session:
            return session.scalars(STOCK).one()

    def write(self) -> None:
        with Session(self.engine) as session:
            session.execute(update(Product).where(Product.id == 1).values(stock=self.committed + 1))
            session.commit()
        self.committed += 1

    def hits(self) -> bool:
        """Whether a read is a hit."""
        before = self.cache.stats().hits
        self.read()
        return self.cache.stats().hits > before

    def recover(self, seconds: float = 10, load: Load | None = None) -> None:
        """Read until a read is a hit again, for so many seconds at most."""
        deadline = time.monotonic() + seconds
        while not self.hits():
            assert time.monotonic() < deadline, "the cache did not come back"
        if load is not None:
            load.hit()


@contextlib.contextmanager
def shop(url: str, database: str) -> Generator[Shop]:
    opened = Shop(url, database)
    try:
        yield opened
    finally:
        opened.close()


def under_load(shop: Shop, fault: Callable[[], None], *, seconds: float = 0.3) -> Load:
    """Let readers and a writer work while a fault happens; return what they met."""
    stop, errors, load = threading.Event(), list[BaseException](), Load()

    def work(action: Callable[[], object], pause: float, took: list[float]) -> None:
        try:
            while not stop.wait(pause):
                begin = time.perf_counter()
                action()
                took.append(time.perf_counter() - begin)
        except BaseException as exc:  # noqa: BLE001 - raised by the thread that started this one
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(shop.read, 0.0005, load.reads)) for _ in range(3)]
    threads.append(threading.Thread(target=work, args=(shop.write, 0.02, list[float]())))
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    try:
        fault()
        load.over()
        before = shop.cache.stats().hits
        while not stop.wait(0.01) and time.monotonic() < load.fault_ended + seconds:
            if shop.cache.stats().hits > before:
                load.hit()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    return load


class AsyncShop:
    """The same with a store that is awaited."""

    def __init__(self, url: str, database: str) -> None:
        self.engine = create_async_engine(f"sqlite+aiosqlite:///{database}", connect_args={"timeout": 30})
        self.cache = AsyncCache(url, hold_ttl=HOLD_TTL)
        self.committed = 0

    async def __aenter__(self) -> Self:
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(self.engine) as session:
            await session.merge(Product(id=1, stock=0))
            await session.commit()
        self.cache.attach(self.engine)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cache.aclose()
        await self.engine.dispose()

    async def read(self) -> int:
        least = self.committed
        async with AsyncSession(self.engine) as session:
            found = (await session.scalars(STOCK)).one()
        if found < least:
            raise StaleRead(found, least)
        return found

    async def write(self) -> None:
        async with AsyncSession(self.engine) as session:
            await session.execute(update(Product).where(Product.id == 1).values(stock=self.committed + 1))
            await session.commit()
        self.committed += 1

    async def hits(self) -> bool:
        before = self.cache.stats().hits
        await self.read()
        return self.cache.stats().hits > before

    async def recover(self, seconds: float = 10, load: Load | None = None) -> None:
        deadline = time.monotonic() + seconds
        while not await self.hits():
            assert time.monotonic() < deadline, "the cache did not come back"
        if load is not None:
            load.hit()

    async def under_load(self, fault: Callable[[], None], *, seconds: float = 0.3) -> Load:
        stopping, load = False, Load()

        async def work(action: Callable[[], Awaitable[object]], pause: float, took: list[float]) -> None:
            while not stopping:
                begin = time.perf_counter()
                await action()
                took.append(time.perf_counter() - begin)
                await asyncio.sleep(pause)

        tasks = [asyncio.ensure_future(work(self.read, 0.0005, load.reads)) for _ in range(5)]
        tasks.append(asyncio.ensure_future(work(self.write, 0.02, [])))
        await asyncio.wait(tasks, timeout=seconds)
        await asyncio.to_thread(fault)
        load.over()
        before = self.cache.stats().hits
        while time.monotonic() < load.fault_ended + seconds and not any(task.done() for task in tasks):
            if self.cache.stats().hits > before:
                load.hit()
            await asyncio.wait(tasks, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
        stopping = True
        await asyncio.gather(*tasks)
        return load


# ------------------------------------------------------------------------------------------------------ faults

Fault = Callable[[ValkeyServer, Proxy], None]


def killed_and_restarted_empty(server: ValkeyServer, _: Proxy) -> None:
    server.kill()
    server.start()


def restarted_with_old_data(server: ValkeyServer, _: Proxy) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.save()
    pause()
    server.kill()
    pause()
    server.start()


def stopped_and_continued(server: ValkeyServer, _: Proxy) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    pause()
    os.kill(server.pid, signal.SIGCONT)


def cut(_: ValkeyServer, proxy: Proxy) -> None:
    for _round in range(10):
        proxy.cut()
        pause(0.02)


def cut_in_the_middle_of_replies(_: ValkeyServer, proxy: Proxy) -> None:
    for length in (1, 3, 17, 40, 200, 1000):
        proxy.cut_after = length
        pause(0.05)


def refused(_: ValkeyServer, proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()
    pause()
    proxy.refusing = False


def stalled(_: ValkeyServer, proxy: Proxy) -> None:
    proxy.stall()
    pause()
    proxy.resume()


def slow(_: ValkeyServer, proxy: Proxy) -> None:
    """Slower than the time budget, then a little slow."""
    proxy.delay = 0.15
    pause()
    proxy.delay = 0.02
    pause()
    proxy.delay = 0.0


def flushed(server: ValkeyServer, _: Proxy) -> None:
    with redis.Redis.from_url(server.url()) as client:
        for _round in range(10):
            client.flushall()
            client.script_flush()
            pause(0.02)


FAULTS: list[Fault] = [
    killed_and_restarted_empty,
    restarted_with_old_data,
    stopped_and_continued,
    cut,
    cut_in_the_middle_of_replies,
    refused,
    stalled,
    slow,
    flushed,
]


def pause(seconds: float = 0.4) -> None:
    """Let the fault last: the load runs in other threads and other tasks."""
    done: Any = threading.Event()
    done.wait(seconds)
