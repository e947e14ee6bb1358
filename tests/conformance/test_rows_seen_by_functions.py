"""A cached function depends on the joined rows that its statements have met, like the statements themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from rowstamp import cached
from tests.conformance.models import FREE_ID, Category, Product
from tests.conformance.test_functions import Run, cached_function, call, warm
from tests.conformance.test_races import once_loaded
from tests.conformance.test_rows_seen import elsewhere_rename, prepare, rename
from tests.harness import Env

ENTITIES = select(Product).options(joinedload(Product.category)).order_by(Product.id)
COLUMNS = select(Product.name, Product.category_id, Category.name).outerjoin(Product.category).order_by(Product.id)
IN_SECOND = 3
"""A product of the second category; the first two are of the first one, and there is a third."""


def of_entities(session: Session, product: int) -> list[Any]:
    found = session.scalars(ENTITIES.where(Product.id == product))
    return [(each.name, each.category.name if each.category else None) for each in found]


def of_columns(session: Session, product: int) -> list[Any]:
    return [tuple(row) for row in session.execute(COLUMNS.where(Product.id == product))]


def of_cached_columns(session: Session, product: int) -> list[Any]:
    statement = COLUMNS.where(Product.id == product)
    return [tuple(row) for row in session.execute(statement, execution_options={"rowstamp": cached()})]


def of_two_statements(session: Session, product: int) -> list[Any]:
    return [of_columns(session, product), of_columns(session, IN_SECOND)]


@pytest.mark.parametrize("run", [of_entities, of_columns, of_cached_columns, of_two_statements])
def test_a_row_that_is_seen(env: Env, run: Run) -> None:
    """Rows that none of its statements has met change nothing; each of those that they have met ends the result."""
    function = cached_function(env, run)
    before = warm(env, function)
    rename(env, 3)
    with env.transaction() as session:
        session.add(Category(id=FREE_ID, name="maps"))
    assert call(env, function) == (before, True)
    rename(env, 1)
    changed, served = call(env, function)
    assert not served
    assert changed != before
    if run is of_two_statements:
        warm(env, function)
        rename(env, 2)
        assert not call(env, function)[1]


def test_a_hit_inside(env: Env) -> None:
    """What the inner result stands on is what the outer one stands on, be it a function's or a statement's."""
    inner = cached_function(env, of_columns)

    def outer(session: Session, product: int) -> list[Any]:
        return [*inner(session, product), *of_cached_columns(session, product)]

    warm(env, inner)
    warm(env, cached_function(env, of_cached_columns))
    function = cached_function(env, outer)
    before = warm(env, function)
    rename(env, 3)
    assert call(env, function) == (before, True)
    rename(env, 1)
    assert not call(env, function)[1]


def test_a_statement_that_reads_the_whole_table_beside(env: Env) -> None:
    """Any row of the table may matter to the one, whatever the other has met."""

    def and_all(session: Session, product: int) -> list[Any]:
        return [of_columns(session, product), session.scalar(select(func.max(Category.name)))]

    function = cached_function(env, and_all)
    warm(env, function)
    rename(env, 3, "zzz")
    assert call(env, function)[0][1] == "zzz"


def test_rows_that_are_streamed_are_not_looked_at(env: Env) -> None:
    """To read them all at once is what streaming avoids: the whole table counts, where the driver streams."""

    def streamed(session: Session, product: int) -> list[Any]:
        statement = COLUMNS.where(Product.id == product)
        return [tuple(row) for row in session.execute(statement, execution_options={"yield_per": 1})]

    function = cached_function(env, streamed)
    warm(env, function)
    rename(env, 1)
    assert call(env, function)[0][0][2] == "paper"


@pytest.mark.parametrize("action", [lambda env: elsewhere_rename(env, 1), lambda env: elsewhere_rename(env, 3)])
def test_a_write_during_a_load(env: Env, action: Callable[[Env], None]) -> None:
    """Whichever row it was, the result is not served: the next one is what the database holds."""
    prepare(env)
    function = cached_function(env, of_two_statements)
    with once_loaded(env, lambda: action(env)):
        call(env, function)
    result, served = call(env, function)
    assert not served
    assert call(env, function) == (result, True)


@pytest.mark.parametrize("moment", ["mint", "read"])
def test_a_write_after_the_last_load(sqlite_env: Env, moment: str) -> None:
    """Whether just before the rows' stamps are captured, or just before the table's is read again."""
    prepare(sqlite_env)
    function = cached_function(sqlite_env, of_columns)

    def write() -> None:
        elsewhere_rename(sqlite_env, 1)

    with once_loaded(sqlite_env, lambda: sqlite_env.store.before[moment].append(write)):
        before, _ = call(sqlite_env, function)
    result, served = call(sqlite_env, function)
    assert not served
    assert result != before


def test_round_trips(env: Env) -> None:
    """However many of its statements join, what they have met costs two round trips."""
    function = cached_function(env, of_two_statements)
    call(env, cached_function(env, of_columns))
    env.cache.clear()
    del env.store.calls[:]
    call(env, function)
    assert env.store.calls[-3:] == ["mint", "read", "put"]
    assert env.store.calls.count("mint") <= 3, "one for what each statement names, one for what both have met"
    del env.store.calls[:]
    assert call(env, function)[1]
    assert env.store.calls == ["read"]
