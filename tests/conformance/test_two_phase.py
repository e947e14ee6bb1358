"""Commits in two phases: PREPARE publishes nothing, COMMIT PREPARED does."""

from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from rowstamp import RowstampWarning
from tests.conformance.models import Product, product
from tests.harness import Env, read, sync_engine

NAMES = select(Product.name).order_by(Product.id)


def test_a_session_in_two_phases(postgres_env: Env) -> None:
    """`Session(twophase=True)`: the commit is seen, the rollback is not."""
    with postgres_env.change_of(NAMES), postgres_env.session(twophase=True) as session:
        session.add(product())
        session.flush()
        assert len(read(session, NAMES)) == 5
        session.commit()
    with postgres_env.no_change_of(NAMES), postgres_env.session(twophase=True) as session:
        session.add(product(101))
        session.flush()
        session.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_between_the_phases(postgres_env: Env, end: str) -> None:
    """A prepared transaction is not there yet for anybody; its end is seen at once."""
    env = postgres_env
    rows = env.warm(NAMES)
    with env.session(twophase=True) as session:
        session.get_one(Product, 1).name = "prepared"
        session.prepare()
        assert env.rows(NAMES) == env.truth(NAMES) == rows
        getattr(session, end)()
    assert env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == (end == "commit")


def test_a_connection_in_two_phases(postgres_env: Env) -> None:
    """`connection.begin_twophase()`."""
    with postgres_env.change_of(NAMES), postgres_env.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(update(Product).where(Product.id == 1).values(name="changed"))
        transaction.prepare()
        transaction.commit()


def test_a_transaction_that_another_connection_finishes(postgres_env: Env) -> None:
    """COMMIT PREPARED of a transaction that was prepared elsewhere ends everything, for nobody can tell what it did."""
    env = postgres_env
    rows = env.warm(NAMES)
    with sync_engine(env.plain).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for sql in ("BEGIN", "UPDATE products SET name = 'prepared'", "PREPARE TRANSACTION 'rowstamp_test'"):
            connection.exec_driver_sql(sql)
    assert env.rows(NAMES) == rows
    warned = pytest.warns(RowstampWarning, match="everything")
    with env.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection, warned:
        connection.exec_driver_sql("COMMIT PREPARED 'rowstamp_test'")
    assert env.rows(NAMES) == env.truth(NAMES) != rows


def test_two_databases_in_two_phases(postgres_env: Env) -> None:
    """A session over two engines commits both, and both are seen."""
    env = postgres_env
    second = env.new_node()
    binds: Any = {Product: env.engine}
    with env.change_of(NAMES), Session(second.engine, binds=binds, twophase=True) as session:
        session.add(product())
        session.execute(text("UPDATE products SET stock = 3 WHERE id = 2"), bind_arguments={"bind": second.engine})
        session.commit()
