"""What users see of the types. Nothing here runs more than once: mypy and pyright read it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import pytest

from rowstamp import AsyncCache, Cache
from rowstamp.repository import AsyncRepository, Page, Repository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from tests.unit.query_models import Product

pytestmark = pytest.mark.once


@dataclass
class Summary:
    number: int


def of_functions(cache: Cache, session: Session) -> None:
    @cache.query(ttl=60, tags=["home"])
    def summary(session: Session, category_id: int, *, deep: bool = False) -> Summary:
        return Summary(category_id + deep)

    assert_type(summary(session, 7), Summary)
    assert_type(summary(session, category_id=7, deep=True), Summary)
    assert_type(summary.refresh(session, 7), Summary)
    assert_type(summary.uncached(session, 7), Summary)
    assert_type(summary.key(7), str)
    assert_type(summary.stats().hits, int)
    summary(session, "7")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    summary(session)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def of_methods(cache: Cache) -> None:
    class Shop:
        @cache.query()
        def summary(self, category_id: int) -> Summary | None:
            return Summary(category_id)

    assert_type(Shop().summary(7), Summary | None)
    assert_type(Shop().summary.refresh(7), Summary | None)
    assert_type(Shop.summary(Shop(), 7), Summary | None)
    Shop().summary("7")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def of_coroutines(cache: AsyncCache, session: AsyncSession) -> None:
    @cache.query()
    async def summary(session: AsyncSession, category_id: int) -> list[Summary]:
        return [Summary(category_id)]

    class Shop:
        @cache.query()
        async def summary(self, category_id: int) -> Summary:
            return Summary(category_id)

    assert_type(await summary(session, 7), list[Summary])
    assert_type(await summary.refresh(session, 7), list[Summary])
    assert_type(await Shop().summary(7), Summary)
    assert_type(await summary.invalidate(7), None)
    await summary(session, "7")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def of_values(cache: Cache) -> None:
    def load() -> dict[str, int]:
        return {}

    assert_type(cache.get_or_load("rates", load), dict[str, int])
    assert_type(cache.get("rates", as_=int), int | None)
    assert_type(cache.get("rates", "none", as_=int), int | str)
    assert_type(cache.touch("rates", 5), bool)


async def of_awaited_values(cache: AsyncCache) -> None:
    async def load() -> dict[str, int]:
        return {}

    assert_type(await cache.get_or_load("rates", load), dict[str, int])
    assert_type(await cache.get("rates", as_=int), int | None)


def of_repositories(session: Session, product: Product) -> None:
    class Products(Repository["Product"]):
        pass

    repository = Products(session)
    assert_type(repository.get(1), "Product | None")
    assert_type(repository.get_many([1]), "dict[Any, Product]")
    assert_type(repository.list(), "Sequence[Product]")
    assert_type(repository.page(), "Page[Product]")
    assert_type(repository.page().items, "Sequence[Product]")
    assert_type(repository.add(product), "Product")
    assert_type(repository.count(), int)
    repository.add(Summary(1))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def of_awaited_repositories(session: AsyncSession) -> None:
    class Products(AsyncRepository["Product"]):
        pass

    repository = Products(session)
    assert_type(await repository.get(1), "Product | None")
    assert_type(await repository.list(), "Sequence[Product]")
    assert_type(await repository.exists(), bool)


HERE = Path(__file__).resolve()
_ = (Any, Sequence, Page)


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.timeout(300)
def test_the_type_checker_agrees(checker: str) -> None:
    command = [sys.executable, "-m", checker, str(HERE)]
    if checker == "pyright":
        command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[2], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
