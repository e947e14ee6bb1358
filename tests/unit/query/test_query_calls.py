"""`@cache.query` on plain functions: what is served, what is stored, and when neither is right."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import pytest
from sqlalchemy import Engine, create_engine, func, select, text, update
from sqlalchemy.orm import Session

from rowstamp import Cache
from tests.unit.query_models import Category, CategoryStats, Product, Runs


def test_the_second_call_is_served(engine: Engine, stats_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        first = stats_of(session, 7)
    with Session(engine) as session:
        assert stats_of(session, category_id=7) == first == CategoryStats("books", 2, Decimal("1.50"))
    assert runs.since() == 1
    assert stats_of.stats().hits == 1
    assert stats_of.stats().fills == 1


def test_a_hit_is_a_new_object_each_time(engine: Engine, stats_of: Any) -> None:
    with Session(engine) as session:
        stats_of(session, 7)
        one, two = stats_of(session, 7), stats_of(session, 7)
        one.name = "spoiled"
        assert two.name == "books"
        assert stats_of(session, 7).name == "books"


@pytest.mark.parametrize("change", ["first statement", "second statement"])
def test_a_commit_that_changes_what_any_statement_read_ends_it(
    engine: Engine, stats_of: Any, runs: Runs, change: str
) -> None:
    with Session(engine) as session:
        stats_of(session, 7)
    with Session(engine) as session:
        if change == "first statement":
            session.get_one(Category, 7).name = "novels"
        else:
            session.add(Product(id=9, name="new", category_id=7))
        session.commit()
    runs.since()
    with Session(engine) as session:
        assert stats_of(session, 7) == CategoryStats(
            *("novels", 2) if change == "first statement" else ("books", 3), Decimal("1.50")
        )
    assert runs.since() == 1


def test_a_commit_to_a_row_that_was_not_read_leaves_it(engine: Engine, stats_of: Any, runs: Runs, cache: Cache) -> None:
    @cache.query()
    def name_of(session: Session, category_id: int) -> str | None:
        runs.number += 1
        return session.scalar(select(Category.name).where(Category.id == category_id))

    with Session(engine) as session:
        name_of(session, 7)
    with Session(engine) as session:
        session.get_one(Category, 8).name = "toys"
        session.commit()
    with Session(engine) as session:
        assert name_of(session, 7) == "books"
    assert runs.since() == 1


def test_none_and_empty_results_are_kept(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def name_of(session: Session, category_id: int) -> str | None:
        runs.number += 1
        return session.scalar(select(Category.name).where(Category.id == category_id))

    @cache.query()
    def ids(session: Session, category_id: int) -> list[int]:
        runs.number += 1
        return list(session.scalars(select(Product.id).where(Product.category_id == category_id)))

    for _ in range(2):
        with Session(engine) as session:
            assert name_of(session, 99) is None
            assert ids(session, 99) == []
    assert runs.since() == 2
    with Session(engine) as session:
        session.add(Category(id=99, name="late"))
        session.commit()
        assert name_of(session, 99) == "late"


# ------------------------------------------------------------------------------------------------ own writes


def test_pending_changes_are_flushed_before_a_hit_is_decided(engine: Engine, stats_of: Any) -> None:
    with Session(engine) as session:
        stats_of(session, 7)
    with Session(engine) as session:
        session.add(Product(id=9, name="new", category_id=7))
        assert stats_of(session, 7).products == 3
        session.rollback()
    with Session(engine) as session:
        assert stats_of(session, 7).products == 2


def test_what_met_own_writes_is_not_stored(engine: Engine, stats_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        session.execute(update(Category).where(Category.id == 7).values(name="mine"))
        assert stats_of(session, 7).name == "mine"
        with Session(engine) as other:
            runs.since()
            assert stats_of(other, 7).name == "books"
            assert runs.since() == 1


def test_changes_that_are_not_flushed_leave_the_cache_out(engine: Engine, stats_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        stats_of(session, 7)
    with Session(engine, autoflush=False) as session:
        session.add(Product(id=9, name="new", category_id=7))
        runs.since()
        assert stats_of(session, 7).products == 2
    assert runs.since() == 1
    assert stats_of.stats().bypasses == {"the session has changes that are not flushed": 1}


def test_a_function_that_writes_is_not_stored(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def touch(session: Session) -> int:
        runs.number += 1
        session.execute(update(Product).values(stock=0))
        return 1

    for _ in range(2):
        with Session(engine) as session:
            touch(session)
            session.rollback()
    assert runs.since() == 2
    assert touch.stats().bypasses == {"it writes": 2}


# ------------------------------------------------------------------------------------------- what cannot be kept


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (select(func.random(), Product.id), "volatile function random()"),
        (select(Product.id).with_for_update(), "it locks rows"),
        (text("PRAGMA cache_size"), "it is not a query"),
    ],
)
def test_a_statement_that_cannot_be_cached_spoils_the_call(
    engine: Engine, cache: Cache, runs: Runs, statement: Any, reason: str
) -> None:
    @cache.query()
    def run(session: Session) -> int:
        runs.number += 1
        return len(session.execute(statement).all())

    for _ in range(2):
        with Session(engine) as session:
            run(session)
    assert runs.since() == 2
    assert run.stats().bypasses == {reason: 2}


def test_an_engine_that_is_not_attached_spoils_the_call(engine: Engine, cache: Cache, runs: Runs) -> None:
    other = create_engine(engine.url)

    @cache.query()
    def run() -> int:
        runs.number += 1
        with Session(other) as session:
            return session.scalar(select(func.count(Product.id))) or 0

    @cache.query()
    def given(session: Session) -> int:
        return session.scalar(select(func.count(Product.id))) or 0

    assert [run(), run()] == [3, 3]
    assert runs.since() == 2
    assert run.stats().bypasses == {"it reads through an engine that is not attached": 2}
    with Session(other) as session:
        given(session)
    assert given.stats().bypasses == {"it uses an engine that is not attached": 1}
    other.dispose()


def test_a_function_that_raises_stores_nothing(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def run(session: Session) -> int:
        runs.number += 1
        session.scalar(select(func.count(Product.id)))
        if runs.number == 1:
            raise LookupError("once")
        return 5

    with Session(engine) as session, pytest.raises(LookupError):
        run(session)
    with Session(engine) as session:
        assert run(session) == run(session) == 5
    assert runs.number == 2


def test_a_result_that_does_not_fit_its_annotation_is_handed_on_and_not_stored(engine: Engine, cache: Cache) -> None:
    @cache.query()
    def run(session: Session) -> list[int]:
        return session.scalars(select(Product.name)).all()  # type: ignore[return-value]

    for _ in range(2):
        with Session(engine) as session:
            assert cast("Any", run(session)) == ["atlas", "bestiary", "chess"]
    assert run.stats().hits == 0
    assert list(run.stats().bypasses) == ["value of type builtins.str cannot be kept exactly: the annotation says int"]


def test_a_write_while_the_function_runs_leaves_an_entry_that_nobody_is_served(
    engine: Engine, cache: Cache, runs: Runs
) -> None:
    interrupt = True

    @cache.query()
    def total(session: Session) -> int:
        nonlocal interrupt
        runs.number += 1
        before = session.scalar(select(func.sum(Product.stock))) or 0
        session.rollback()
        if interrupt:
            interrupt = False
            with Session(engine) as other:
                other.get_one(Product, 1).stock = 100
                other.commit()
        return before

    with Session(engine) as session:
        assert total(session) == 9
    with Session(engine) as session:
        assert total(session) == 106
    assert runs.since() == 2
