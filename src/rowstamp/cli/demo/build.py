"""Fill the shop: seeded rows, inserted in large batches."""

from __future__ import annotations

import datetime
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from rowstamp.cli.demo.models import Base, Category, Customer, Item, Order, Product
from rowstamp.cli.demo.settings import Settings

__all__ = ["CLOSED", "WORDS", "build", "rows_to_build"]

_BATCH: Final = 5_000
CLOSED: Final = datetime.datetime(2025, 6, 1, 12, 0, 0)  # noqa: DTZ001 - the shop's clock has no zone
"""When the shop's history ends and the demo begins."""
_MOST_ITEMS: Final = 4

_WORDS: Final = """
    amber ash basil birch brass cedar clay cobalt copper coral cork cotton crimson dune ember fern flint frost glass granite
    hazel indigo iron ivory jade jute larch lava linen maple marble meadow mint moss oak ochre olive onyx opal pearl pine plum
    quartz reed ruby rust sage sand satin slate steel stone teak timber umber velvet walnut willow wool zinc
"""
_THINGS: Final = """
    bag basket bench bowl chair clock cup desk frame jar kettle knife lamp mat mug pan pot rug shelf tray
"""
WORDS: Final = tuple(_WORDS.split())
"""The words that names of products are made of, and that the search looks for."""
THINGS: Final = tuple(_THINGS.split())
"""What the shop sells."""

Row = dict[str, Any]


def rows_to_build(settings: Settings) -> int:
    """Return about how many rows :func:`build` inserts, for a progress bar."""
    items = settings.orders * (1 + _MOST_ITEMS) // 2
    return settings.categories + settings.products + settings.customers + settings.orders + items


async def build(engine: AsyncEngine, settings: Settings, advance: Callable[[int], None]) -> Counter[int]:
    """Make the tables and fill them.

    Args:
        engine: a database without the tables.
        settings: sizes and seed.
        advance: told the number of rows of each batch.

    Returns:
        How many orders each customer has.
    """
    rng = random.Random(settings.seed)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, checkfirst=False)
    owners = [rng.randint(1, settings.customers) for _ in range(settings.orders)]
    tables: tuple[tuple[Any, Iterator[Row]], ...] = (
        (Category, _categories(settings)),
        (Product, _products(settings, rng)),
        (Customer, _customers(settings, rng)),
        (Order, _orders(owners, rng)),
        (Item, _items(settings, rng)),
    )
    async with engine.begin() as connection:
        for model, rows in tables:
            await _insert(connection, model.__table__, rows, advance)
        await _advance_sequences(connection)
    if engine.dialect.name in {"sqlite", "postgresql"}:
        async with engine.begin() as connection:
            for table in Base.metadata.sorted_tables:
                await connection.execute(text(f"ANALYZE {table.name}"))
    return Counter(owners)


async def _insert(connection: AsyncConnection, table: Any, rows: Iterable[Row], advance: Callable[[int], None]) -> None:
    statement = insert(table)
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _BATCH)):
        await connection.execute(statement, batch)
        advance(len(batch))


async def _advance_sequences(connection: AsyncConnection) -> None:
    """Let PostgreSQL's sequences go on behind the ids that were given."""
    if connection.dialect.name != "postgresql":
        return
    for table in Base.metadata.sorted_tables:
        last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT max(id) FROM {table.name}))"  # noqa: S608
        await connection.execute(text(last))


def _categories(settings: Settings) -> Iterator[Row]:
    for number in range(1, settings.categories + 1):
        thing = THINGS[number % len(THINGS)]
        yield {"id": number, "name": f"{thing} {number}"}


def _products(settings: Settings, rng: random.Random) -> Iterator[Row]:
    for number in range(1, settings.products + 1):
        first, second = rng.choice(WORDS), rng.choice(WORDS)
        yield {
            "id": number,
            "sku": f"P-{number:08}",
            "name": f"{first} {second} {rng.choice(THINGS)}",
            "category_id": 1 + number % settings.categories,
            "price_cents": rng.randint(199, 49_999),
            "stock": rng.randint(0, 500),
            "active": rng.random() < 0.95,
            "added_at": CLOSED - datetime.timedelta(minutes=rng.randint(0, 1_000_000)),
            "version": 1,
        }


def _customers(settings: Settings, rng: random.Random) -> Iterator[Row]:
    for number in range(1, settings.customers + 1):
        name = f"{rng.choice(WORDS)} {rng.choice(WORDS)}".title()
        joined = CLOSED.date() - datetime.timedelta(days=rng.randint(0, 3_000))
        yield {"id": number, "email": f"customer{number}@example.com", "name": name, "joined_on": joined}


def _orders(owners: list[int], rng: random.Random) -> Iterator[Row]:
    placed = CLOSED - datetime.timedelta(days=700)
    step = datetime.timedelta(days=700) / len(owners)
    for number, owner in enumerate(owners, start=1):
        placed += step
        status = rng.choice(("paid", "sent", "sent", "delivered", "delivered", "delivered"))
        yield {"id": number, "customer_id": owner, "status": status, "placed_at": placed.replace(microsecond=0)}


def _items(settings: Settings, rng: random.Random) -> Iterator[Row]:
    ids = itertools.count(1)
    for order in range(1, settings.orders + 1):
        for _ in range(rng.randint(1, _MOST_ITEMS)):
            yield {
                "id": next(ids),
                "order_id": order,
                "product_id": rng.randint(1, settings.products),
                "quantity": rng.randint(1, 3),
                "price_cents": rng.randint(199, 49_999),
            }
