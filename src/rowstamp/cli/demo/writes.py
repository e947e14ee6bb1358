"""The shop's write transactions: single rows, bulk, inserts and raw SQL."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from rowstamp.cli.demo.build import CLOSED
from rowstamp.cli.demo.choices import Choices
from rowstamp.cli.demo.models import PREFIX, Category, Item, Order, Product
from rowstamp.cli.demo.verify import (
    ANY_PRODUCT,
    ORDERS,
    SEVERAL_PRODUCTS,
    Growth,
    orders_of,
    version_of,
    writes_to,
)

__all__ = ["WRITES", "WRITE_SUMS", "Write"]

_PLACED: Final = CLOSED + datetime.timedelta(days=1)


@dataclass(frozen=True)
class Write:
    """A kind of write transaction.

    Attributes:
        name: what the report calls it.
        weight: how often it is chosen, relative to the others.
        run: does it, but for the commit; returns what will have grown once it is committed.
    """

    name: str
    weight: float
    run: Callable[[AsyncSession, Choices], Awaitable[list[Growth]]]


async def _reprice(session: AsyncSession, pick: Choices) -> list[Growth]:
    product = await session.get_one(Product, pick.product())
    product.price_cents = pick.rng.randint(199, 49_999)
    return await _next_version(session, product)


async def _restock(session: AsyncSession, pick: Choices) -> list[Growth]:
    product = await session.get_one(Product, pick.product(), with_for_update=True)
    product.stock = pick.rng.randint(0, 500)
    return await _next_version(session, product)


async def _next_version(session: AsyncSession, product: Product) -> list[Growth]:
    # Computed by the database: another writer may have gone first since the row was read.
    product.version = Product.version + 1
    await session.flush()
    await session.refresh(product, ["version"])
    return [Growth(version_of(product.id), to=product.version), Growth(writes_to(product.category_id), by=1)]


async def _raise_prices(session: AsyncSession, pick: Choices) -> list[Growth]:
    """Raise the prices of a category; its row is locked first, for two such updates could meet in a deadlock."""
    category = await session.get_one(Category, pick.category(), with_for_update=True)
    affected = Product.category_id == category.id
    await session.execute(
        update(Product).where(affected).values(price_cents=Product.price_cents + 1, version=Product.version + 1)
    )
    versions = await session.execute(select(Product.id, Product.version).where(affected))
    grown = [Growth(version_of(product), to=version) for product, version in versions]
    return [*grown, Growth(writes_to(category.id), by=1), Growth(SEVERAL_PRODUCTS, by=1)]


async def _order(session: AsyncSession, pick: Choices) -> list[Growth]:
    customer = pick.customer()
    chosen = sorted({pick.product() for _ in range(pick.rng.randint(1, 4))})
    items = [Item(product_id=product, quantity=1, price_cents=pick.rng.randint(199, 49_999)) for product in chosen]
    session.add(Order(customer_id=customer, status="paid", placed_at=_PLACED, items=items))
    await session.flush()
    return [Growth(ORDERS, by=1), Growth(orders_of(customer), by=1)]


_RESERVE: Final = text(f"UPDATE {PREFIX}products SET stock = stock + 5, version = version + 1 WHERE id = :id")  # noqa: S608


async def _raw(session: AsyncSession, pick: Choices) -> list[Growth]:
    product = pick.product()
    await session.execute(_RESERVE, {"id": product})
    version = await session.scalar(select(Product.version).where(Product.id == product))
    return [Growth(version_of(product), to=version or 0), Growth(ANY_PRODUCT, by=1)]


WRITES: Final = (
    Write("new price (ORM)", 35, _reprice),
    Write("new stock (ORM, row locked)", 20, _restock),
    Write("new order with items (ORM)", 25, _order),
    Write("raise a category's prices (bulk)", 8, _raise_prices),
    Write("more stock (raw SQL)", 12, _raw),
)
"""How a shop changes its database."""

WRITE_SUMS: Final = tuple(itertools.accumulate(write.weight for write in WRITES))
