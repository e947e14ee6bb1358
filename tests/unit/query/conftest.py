"""A database, a cache attached to it, and a function to call."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.orm import Session

from rowstamp import Cache
from rowstamp.stores.memory import MemoryStore
from tests.unit.query_models import Category, CategoryStats, Product, Runs, User, fill


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        fill(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def cache(engine: Engine) -> Iterator[Cache]:
    store = MemoryStore()
    with Cache(store) as cache:
        cache.attach(engine)
        with Session(engine) as session:
            session.execute(select(User.id).limit(1), execution_options={"rowstamp": True})
        yield cache
    store.check()


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def stats_of(cache: Cache, runs: Runs) -> Any:
    @cache.query(ttl=60)
    def category_stats(session: Session, category_id: int) -> CategoryStats:
        runs.number += 1
        name = session.scalars(select(Category.name).where(Category.id == category_id)).one()
        number = session.scalar(select(func.count(Product.id)).where(Product.category_id == category_id)) or 0
        return CategoryStats(name, number, Decimal("1.50"))

    return category_stats
