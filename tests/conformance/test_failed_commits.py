"""Commits that fail, and transactions that nobody ends: the stamps are free again, and nothing stale is served."""

from __future__ import annotations

import gc

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.conformance.models import Product, product
from tests.harness import Env, read

NAMES = select(Product.name).order_by(Product.id)


def require_released(env: Env) -> None:
    """The stamps were held and released: others are served again, at once, and what is served is true."""
    assert env.store.calls[-1] == "release"
    other = env.new_node()  # the failed transaction's connection may bypass once more
    assert other.rows(NAMES) == other.rows(NAMES) == env.truth(NAMES)
    assert other.served(NAMES)
    assert env.rows(NAMES) == env.truth(NAMES)


def test_a_serialization_failure_at_commit(postgres_env: Env) -> None:
    """Of two transactions that each read what the other writes, PostgreSQL refuses the second commit."""
    env = postgres_env
    env.warm(NAMES)
    engine = env.engine.execution_options(isolation_level="SERIALIZABLE")
    total = text("SELECT sum(stock) FROM products")
    with engine.connect() as first, engine.connect() as second:
        for connection, number in ((first, 1), (second, 2)):
            connection.execute(total)
            connection.execute(update(Product).where(Product.id == number).values(stock=99, name=f"writer {number}"))
        first.commit()
        with pytest.raises(DBAPIError, match="serialize"):
            second.commit()
        require_released(env)
    assert next(name for (name,) in env.rows(NAMES)) == "writer 1"


def test_a_deferred_constraint(sqlite_env: Env) -> None:
    """A foreign key that is checked at COMMIT: SQLite refuses, and leaves the transaction open for its rollback."""
    env = sqlite_env
    rows = env.warm(NAMES)
    with env.session() as session:
        session.execute(update(Product).where(Product.id == 1).values(name="undone"))
        session.connection().exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        session.execute(update(Product).where(Product.id == 2).values(category_id=999))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    require_released(env)
    assert env.rows(NAMES) == rows


def test_a_deferred_constraint_of_postgresql(postgres_env: Env) -> None:
    """The same; PostgreSQL has rolled back."""
    env = postgres_env
    with env.behind() as session:
        session.execute(text("CREATE TABLE child (id int REFERENCES products DEFERRABLE INITIALLY DEFERRED)"))
    rows = env.warm(NAMES)
    with env.session() as session:
        session.execute(update(Product).where(Product.id == 1).values(name="undone"))
        session.execute(text("INSERT INTO child VALUES (999)"))
        with pytest.raises(IntegrityError):
            session.commit()
    require_released(env)
    assert env.rows(NAMES) == rows


@pytest.mark.parametrize("again", [True, False], ids=["and is tried again", "and is rolled back"])
def test_a_commit_that_is_refused_by_a_listener(env: Env, again: bool) -> None:
    """An exception before COMMIT, in the application's own listener: nothing was held; the session goes on."""
    from sqlalchemy import event

    rows = env.warm(NAMES)

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    with env.session() as session:
        session.get_one(Product, 1).name = "changed"
        event.listen(session, "before_commit", refuse)
        with pytest.raises(ZeroDivisionError):
            session.commit()
        event.remove(session, "before_commit", refuse)
        assert env.served(NAMES)
        (session.commit if again else session.rollback)()
    assert env.rows(NAMES) == env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == again


def test_a_session_that_is_forgotten(sync_env: Env) -> None:
    """A session without `with` that the garbage collector ends: its writes are undone, and count for nobody after it."""
    env = sync_env
    rows = env.warm(NAMES)
    session = env.session()
    session.add(product())
    session.flush()
    assert len(read(session, NAMES)) == len(rows) + 1
    del session
    gc.collect()
    assert env.checked_out == 0
    assert env.served(NAMES)
    with env.transaction() as session:  # on the same pooled connection
        assert read(session, NAMES) == rows
        session.execute(text("SELECT 1"))
    assert env.served(NAMES), "the next transaction has published what was undone"
    assert env.rows(NAMES) == rows == env.truth(NAMES)
