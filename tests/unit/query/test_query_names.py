"""`@cache.query`: nested calls, tags, keys, methods, and mistakes."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, create_engine, func, select, update
from sqlalchemy.orm import Session

from rowstamp import Cache, ConfigurationError, UnsupportedArgument, cached
from rowstamp.stores.memory import MemoryStore
from tests.tricks import TrickStore
from tests.unit.query_models import Category, Product, Runs, fill


def test_what_an_inner_function_read_ends_the_outer_result_too(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query(tags=["inner"])
    def inner(session: Session, category_id: int) -> int:
        runs.number += 1
        return session.scalar(select(func.count(Product.id)).where(Product.category_id == category_id)) or 0

    @cache.query()
    def outer(session: Session) -> int:
        runs.number += 10
        return inner(session, 7) + inner(session, 8)

    with Session(engine) as session:
        inner(session, 7)
    assert runs.since() == 1
    with Session(engine) as session:
        assert outer(session) == outer(session) == 3
    assert runs.since() == 11
    with Session(engine) as session:
        session.add(Product(id=9, name="new", category_id=7))
        session.commit()
        assert outer(session) == 4
    assert runs.since() == 11, "the outer call, and the inner one whose category has a new product"
    cache.invalidate(tags=["inner"])
    with Session(engine) as session:
        assert outer(session) == 4
    assert runs.since() == 12


# ----------------------------------------------------------------------------------- tags, keys, invalidation


def test_tags_of_the_arguments_end_their_results_only(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query(tags=lambda category_id: [f"category:{category_id}"])
    def constant(category_id: int) -> int:
        runs.number += 1
        return category_id

    assert [constant(7), constant(8)] == [7, 8]
    runs.since()
    cache.invalidate(tags=["category:7"])
    assert [constant(7), constant(8)] == [7, 8]
    assert runs.since() == 1
    constant.invalidate(category_id=8)
    assert [constant(7), constant(8)] == [7, 8]
    assert runs.since() == 1
    constant.invalidate_all()
    assert [constant(7), constant(8)] == [7, 8]
    assert runs.since() == 2


def test_a_result_can_be_named_without_its_session(engine: Engine, stats_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        stats_of(session, 7)
        key = stats_of.key(session, 7)
        assert key == stats_of.key(7) == stats_of.key(category_id=7) != stats_of.key(8)
        stats_of.invalidate(category_id=7)
        stats_of(session, 7)
        stats_of.invalidate(7)
        stats_of(session, 7)
        stats_of.invalidate(session, 7)
        stats_of(session, 7)
        assert runs.since() == 4
        stats_of.uncached(session, 7)
        stats_of.refresh(session, 7)
        assert runs.since() == 2
        stats_of(session, 7)
        assert runs.since() == 0
    with pytest.raises(TypeError, match="'category_id' is missing"):
        stats_of.key()


def test_a_version_makes_another_key(cache: Cache) -> None:
    def one() -> int:
        return 1

    assert cache.query()(one).key() == cache.query()(one).key() != cache.query(key_version=2)(one).key()


def test_a_hit_of_an_inner_function_is_a_dependency_as_a_run_of_it_is(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def inner(session: Session, category_id: int) -> str | None:
        return session.scalar(select(Category.name).where(Category.id == category_id))

    @cache.query()
    def outer(session: Session) -> str | None:
        runs.number += 1
        return inner(session, 7)

    with Session(engine) as session:
        inner(session, 7)
    with Session(engine) as session:
        assert outer(session) == "books"
        assert inner.stats().hits == 1
    with Session(engine) as session:
        session.get_one(Category, 7).name = "novels"
        session.commit()
    with Session(engine) as session:
        assert outer(session) == "novels"
    assert runs.since() == 2


def test_a_statement_that_is_served_is_a_dependency_as_one_that_is_sent_is(
    engine: Engine, cache: Cache, runs: Runs
) -> None:
    statement = select(Category.name).where(Category.id == 7).options(cached(tags=["names"]))

    @cache.query()
    def name(session: Session) -> str | None:
        runs.number += 1
        return session.scalar(statement)

    with Session(engine) as session:
        session.scalar(statement)
    with Session(engine) as session:
        hits = cache.stats().hits
        assert name(session) == "books"
        assert cache.stats().hits == hits + 1
    cache.invalidate(tags=["names"])
    with Session(engine) as session:
        assert name(session) == "books"
    assert runs.since() == 2
    with Session(engine) as session:
        session.get_one(Category, 7).name = "novels"
        session.commit()
    with Session(engine) as session:
        assert name(session) == "novels"


def test_a_result_stored_before_the_function_had_a_tag_is_not_served_any_more(cache: Cache, runs: Runs) -> None:
    def one() -> int:
        runs.number += 1
        return 1

    untagged, tagged = cache.query()(one), cache.query(tags=["t"])(one)
    assert untagged.key() == tagged.key()
    assert (untagged(), tagged(), tagged()) == (1, 1, 1)
    assert runs.since() == 2
    cache.invalidate(tags=["t"])
    assert tagged() == 1
    assert runs.since() == 1


def test_a_store_that_is_down_costs_a_run_and_no_error(runs: Runs) -> None:
    store = TrickStore(MemoryStore())
    with Cache(store) as cache:

        @cache.query()
        def inner() -> int:
            runs.number += 1
            return 1

        @cache.query()
        def outer() -> int:
            return inner() + 1

        store.down = {"read", "mint", "put"}
        assert (outer(), outer(), runs.since()) == (2, 2, 2)
        store.down = {"put"}
        assert (outer(), outer(), runs.since()) == (2, 2, 2)
        store.down = set()
        assert (outer(), outer(), runs.since()) == (2, 2, 1)


def test_ttl_empty_ends_empty_results_sooner(tmp_path: Path) -> None:
    from rowstamp.testing import FakeClock

    clock = FakeClock()
    cache = Cache(MemoryStore(clock=clock))
    found: list[int] = []

    @cache.query(ttl=60, ttl_empty=5)
    def run() -> list[int]:
        return list(found)

    assert run() == []
    found.append(1)
    assert run() == []
    clock.advance(6)
    assert run() == [1]
    found.append(2)
    clock.advance(6)
    assert run() == [1]
    clock.advance(60)
    assert run() == [1, 2]
    cache.close()


def test_methods_leave_self_out_and_use_its_session(engine: Engine, cache: Cache, runs: Runs) -> None:
    class Shop:
        bonus = 0

        def __init__(self, session: Session) -> None:
            self.session = session

        @cache.query()
        def count(self, category_id: int) -> int:
            runs.number += 1
            found = self.session.scalar(select(func.count(Product.id)).where(Product.category_id == category_id))
            return self.bonus + (found or 0)

        @classmethod
        @cache.query()
        def named(cls, name: str) -> str:
            runs.number += 1
            return f"{cls.__name__} {name}"

        @staticmethod
        @cache.query()
        def doubled(number: int) -> int:
            runs.number += 1
            return 2 * number

    class Generous(Shop):
        bonus = 100

    for _ in range(2):
        with Session(engine) as session:
            assert (Shop(session).count(7), Generous(session).count(7)) == (2, 102)
            assert (cast("Any", Shop).named("a"), cast("Any", Generous).named("a")) == ("Shop a", "Generous a")
            assert (Shop.doubled(2), cast("Any", Shop(session)).doubled(2)) == (4, 4)
    assert runs.since() == 5
    with Session(engine) as session:
        session.add(Product(id=9, name="new", category_id=7))
        assert Shop(session).count(7) == 3
        session.rollback()
        assert Shop(session).count(7) == 2
    assert runs.since() == 1
    Shop.count.invalidate(7)
    with Session(engine) as session:
        Shop(session).count(7)
        assert runs.since() == 1
        Shop(session).count.invalidate(7)
        Shop(session).count(7)
        assert runs.since() == 1


def test_an_argument_that_cannot_be_part_of_a_key_is_named(cache: Cache) -> None:
    @cache.query()
    def run(number: int, callback: object) -> int:
        return number

    with pytest.raises(UnsupportedArgument, match=r"run: the argument callback=<function .*ignore=\['callback'\]"):
        run(1, lambda: 1)
    with pytest.raises(TypeError):
        run(1)  # type: ignore[call-arg]

    @cache.query(ignore=["callback"])
    def ignoring(number: int, callback: object) -> int:
        return number

    assert ignoring(1, lambda: 1) == 1


def test_mistakes_are_told_at_decoration(cache: Cache) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> int:
        return 1

    def plain(number: int) -> int:
        return number

    for function, message in ((generator, "generator"), (coroutine, "needs AsyncCache"), (Session, "parentheses")):
        with pytest.raises(ConfigurationError, match=message):
            cache.query()(function)
    with pytest.raises(ConfigurationError, match="names 'session', which is no parameter: it has number"):
        cache.query(ignore=["session"])(plain)
    with pytest.raises(ConfigurationError, match="names 'size', which is no parameter"):
        cache.query(tags=lambda size: [size])(plain)
    for options in ({"ttl": 0}, {"ttl_empty": -1}, {"tags": "home"}, {"jitter": 1}, {"ignore": "number"}):
        with pytest.raises(ConfigurationError):
            cast("Any", cache).query(**options)


def test_disabled_runs_the_function(engine: Engine, cache: Cache, stats_of: Any, runs: Runs) -> None:
    with Session(engine) as session, cache.disabled():
        stats_of(session, 7)
        stats_of(session, 7)
    assert runs.since() == 2
    with Session(engine, info={"rowstamp": False}) as session:
        stats_of(session, 7)
        stats_of(session, 7)
    assert runs.since() == 2


def test_functions_that_find_their_database_by_themselves_are_told_apart_by_it(tmp_path: Path) -> None:
    """Two applications that share a store and a namespace, each with a database of its own."""
    store = MemoryStore()

    def names(path: Path, name: str) -> str | None:
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            fill(connection)
            connection.execute(update(Product).where(Product.id == 1).values(name=name))
        with Cache(store) as cache:
            cache.attach(engine)
            with Session(engine) as session:  # from then on it is known what its transactions see
                session.scalar(select(Product.id).options(cached()))

            @cache.query()
            def first() -> str | None:
                with Session(engine) as session:
                    return session.scalar(select(Product.name).where(Product.id == 1))

            found = first(), first()
        engine.dispose()
        assert found[0] == found[1]
        return found[0]

    assert names(tmp_path / "one.db", "one") == "one"
    assert names(tmp_path / "other.db", "other") == "other"
