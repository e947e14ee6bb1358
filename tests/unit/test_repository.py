"""Repositories: what each method reads and writes, and that reads are served until a commit changes them."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Select, create_engine, event, select
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, selectinload, sessionmaker

from rowstamp import AsyncCache, Cache, ConfigurationError
from rowstamp.repository import AsyncRepository, Repository
from tests.unit.query_models import Category, Product, User, fill


class Products(Repository[Product]):
    ttl = 60
    tags = ("products",)


class AsyncProducts(AsyncRepository[Product]):
    pass


class Stocked(Repository[Product]):
    """Those in stock only."""

    def statement(self) -> Select[Any]:
        return super().statement().where(Product.stock > 2).options(selectinload(Product.category))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        fill(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def cache(engine: Engine) -> Iterator[Cache]:
    with Cache() as cache:
        cache.attach(engine)
        yield cache


@pytest.fixture
def sent(engine: Engine) -> list[str]:
    """The statements that reach the database."""
    statements: list[str] = []

    def executed(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        if not context.execution_options.get("rowstamp_hit"):
            statements.append(statement)

    event.listen(engine, "after_cursor_execute", executed)
    return statements


@pytest.fixture
def make(engine: Engine, cache: Cache) -> Any:
    return sessionmaker(engine)


READS: list[Any] = [
    lambda repository: repository.get(1).name,
    lambda repository: {key: found.name for key, found in repository.get_many([3, 1, 99]).items()},
    lambda repository: repository.get_by(name="atlas").id,
    lambda repository: repository.get_by(name="nothing"),
    lambda repository: [
        found.id for found in repository.list(Product.stock > 1, order_by=Product.stock.desc(), limit=2)
    ],
    lambda repository: [found.id for found in repository.list(offset=1)],
    lambda repository: repository.count(Product.category_id == 7),
    lambda repository: repository.exists(Product.name == "chess"),
    lambda repository: [found.id for found in repository.page(size=2, number=2).items],
]
RESULTS: list[Any] = ["atlas", {3: "chess", 1: "atlas"}, 1, None, [3, 1], [2, 3], 2, True, [3]]


@pytest.mark.parametrize(("read", "result"), list(zip(READS, RESULTS, strict=True)), ids=range(len(READS)))
def test_reads_are_served_until_a_commit_or_their_tag_ends_them(
    make: Any, sent: list[str], cache: Cache, read: Any, result: Any
) -> None:
    for _ in range(3):
        with make() as session:
            assert read(Products(session)) == result
    once = len(sent)
    assert once in {1, 2}
    with make() as session:
        assert read(Products(session)) == result
    assert len(sent) == once
    cache.invalidate(tags=["products"])
    with make() as session:
        assert read(Products(session)) == result
    assert len(sent) == 2 * once


def test_a_commit_is_seen(make: Any) -> None:
    with make() as session:
        repository = Products(session)
        assert repository.count() == 3
        assert [each.id for each in repository.list(Product.category_id == 7)] == [1, 2]
        repository.add(Product(id=9, name="new", category_id=7))
        session.commit()
    with make() as session:
        repository = Products(session)
        assert repository.count() == 4
        assert [each.id for each in repository.list(Product.category_id == 7)] == [1, 2, 9]


def test_the_cache_can_be_left_out(make: Any, sent: list[str]) -> None:
    for _ in range(2):
        with make() as session:
            repository = Products(session)
            repository.get(1, use_cache=False)
            repository.list(use_cache=False)
            repository.count(use_cache=False)
    assert len(sent) == 6


def test_get_many_asks_for_what_the_session_lacks(make: Any, sent: list[str]) -> None:
    with make() as session:
        repository = Products(session)
        one = repository.get(1)
        found = repository.get_many([2, 1])
        assert found[1] is one
        assert list(found) == [2, 1]
        assert len(sent) == 2
        assert repository.get_many([1, 2]) == found
        assert len(sent) == 2


def test_get_by_of_several_is_an_error(make: Any) -> None:
    with make() as session, pytest.raises(MultipleResultsFound):
        Products(session).get_by(category_id=7)


def test_writes_go_through_the_session(make: Any) -> None:
    with make() as session:
        repository = Products(session)
        assert repository.add(Product(name="generated")).id == 4
        assert [each.id for each in repository.add_many([Product(name="a"), Product(name="b")])] == [5, 6]
        changed = repository.update(1, stock=10)
        assert changed is not None
        assert repository.update(changed, name="atlas II") is changed
        assert repository.update(99, stock=1) is None
        assert repository.delete(2)
        assert not repository.delete(2)
        with pytest.raises(TypeError, match="no attribute 'size'"):
            repository.update(1, size=1)
        session.rollback()
        assert repository.count() == 3


def test_upsert_inserts_and_updates(make: Any) -> None:
    with make() as session:
        repository = Products(session)
        assert repository.count() == 3
        assert repository.upsert({"id": 9, "name": "new", "stock": 1}).stock == 1
        loaded = repository.get(9)
        assert loaded is not None
        assert repository.upsert({"id": 9, "name": "newer", "stock": 2}) is loaded
        assert (loaded.name, loaded.stock) == ("newer", 2)
        session.commit()
        assert repository.count() == 4
        with pytest.raises(ConfigurationError, match="not a collection"):
            repository.upsert({"id": 9}, on="id")


def test_pages_by_cursor_go_through_all_in_order(make: Any) -> None:
    with make() as session:
        session.add_all(Product(id=number, name=f"p{number % 3}", stock=number % 2) for number in range(10, 30))
        session.commit()
        repository = Products(session)
        for order_by in ((), Product.name, Product.name.desc(), [Product.stock.desc(), Product.name]):
            expected = [each.id for each in repository.list(order_by=[*_listed(order_by), Product.id])]
            found: list[int] = []
            cursor = None
            while True:
                page = repository.page(order_by=order_by, size=4, after=cursor)
                found += [each.id for each in page.items]
                cursor = page.next
                if cursor is None:
                    break
            assert found == expected
        page = repository.page(size=10, number=2)
        assert (len(page.items), page.number, page.total) == (10, 2, 23)


def _listed(order_by: Any) -> list[Any]:
    return list(order_by) if isinstance(order_by, list | tuple) else [order_by]


def test_mistakes_in_paging_are_told(make: Any) -> None:
    with make() as session:
        repository = Products(session)
        cursor = repository.page(size=1).next
        mistakes: list[tuple[dict[str, Any], str]] = [
            ({"after": "nonsense"}, "no.? a cursor"),
            ({"after": cursor, "order_by": Product.name}, "another order"),
            ({"after": cursor, "number": 1}, "a cursor or a number"),
            ({"size": 0}, "count from 1"),
            ({"order_by": Product.category_id}, "never NULL"),
            ({"order_by": Product.stock + 1}, "attributes of the class"),
        ]
        for mistake, message in mistakes:
            with pytest.raises(ValueError, match=message):
                repository.page(**mistake)


def test_a_statement_of_its_own_decides_what_there_is(make: Any) -> None:
    with make() as session:
        repository = Stocked(session)
        assert [each.id for each in repository.list()] == [1, 3]
        assert (repository.count(), repository.get(2), repository.exists(Product.id == 2)) == (2, None, False)
        one = repository.get(1)
        assert one is not None
        assert one.category is not None
        assert one.category.name == "books"


def test_a_sessionmaker_gives_each_call_a_session_of_its_own(make: Any) -> None:
    repository = Products(make)
    added = repository.add(Product(name="new", stock=1))
    assert (added.id, added.name) == (4, "new")
    assert repository.count() == 4
    changed = repository.update(added, stock=7)
    assert changed is not None
    assert changed.stock == 7
    assert repository.delete(changed)
    assert repository.count() == 3


def test_a_repository_needs_a_mapped_class_and_an_attached_engine(make: Any, engine: Engine, cache: Cache) -> None:
    class Unfinished(Repository[Any]):
        pass

    with make() as session:
        with pytest.raises(ConfigurationError, match="has no model"):
            Unfinished(session)
        Products(session, cache=cache)
        Products(make, cache=cache)
    with pytest.raises(ConfigurationError, match="is not mapped"):
        types.new_class("Wrong", (Repository[int],))

    other = create_engine(engine.url)
    with Session(other) as session, pytest.raises(ConfigurationError, match="not attached"):
        Products(session, cache=cache)
    other.dispose()


def test_a_repository_in_a_cached_function(make: Any, cache: Cache) -> None:
    @cache.query()
    def summary(session: Session) -> dict[str, int]:
        return {"products": Products(session).count(), "users": len(session.scalars(select(User)).all())}

    with make() as session:
        assert summary(session) == summary(session) == {"products": 3, "users": 2}
    assert summary.stats().hits == 1
    with make() as session:
        Products(session).delete(1)
        session.commit()
        assert summary(session) == {"products": 2, "users": 2}


@pytest.fixture
async def async_engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'async.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(fill)
    yield engine
    await engine.dispose()


async def test_the_same_with_await(async_engine: AsyncEngine) -> None:
    async with AsyncCache() as cache:
        cache.attach(async_engine)
        async with AsyncSession(async_engine) as session:
            repository = AsyncProducts(session, cache=cache)
            one = await repository.get(1)
            assert one is not None
            assert list(await repository.get_many([2, 1])) == [2, 1]
            assert (await repository.get_by(name="atlas")) is one
            assert [each.id for each in await repository.list(Product.stock > 1)] == [1, 3]
            page = await repository.page(size=2)
            assert [each.id for each in (await repository.page(size=2, after=page.next)).items] == [3]
            assert (await repository.count(), await repository.exists(Product.id == 1)) == (3, True)
            added = await repository.add(Product(name="new"))
            assert await repository.update(added, stock=3) is added
            assert await repository.upsert({"id": added.id, "name": "newer", "stock": 4}) is added
            assert await repository.delete(added)
            await session.commit()
        own = AsyncProducts(async_sessionmaker(async_engine))
        added = await own.add(Product(name="own"))
        assert (await own.count(), added.name) == (4, "own")


def test_categories_with_all_their_products(make: Any) -> None:
    class Categories(Repository[Category]):
        def statement(self) -> Select[Any]:
            return super().statement().options(selectinload(Category.products))

    for _ in range(2):
        with make() as session:
            found = Categories(session).list()
            assert [len(each.products) for each in found] == [2, 1]
