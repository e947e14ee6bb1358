"""What was written inside savepoints counts with the outermost transaction."""

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from rowstamp import cached
from tests.conformance.models import FREE_ID, Product, Tag, product
from tests.harness import Env, everything, read

NAMES = select(Product.name).where(Product.category_id == 1).order_by(Product.id)


def _begin(session: Session) -> None:
    """Begin with a write: sqlite3 begins no transaction before a SAVEPOINT, whose release then commits by itself."""
    session.execute(update(Tag).where(Tag.id == 3).values(name="begun"))


def test_released_and_committed(env: Env) -> None:
    """A write inside a released savepoint is published by the outer commit, not by the release."""
    with env.change_of(NAMES), env.session() as session:
        _begin(session)
        with session.begin_nested():
            session.add(product())
        assert env.served(NAMES), "the release published it"
        session.commit()


def test_released_and_rolled_back(env: Env) -> None:
    """The outer rollback takes a released savepoint along."""
    with env.no_change_of(NAMES), env.session() as session:
        _begin(session)
        with session.begin_nested():
            session.add(product())
        session.rollback()


def test_rolled_back_then_committed_keeps_the_outer_writes(env: Env) -> None:
    """A savepoint that is rolled back does not take the outer transaction's effects away."""
    with env.change_of(NAMES), env.session() as session:
        session.add(product())
        session.flush()
        nested = session.begin_nested()
        session.add(Tag(name="undone"))
        session.flush()
        nested.rollback()
        session.commit()


def test_writes_after_a_rolled_back_savepoint_count(env: Env) -> None:
    """The transaction goes on after a savepoint was rolled back."""
    with env.change_of(NAMES), env.session() as session:
        nested = session.begin_nested()
        session.add(Tag(name="undone"))
        session.flush()
        nested.rollback()
        session.add(product())
        session.commit()


def test_rolled_back_alone(env: Env) -> None:
    """What only a rolled-back savepoint wrote is not there afterwards, and nothing stale or unborn is served."""
    with env.no_change_of(NAMES), env.session() as session:
        nested = session.begin_nested()
        session.add(product())
        session.flush()
        assert len(read(session, NAMES)) == 3
        nested.rollback()
        assert len(read(session, NAMES)) == 2
        session.commit()


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("outer", [True, False])
def test_nested_in_each_other(env: Env, inner: bool, outer: bool) -> None:
    """Of two nested savepoints, each released or rolled back, exactly what survives is seen."""
    env.warm(NAMES)
    with env.session() as session:
        _begin(session)
        first = session.begin_nested()
        session.add(product())
        session.flush()
        second = session.begin_nested()
        session.add(product(FREE_ID + 1))
        session.flush()
        (second.commit if inner else second.rollback)()
        (first.commit if outer else first.rollback)()
        survivors = (inner + 1) * outer
        assert len(read(session, NAMES)) == 2 + survivors
        session.commit()
    assert len(env.rows(NAMES)) == 2 + survivors
    assert env.rows(NAMES) == env.truth(NAMES)


def test_on_a_connection(env: Env) -> None:
    """Savepoints of a Connection: the release publishes nothing, the outer commit does."""
    with env.change_of(NAMES), env.connect() as connection, connection.begin() as outer:
        connection.execute(update(Tag).where(Tag.id == 3).values(name="begun"))
        with connection.begin_nested():
            connection.execute(update(Product).where(Product.id == 1).values(name="mine"))
        assert env.served(NAMES)
        outer.commit()


def test_own_writes_of_a_savepoint_are_seen_after_its_release(env: Env) -> None:
    """The transaction sees what a released savepoint wrote."""
    env.warm(NAMES)
    with env.session() as session:
        with session.begin_nested():
            session.add(product())
        assert len(read(session, NAMES)) == 3


def test_a_hit_inside_a_savepoint(postgres_env: Env) -> None:
    """A savepoint by itself does not keep a session from being served, where there is a snapshot for each statement."""
    postgres_env.warm(everything(Tag))
    with postgres_env.session() as session, session.begin_nested(), postgres_env.traffic() as traffic:
        read(session, everything(Tag))
        assert traffic.statements == []


def test_entities_of_a_hit_survive_the_rollback_of_a_savepoint(env: Env) -> None:
    """Entities from the cache are persistent: a rolled-back savepoint expires changes of theirs, and they load again."""
    by_key = select(Product).where(Product.id == 1)
    env.warm(by_key)
    with env.session() as session:
        found = session.scalars(by_key.options(cached())).one()
        nested = session.begin_nested()
        found.name = "undone"
        session.flush()
        nested.rollback()
        assert found.name == "atlas"


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_an_outermost_savepoint_that_sqlite_commits_by_itself(sqlite_env: Env, end: str) -> None:
    """Without a transaction around it RELEASE commits, whatever the session does afterwards; others see that at once."""
    sqlite_env.warm(NAMES)
    with sqlite_env.session() as session:
        with session.begin_nested():
            session.add(product())
        assert len(sqlite_env.truth(NAMES)) == 3
        assert sqlite_env.rows(NAMES) == sqlite_env.truth(NAMES)
        getattr(session, end)()
    assert sqlite_env.rows(NAMES) == sqlite_env.truth(NAMES)
