"""Hits of entities in sessions: what they cost beside the query itself, on a private PostgreSQL through its socket.

Run it as ``python benchmarks/entity_hits.py``. Each round measures every case once, one after the other, so that whatever else the
machine does falls on all of them alike; ratios are medians of the ratios within a round. A read is what an application does: open a
session, ask for entities, close it. The uncached reads go through an engine that no cache is attached to.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Numeric, Select, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rowstamp import AsyncCache, Cache, cached
from rowstamp.testing.servers import PostgresServer

READS = 200


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    category_id: Mapped[int] = mapped_column(index=True)
    name: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    stock: Mapped[int]


STATEMENTS: Mapping[str, Select[tuple[Product]]] = {
    "1 row": select(Product).where(Product.id == 7),
    "100 rows": select(Product).where(Product.category_id == 7),
}


def fill(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            Product(id=number, category_id=number // 100, name=f"product {number}", price=Decimal("9.95"), stock=number)
            for number in range(10_000)
        )
        session.commit()


def sync_cases(url: str, store: str) -> dict[str, Callable[[], Any]]:
    bare, engine = create_engine(url), create_engine(url)
    cache = Cache(store, namespace="sync", ttl=3600)
    cache.attach(engine)

    def read(target: Engine, statement: Select[tuple[Product]]) -> None:
        with Session(target) as session:
            session.scalars(statement).all()

    cases: dict[str, Callable[[], Any]] = {}
    for name, statement in STATEMENTS.items():
        kept = statement.options(cached())
        cases[f"query, {name}"] = lambda statement=statement: read(bare, statement)
        cases[f"hit, {name}"] = lambda statement=kept: read(engine, statement)
    return cases


def async_cases(url: str, store: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    bare, engine = create_async_engine(url), create_async_engine(url)
    cache = AsyncCache(store, namespace="async", ttl=3600)
    cache.attach(engine)

    async def read(target: Any, statement: Select[tuple[Product]]) -> None:
        async with AsyncSession(target) as session:
            (await session.scalars(statement)).all()

    cases: dict[str, Callable[[], Awaitable[Any]]] = {}
    for name, statement in STATEMENTS.items():
        kept = statement.options(cached())
        cases[f"query, {name}"] = lambda statement=statement: read(bare, statement)
        cases[f"hit, {name}"] = lambda statement=kept: read(engine, statement)
    return cases


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    for _ in range(READS):
        call()
    return (time.perf_counter() - started) / READS * 1e6


async def timed_async(call: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    for _ in range(READS):
        await call()
    return (time.perf_counter() - started) / READS * 1e6


async def measure(server: PostgresServer, store: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    sync, awaited = sync_cases(server.url("psycopg"), store), async_cases(server.url("asyncpg"), store)
    times: dict[str, dict[str, list[float]]] = {
        "Session, psycopg": {name: [] for name in sync},
        "AsyncSession, asyncpg": {name: [] for name in awaited},
    }
    for _ in range(rounds + 1):
        for name, call in sync.items():
            times["Session, psycopg"][name].append(timed(call))
        for name, call_async in awaited.items():
            times["AsyncSession, asyncpg"][name].append(await timed_async(call_async))
    return {driver: {name: values[1:] for name, values in cases.items()} for driver, cases in times.items()}


def report(store: str, times: Mapping[str, Mapping[str, list[float]]]) -> None:
    print(f"{store:<36}{'query µs':>10}{'hit µs':>10}{'hit / query':>13}")
    for driver, cases in times.items():
        for name in STATEMENTS:
            query, hit = cases[f"query, {name}"], cases[f"hit, {name}"]
            ratio = statistics.median(ours / bare for ours, bare in zip(hit, query, strict=True))
            print(
                f"  {driver + ', ' + name:<34}{statistics.median(query):>10.0f}{statistics.median(hit):>10.0f}{ratio:>13.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Hits of entities in sessions, beside the query.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--stores", nargs="*", default=["memory://", "lmdb"], help="URLs; lmdb is one in a temporary folder"
    )
    options = parser.parse_args()
    with PostgresServer() as server:
        fill(create_engine(server.url("psycopg")))
        for store in options.stores:
            with tempfile.TemporaryDirectory() as folder:
                url = f"lmdb://{Path(folder) / 'cache'}" if store == "lmdb" else store
                report(store, asyncio.run(measure(server, url, options.rounds)))


if __name__ == "__main__":
    main()
