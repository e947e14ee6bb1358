"""The engine, the cache, and a session for each request. This is all the set-up there is."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from examples.shop.models import Base, Category, Product
from rowstamp import AsyncCache

__all__ = ["cache", "engine", "get_session", "prepare", "sessions"]

engine = create_async_engine(os.environ.get("SHOP_DATABASE", "sqlite+aiosqlite:///shop-example.db"))
sessions = async_sessionmaker(engine, expire_on_commit=False)

cache = AsyncCache(os.environ.get("SHOP_STORE", "memory://"), namespace="shop-example", ttl=300)
cache.policy(Category, ttl=3600)  # session.get(Category, …) and every select of categories alone


async def get_session() -> AsyncGenerator[AsyncSession]:
    """Yield a session for one request."""
    async with sessions() as session:
        yield session


async def prepare() -> None:
    """Create the tables, and fill them if they are empty."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions.begin() as session:
        if await session.scalar(select(func.count()).select_from(Category)):
            return
        names = ("Books", "Games", "Tools")
        session.add_all(Category(id=number, name=name) for number, name in enumerate(names, 1))
        await session.flush()
        session.add_all(
            Product(
                id=number,
                sku=f"SKU-{number:04}",
                name=f"{names[number % 3].removesuffix('s')} {number}",
                price=Decimal(5 + number % 40),
                stock=number % 9,
                category_id=number % 3 + 1,
            )
            for number in range(1, 301)
        )
