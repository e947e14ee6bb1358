"""What the README shows runs as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowstamp import AsyncRepository

README = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.once


class Base(DeclarativeBase):
    """The base of the README's models."""


class Category(Base):
    """A category."""

    __tablename__ = "readme_categories"

    id: Mapped[int] = mapped_column(primary_key=True)


class Product(Base):
    """The README's product."""

    __tablename__ = "readme_products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    category_id: Mapped[int] = mapped_column(ForeignKey("readme_categories.id"))


async def load_rates() -> dict[str, float]:
    """Return the exchange rates, from elsewhere."""
    return {"EUR": 1.0}


async def load_squares(numbers: list[int]) -> dict[int, int]:
    """Return the squares of numbers."""
    return {number: number * number for number in numbers}


async def test_the_snippets_run_one_after_the_other(tmp_path: Path) -> None:
    """Every Python block of the README, in its order, in one program."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    body = textwrap.indent("\n".join(blocks), "    ")
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        session.add_all([Category(id=7), Product(id=42, name="atlas", category_id=7)])
        await session.commit()
    names: dict[str, Any] = {
        "AsyncRepository": AsyncRepository,
        "AsyncSession": AsyncSession,
        "async_sessionmaker": async_sessionmaker,
        "func": func,
        "load_squares": load_squares,
        "Product": Product,
        "engine": engine,
        "load_rates": load_rates,
        "select": select,
    }
    exec(
        f"async def readme(session, conn):\n{body}\n    return cache, products, rows, found, rates, product, (count, old, squares)",
        names,
    )
    async with AsyncSession(engine) as session, engine.connect() as conn:
        cache, products, rows, found, rates, product, more = await names["readme"](session, conn)
        assert [each.name for each in products] == found == [row.name for row in rows] == ["atlas"]
        assert rates == {"EUR": 1.0}
        assert product.id == 42
        assert more == (1, 0, {1: 1, 2: 4, 3: 9})
    await cache.aclose()
    await engine.dispose()
