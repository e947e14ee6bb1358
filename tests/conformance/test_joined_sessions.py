"""Sessions that join a transaction which somebody else began: what they commit is published by whoever really commits it."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, RootTransaction, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.session import JoinTransactionMode

from tests.conformance.models import FREE_ID, Product, Tag, product
from tests.harness import Env, read

NAMES = select(Product.name).order_by(Product.id)
MODES: list[JoinTransactionMode] = ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]

every_mode = pytest.mark.parametrize("mode", MODES)


@contextmanager
def outer_transaction(env: Env) -> Generator[tuple[Connection, RootTransaction]]:
    """A transaction that has begun in earnest: sqlite3 begins none before a SAVEPOINT, whose release then commits."""
    with env.connect() as connection:
        outer = connection.begin()
        connection.execute(update(Tag).where(Tag.id == 3).values(name="begun"))
        yield connection, outer


@every_mode
def test_the_outer_commit_publishes(env: Env, mode: JoinTransactionMode) -> None:
    """The joined session's commit publishes only where it is the real one; the outer commit publishes what it did."""
    rows = env.warm(NAMES)
    with outer_transaction(env) as (connection, outer):
        with Session(connection, join_transaction_mode=mode) as session:
            session.add(product())
            session.flush()
            assert len(read(session, NAMES)) == len(rows) + 1
            session.commit()
        if mode == "control_fully":
            assert env.truth(NAMES) != rows
        else:
            assert env.served(NAMES), "a commit that is none has published"
            outer.commit()
        assert env.rows(NAMES) == env.truth(NAMES) != rows
    assert env.served(NAMES)


@every_mode
def test_the_outer_rollback_takes_it_back(env: Env, mode: JoinTransactionMode) -> None:
    """What a joined session committed for its part is gone, and was never anybody else's."""
    rows = env.warm(NAMES)
    with outer_transaction(env) as (connection, outer):
        with Session(connection, join_transaction_mode=mode) as session:
            session.add(product())
            session.commit()
            assert len(read(session, NAMES)) == len(rows) + 1
        assert outer.is_active == (mode != "control_fully")
        if outer.is_active:
            outer.rollback()
    assert env.rows(NAMES) == env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == (mode == "control_fully")


@every_mode
def test_a_rollback_of_the_joined_session(env: Env, mode: JoinTransactionMode) -> None:
    """It takes the outer transaction along, or its own savepoint only; what is committed then is what is seen."""
    rows = env.warm(NAMES)
    with outer_transaction(env) as (connection, outer):
        with Session(connection, join_transaction_mode=mode) as session:
            session.add(product())
            session.flush()
            session.rollback()
        assert outer.is_active == (mode == "create_savepoint")
        if outer.is_active:
            connection.execute(update(Product).where(Product.id == 2).values(name="outer"))
            assert env.served(NAMES)
            outer.commit()
            assert env.truth(NAMES) != rows
    assert env.rows(NAMES) == env.rows(NAMES) == env.truth(NAMES)


@every_mode
def test_inside_a_savepoint_of_the_connection(env: Env, mode: JoinTransactionMode) -> None:
    """A session joins a savepoint that is rolled back; nothing of it is published, and what comes after it is."""
    rows = env.warm(NAMES)
    with outer_transaction(env) as (connection, outer):
        nested = connection.begin_nested()
        with Session(connection, join_transaction_mode=mode) as session:
            session.add(product())
            session.flush()
            if mode in {"conditional_savepoint", "create_savepoint"}:
                session.commit()
                assert env.served(NAMES)
        if nested.is_active:
            nested.rollback()
        if outer.is_active:
            connection.execute(update(Product).where(Product.id == 2).values(name="outer"))
            outer.commit()
            assert env.truth(NAMES) != rows
    assert env.rows(NAMES) == env.rows(NAMES) == env.truth(NAMES)


def test_the_recipe_for_test_suites(env: Env) -> None:
    """A whole test inside one transaction that is rolled back: sessions in it see what others in it have committed.

    Nobody outside does, and nothing of it stays in the cache.
    """
    rows = env.warm(NAMES)
    with outer_transaction(env) as (connection, outer):
        for number in range(3):
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(product(FREE_ID + number))
                session.commit()
                assert len(read(session, NAMES)) == len(rows) + number + 1
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                assert len(read(session, NAMES)) == len(rows) + number + 1
                session.add(product(FREE_ID + 10))
                session.flush()
                session.rollback()
                assert len(read(session, NAMES)) == len(rows) + number + 1
        assert env.served(NAMES)
        assert env.rows(NAMES) == rows
        outer.rollback()
    assert env.served(NAMES)
    assert env.rows(NAMES) == rows == env.truth(NAMES)


def test_reads_that_no_write_of_the_recipe_meets_are_served(env: Env) -> None:
    """What the outer transaction has not touched may come from the cache, at the levels at which anything may."""
    rows = env.warm(NAMES)
    with outer_transaction(env) as (connection, outer):
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            assert read(session, NAMES) == rows
        outer.rollback()


def test_two_sessions_on_one_connection(env: Env) -> None:
    """Each sees the other's writes before anything is committed; both are published by the outer commit."""
    with env.change_of(NAMES), outer_transaction(env) as (connection, outer):
        with Session(connection) as first, Session(connection) as second:
            first.add(product())
            first.flush()
            assert len(read(second, NAMES)) == 5
            second.add(product(FREE_ID + 1))
            second.commit()
            assert len(read(first, NAMES)) == 6
            first.commit()
        assert env.served(NAMES)
        outer.commit()
