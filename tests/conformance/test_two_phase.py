"""Commits in two phases: PREPARE publishes nothing, COMMIT PREPARED does."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update
from sqlalchemy.orm import Session

from rowstamp import RowstampWarning
from tests.conformance.models import Product, product
from tests.harness import Env, read, sync_engine

NAMES = select(Product.name).order_by(Product.id)


def test_a_session_in_two_phases(server_env: Env) -> None:
    """`Session(twophase=True)`: the commit is seen, the rollback is not."""
    with server_env.change_of(NAMES), server_env.session(twophase=True) as session:
        session.add(product())
        session.flush()
        assert len(read(session, NAMES)) == 5
        session.commit()
    with server_env.no_change_of(NAMES), server_env.session(twophase=True) as session:
        session.add(product(101))
        session.flush()
        session.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_between_the_phases(server_env: Env, end: str) -> None:
    """A prepared transaction is not there yet for anybody; its end is seen at once."""
    env = server_env
    rows = env.warm(NAMES)
    with env.session(twophase=True) as session:
        session.get_one(Product, 1).name = "prepared"
        session.prepare()
        assert env.rows(NAMES) == env.truth(NAMES) == rows
        getattr(session, end)()
    assert env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == (end == "commit")


def test_a_connection_in_two_phases(server_env: Env) -> None:
    """`connection.begin_twophase()`."""
    with server_env.change_of(NAMES), server_env.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(update(Product).where(Product.id == 1).values(name="changed"))
        transaction.prepare()
        transaction.commit()


@pytest.mark.parametrize("end", ["commit_prepared", "rollback_prepared"])
def test_a_transaction_that_is_recovered(server_env: Env, end: str) -> None:
    """What a process prepared before it died another commits or rolls back, without a word of what it did."""
    env = server_env
    rows = env.warm(NAMES)
    with sync_engine(env.plain).connect() as connection:
        prepared = connection.begin_twophase()
        connection.execute(update(Product).where(Product.id == 1).values(name="prepared"))
        prepared.prepare()
        connection.invalidate()  # MariaDB keeps it for nobody else while its connection lives
    assert env.rows(NAMES) == rows
    with recovering(env) as connection:
        (xid,) = until_there(connection)
        getattr(connection, end)(xid, recover=True)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == (end == "commit_prepared")


def recovering(env: Env) -> Connection:
    """Open a connection that may end what was prepared on another; MariaDB allows that outside of transactions only."""
    autocommit = {"isolation_level": "AUTOCOMMIT"} if env.dialect == "mariadb" else {}
    return env.engine.execution_options(**autocommit).connect()


def until_there(connection: Connection) -> Sequence[Any]:
    """Return the prepared transactions that nobody is in charge of, once the server has noticed that."""
    while not (found := connection.recover_twophase()):
        connection.rollback()
    connection.rollback()
    return [xid.decode() if isinstance(xid, bytes) else xid for xid in found]


def test_a_transaction_of_another_connection_in_the_same_process(server_env: Env) -> None:
    """`commit_prepared()` of what was prepared elsewhere does not count what the connection at hand had done."""
    env = server_env
    other = env.new_node()
    rows = env.warm(NAMES)
    with other.connect() as connection:
        prepared = connection.begin_twophase()
        connection.execute(update(Product).where(Product.id == 1).values(name="prepared"))
        prepared.prepare()
        xid = prepared.xid
        connection.invalidate()
    with recovering(env) as connection:
        until_there(connection)
        connection.commit_prepared(xid, recover=True)
    assert env.rows(NAMES) == env.truth(NAMES) != rows


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
