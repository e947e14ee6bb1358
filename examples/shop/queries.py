"""The shop's reads: the six parts of the recipe, each where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop.database import cache
from examples.shop.models import Category, Order, Product
from rowstamp import AsyncRepository, cached

__all__ = ["HOME", "BestSeller", "CategoryStats", "ProductOut", "Products", "best_sellers", "category_stats", "home"]

HOME = "home"
"""The tag of everything on the home page."""


class ProductOut(BaseModel):
    """A product as the application shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    sku: str
    name: str
    price: Decimal
    stock: int
    category_id: int


class CategoryStats(BaseModel):
    """Figures of one category."""

    category_id: int
    products: int
    pieces_in_stock: int
    highest_price: Decimal | None


class BestSeller(BaseModel):
    """How often a product was sold."""

    product_id: int
    name: str
    pieces: int


class Products(AsyncRepository[Product]):
    """Products by key, by unique attribute, by page. What it reads is cached for ten minutes."""

    ttl = 600


async def home(session: AsyncSession) -> Sequence[Product]:
    """Return the ten cheapest products in stock: one statement, cached because it says so."""
    statement = (
        select(Product)
        .where(Product.stock > 0)
        .order_by(Product.price, Product.id)
        .limit(10)
        .options(cached(ttl=60, tags=[HOME]))
    )
    return (await session.scalars(statement)).all()


def of_category(category_id: int) -> list[str]:
    """Return the tags of everything about one category."""
    return [f"category:{category_id}"]


@cache.query(ttl=3600, tags=of_category)
async def category_stats(session: AsyncSession, category_id: int) -> CategoryStats | None:
    """Return figures of a category: a whole function, cached with what it read. ``None`` if there is no such category."""
    if await session.get(Category, category_id) is None:
        return None
    row = (
        await session.execute(
            select(func.count(), func.coalesce(func.sum(Product.stock), 0), func.max(Product.price)).where(
                Product.category_id == category_id
            )
        )
    ).one()
    return CategoryStats(category_id=category_id, products=row[0], pieces_in_stock=row[1], highest_price=row[2])


@cache.query(ttl=600)
async def best_sellers(session: AsyncSession, limit: int = 5) -> list[BestSeller]:
    """Return what was sold most: an aggregate over a join."""
    pieces = func.sum(Order.pieces)
    rows = await session.execute(
        select(Product.id, Product.name, pieces)
        .join(Order, Order.product_id == Product.id)
        .group_by(Product.id, Product.name)
        .order_by(pieces.desc(), Product.id)
        .limit(limit)
    )
    return [BestSeller(product_id=number, name=name, pieces=sold) for number, name, sold in rows]
