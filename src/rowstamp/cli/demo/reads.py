"""The shop's queries, as an application would write them; nothing in them knows of the cache but two ``cached(...)``."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Select, desc, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from rowstamp import cached
from rowstamp.cli.demo.build import CLOSED
from rowstamp.cli.demo.choices import Choices
from rowstamp.cli.demo.models import Category, Customer, Item, Order, Product
from rowstamp.cli.demo.verify import (
    ANY_PRODUCT,
    ORDERS,
    SEVERAL_PRODUCTS,
    Fact,
    Name,
    orders_of,
    version_of,
    writes_to,
)

__all__ = ["READS", "READ_SUMS", "Read", "Request", "category_page"]

PAGE: Final = 20

Request = Callable[[AsyncSession], Awaitable[object]]
"""One read with its parameters; called again, it asks for the same."""


def _no_facts(_value: Any) -> Iterator[Fact]:
    return iter(())


@dataclass(frozen=True)
class Read:
    """A kind of read.

    Attributes:
        name: what the report calls it.
        weight: how often it is chosen, relative to the others.
        request: makes one of this kind.
        facts: the numbers in its answer that only grow.
        concerns: the numbers of which one grows with every write that the cache may take to concern it, given the request's
            parameters; ``None`` for reads that do not name their rows by a key.
    """

    name: str
    weight: float
    request: Callable[[Choices], Request]
    facts: Callable[[Any], Iterator[Fact]] = _no_facts
    concerns: Callable[..., Sequence[Name]] | None = None


# ----------------------------------------------------------------------------------------------------- lookup


async def _lookup(session: AsyncSession, *, product: int) -> Product:
    return await session.get_one(Product, product)


def _product_facts(product: Product) -> Iterator[Fact]:
    yield version_of(product.id), product.version


def _concerns_product(product: int) -> Sequence[Name]:
    # A bulk update of very many rows does not name each of them.
    return version_of(product), SEVERAL_PRODUCTS, ANY_PRODUCT


# ------------------------------------------------------------------------------------------------------ lists


def category_page(category: int, page: int) -> Select[Any]:
    """Return the query for a page of a category, cheapest products first."""
    return (
        select(Product)
        .where(Product.category_id == category, Product.active)
        .order_by(Product.price_cents, Product.id)
        .offset(page * PAGE)
        .limit(PAGE)
        .options(joinedload(Product.category))
    )


async def _list(session: AsyncSession, *, category: int, page: int) -> Sequence[Product]:
    return (await session.scalars(category_page(category, page))).all()


def _concerns_category(category: int, page: int) -> Sequence[Name]:  # noqa: ARG001 - pages of one category share their key
    return writes_to(category), ANY_PRODUCT


async def _search(session: AsyncSession, *, word: str) -> Sequence[Product]:
    found = select(Product).where(Product.name.like(f"%{word}%")).order_by(Product.price_cents, Product.id).limit(PAGE)
    return (await session.scalars(found)).all()


def _products_facts(products: Sequence[Product]) -> Iterator[Fact]:
    return itertools.chain.from_iterable(map(_product_facts, products))


# --------------------------------------------------------------------------------------------------- customer


async def _customer(session: AsyncSession, *, customer: int) -> Customer:
    """Load a customer, the orders when they are touched, their items with them, and each item's product."""
    found = await session.get_one(Customer, customer)
    await found.awaitable_attrs.orders
    return found


def _customer_facts(customer: Customer) -> Iterator[Fact]:
    yield orders_of(customer.id), len(customer.orders)
    for order in customer.orders:
        for item in order.items:
            yield from _product_facts(item.product)


# ------------------------------------------------------------------------------------------------- aggregates


async def _revenue(session: AsyncSession) -> Sequence[Any]:
    total = func.sum(Item.quantity * Item.price_cents).label("revenue")
    statement = (
        select(Category.name, total, func.count(Item.id).label("sold"))
        .join(Product, Product.category_id == Category.id)
        .join(Item, Item.product_id == Product.id)
        .join(Order, Order.id == Item.order_id)
        .where(Order.placed_at >= CLOSED - datetime.timedelta(days=90))
        .group_by(Category.id, Category.name)
        .order_by(desc(total), Category.name)
        .limit(PAGE)
    )
    return (await session.execute(statement)).all()


async def _top_products(session: AsyncSession, *, category: int) -> Sequence[Any]:
    sold = func.sum(Item.quantity).label("sold")
    statement = (
        select(Product.id, Product.name, sold)
        .join(Item, Item.product_id == Product.id)
        .where(Product.category_id == category)
        .group_by(Product.id, Product.name)
        .order_by(desc(sold), Product.id)
        .limit(10)
        .options(cached(ttl=60, tags=["home"]))
    )
    return (await session.execute(statement)).all()


_DASHBOARD: Final = (
    select(func.count()).select_from(Order),
    select(func.count()).select_from(Customer),
    select(func.count()).select_from(Product).where(Product.stock == 0),
    select(Order.status, func.count()).group_by(Order.status).order_by(Order.status),
)


async def _dashboard(session: AsyncSession) -> Sequence[Any]:
    return [(await session.execute(statement.options(cached(ttl=30)))).all() for statement in _DASHBOARD]


def _dashboard_facts(counts: Sequence[Any]) -> Iterator[Fact]:
    yield ORDERS, counts[0][0][0]


READS: Final = (
    Read(
        "lookup by primary key",
        48,
        lambda pick: partial(_lookup, product=pick.product()),
        _product_facts,
        _concerns_product,
    ),
    Read(
        "page of a category",
        24,
        lambda pick: partial(_list, category=pick.category(), page=pick.page()),
        _products_facts,
        _concerns_category,
    ),
    Read("customer with orders", 15, lambda pick: partial(_customer, customer=pick.customer()), _customer_facts),
    Read("search (LIKE)", 5, lambda pick: partial(_search, word=pick.word()), _products_facts),
    Read("dashboard (4 counts)", 3, lambda _pick: _dashboard, _dashboard_facts),
    Read("top products of a category", 4, lambda pick: partial(_top_products, category=pick.category())),
    Read("revenue per category", 1, lambda _pick: _revenue),
)
"""What a shop asks its database, with about the frequencies of its pages."""

READ_SUMS: Final = tuple(itertools.accumulate(read.weight for read in READS))
