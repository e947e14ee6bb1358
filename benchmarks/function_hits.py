"""Hits of cached functions: what they cost beyond the bare call.

Run it as ``python benchmarks/function_hits.py``. Each round measures every case once, one after the other, so that whatever else the
machine does falls on all of them alike; the medians of the rounds are compared. Times are those of the thread on its processor. The bare call is the function itself, which does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache

CALLS = 2000


@dataclass(frozen=True)
class Summary:
    """A result that nobody can change."""

    name: str
    count: int


def sync_cases(store: str, folder: Path) -> dict[str, Callable[[], Any]]:
    engine = create_engine(f"sqlite:///{folder}/sync.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY)"))
    cache = Cache(store, namespace="sync", ttl=3600)
    cache.attach(engine)
    session, busy = Session(engine), Session(engine)

    def bare(_session: Session, number: int) -> Summary:
        return Summary("thing", number)

    @cache.query()
    def plain(session: Session, number: int) -> Summary:
        session.execute(text("SELECT count(*) FROM things")).scalar()
        return Summary("thing", number)

    @cache.query()
    def listing(session: Session, number: int) -> list[int]:
        session.execute(text("SELECT count(*) FROM things")).scalar()
        return [number] * 10

    def load() -> int:
        return 7

    plain(session, 7)
    listing(session, 7)
    session.close()
    busy.execute(text("SELECT 1")).all()
    return {
        "bare call": lambda: bare(session, 7),
        "query": lambda: plain(session, 7),
        "query, list": lambda: listing(session, 7),
        "query, in a transaction": lambda: plain(busy, 7),
        "get_or_load": lambda: cache.get_or_load("number", load),
    }


async def async_cases(store: str, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/async.db")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY)"))
    cache = AsyncCache(store, namespace="async", ttl=3600)
    cache.attach(engine)
    session = AsyncSession(engine)

    async def bare(_session: AsyncSession, number: int) -> Summary:
        return Summary("thing", number)

    @cache.query()
    async def plain(session: AsyncSession, number: int) -> Summary:
        (await session.execute(text("SELECT count(*) FROM things"))).scalar()
        return Summary("thing", number)

    async def load() -> int:
        return 7

    await plain(session, 7)
    await session.close()
    return {
        "awaited bare call": lambda: bare(session, 7),
        "awaited query": lambda: plain(session, 7),
        "awaited get_or_load": lambda: cache.get_or_load("number", load),
    }


def timed(call: Callable[[], Any]) -> float:
    started = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - started) / CALLS * 1e6


async def timed_async(call: Callable[[], Awaitable[Any]]) -> float:
    started = time.thread_time()
    for _ in range(CALLS):
        await call()
    return (time.thread_time() - started) / CALLS * 1e6


async def measure(store: str, rounds: int, folder: Path) -> Mapping[str, float]:
    sync, awaited = sync_cases(store, folder), await async_cases(store, folder)
    times: dict[str, list[float]] = {name: [] for name in (*sync, *awaited)}
    for _ in range(rounds):
        for name, call in sync.items():
            times[name].append(timed(call))
        for name, call_async in awaited.items():
            times[name].append(await timed_async(call_async))
    return {name: statistics.median(values) for name, values in times.items()}


def report(store: str, medians: Mapping[str, float]) -> None:
    print(f"{store:<36}{'µs':>9}{'beyond':>9}{'ratio':>9}")
    for name, value in medians.items():
        bare = medians["awaited bare call" if name.startswith("awaited") else "bare call"]
        print(f"  {name:<34}{value:>9.2f}{value - bare:>9.2f}{value / bare:>9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Hits of cached functions, beside the bare call.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--stores", nargs="*", default=["memory://", "lmdb"], help="URLs; lmdb is one in a temporary folder"
    )
    options = parser.parse_args()
    for store in options.stores:
        with tempfile.TemporaryDirectory() as folder:
            url = f"lmdb://{folder}/cache" if store == "lmdb" else store
            report(store, asyncio.run(measure(url, options.rounds, Path(folder))))


if __name__ == "__main__":
    main()
