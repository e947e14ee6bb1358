"""REPEATABLE READ and SERIALIZABLE, however a transaction came by them: it sees one moment, and stores nothing older than that."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from tests.conformance.models import Product, Tag
from tests.harness import Env, everything, read, sync_engine

NAMES = select(Product.name).order_by(Product.id)
TAGS = everything(Tag)
REPEATABLE = "REPEATABLE READ"


def of_connection(env: Env, level: str) -> Session:
    session = env.session()
    session.connection(execution_options={"isolation_level": level})
    return session


def of_copy(env: Env, level: str) -> Session:
    return Session(env.engine.execution_options(isolation_level=level))


def of_engine(env: Env, level: str) -> Session:
    return on_new_engine(env, isolation_level=level)


def of_engine_option(env: Env, level: str) -> Session:
    return on_new_engine(env, isolation_level=None, execution_options={"isolation_level": level})


def on_new_engine(env: Env, **options: Any) -> Session:
    target = env.new_engine(**options)
    env.cache.attach(target)
    return env.open_session(target)


def of_listener(env: Env, level: str) -> Session:
    """SQLAlchemy does not know what a listener tells the driver's connection."""
    target = env.new_engine(isolation_level=None)

    def connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(for_session(env, level))
        cursor.close()
        connection.commit()

    event.listen(sync_engine(target), "connect", connected)
    env.cache.attach(target)
    return env.open_session(target)


def of_session_text(env: Env, level: str) -> Session:
    session = on_new_engine(env)
    session.execute(text(for_session(env, level)))
    session.commit()
    return session


def of_transaction_text(env: Env, level: str) -> Session:
    session = on_new_engine(env)
    session.execute(text(f"SET TRANSACTION ISOLATION LEVEL {level}"))
    return session


def for_session(env: Env, level: str) -> str:
    words = "SESSION CHARACTERISTICS AS" if env.dialect == "postgresql" else "SESSION"
    return f"SET {words} TRANSACTION ISOLATION LEVEL {level}"


BY_SQLALCHEMY: list[Callable[[Env, str], Session]] = [of_connection, of_copy, of_engine, of_engine_option]
WAYS = [*BY_SQLALCHEMY, of_listener, of_session_text, of_transaction_text]


def name(way: object) -> str:
    return getattr(way, "__name__", str(way))


@contextmanager
def snapshot(env: Env, way: Callable[[Env, str], Session], level: str) -> Generator[Session]:
    if level == "SERIALIZABLE" and env.dialect == "mariadb":
        level = REPEATABLE  # there the readers of SERIALIZABLE lock what they read; nobody can change it meanwhile
    with way(env, level) as session:
        yield session


@pytest.mark.parametrize("level", [REPEATABLE, "SERIALIZABLE"])
@pytest.mark.parametrize("way", WAYS, ids=name)
def test_a_snapshot_is_never_mixed(snapshot_env: Env, way: Callable[[Env, str], Session], level: str) -> None:
    """Inside one snapshot every read shows the same moment, whatever others commit and cache meanwhile."""
    env = snapshot_env
    env.warm(NAMES)
    with snapshot(env, way, level) as session:
        first = read(session, NAMES)
        change_both(env)
        env.warm(NAMES)
        env.warm(TAGS)
        assert read(session, NAMES) == first
        assert "later" not in str(read(session, TAGS))
        session.rollback()
        assert env.rows(TAGS) == env.truth(TAGS)


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_the_first_read_of_a_snapshot_is_not_served(snapshot_env: Env, way: Callable[[Env, str], Session]) -> None:
    """The snapshot is yet to come: what is read second would be newer than a hit."""
    env = snapshot_env
    env.warm(NAMES)
    with snapshot(env, way, REPEATABLE) as session:
        served = read(session, NAMES)
        change_both(env)
        assert ("later" in str(served)) == ("later" in str(read(session, TAGS)))


@pytest.mark.parametrize("level", [REPEATABLE, "SERIALIZABLE"])
@pytest.mark.parametrize("way", WAYS, ids=name)
def test_an_old_snapshot_never_fills(snapshot_env: Env, way: Callable[[Env, str], Session], level: str) -> None:
    """What an old snapshot reads is not stored for others."""
    env = snapshot_env
    with snapshot(env, way, level) as session:
        read(session, TAGS)
        change_both(env)
        assert read(session, NAMES)[0] == ("atlas",)
    assert env.rows(NAMES)[0] == ("later",)


@pytest.mark.parametrize("way", [*BY_SQLALCHEMY, of_listener], ids=name)
def test_the_first_read_of_a_snapshot_fills(snapshot_env: Env, way: Callable[[Env, str], Session]) -> None:
    """Its stamps are older than its snapshot, so others may have what it read; the second read of a transaction does not fill."""
    env = snapshot_env
    with snapshot(env, way, REPEATABLE) as session:
        read(session, select(Tag.id))  # a new connection is asked for its level, with which some transactions begin
        session.rollback()
        if way is of_connection:
            session.connection(execution_options={"isolation_level": REPEATABLE})
        read(session, NAMES)
        read(session, TAGS)
    with env.traffic() as traffic:
        assert env.rows(NAMES) == env.truth(NAMES)
        env.rows(TAGS)
    assert len(traffic) == 1


@pytest.mark.parametrize("way", BY_SQLALCHEMY, ids=name)
def test_a_snapshot_that_was_taken_on_the_raw_connection(snapshot_env: Env, way: Callable[[Env, str], Session]) -> None:
    """The cache did not see that read, but the driver or the server knows that a transaction has begun."""
    env = snapshot_env
    with snapshot(env, way, REPEATABLE) as session:
        read(session, TAGS)
        session.rollback()
        if way is of_connection:
            session.connection(execution_options={"isolation_level": REPEATABLE})
        cursor: Any = session.connection().connection.cursor()
        cursor.execute("SELECT id FROM tags")
        cursor.fetchall()
        cursor.close()
        change_both(env)
        assert read(session, NAMES)[0] == ("atlas",)
    assert env.rows(NAMES)[0] == ("later",)


def change_both(env: Env) -> None:
    with env.elsewhere() as other:
        other.get_one(Product, 1).name = "later"
        other.get_one(Tag, 1).name = "later"


@pytest.mark.parametrize("way", BY_SQLALCHEMY, ids=name)
def test_writes_of_a_snapshot_are_seen(snapshot_env: Env, way: Callable[[Env, str], Session]) -> None:
    """What such a transaction writes is published by its commit."""
    env = snapshot_env
    with env.change_of(NAMES), way(env, REPEATABLE) as session:
        session.get_one(Product, 1).name += "!"
        session.commit()


def test_the_default_of_mariadb(mariadb_env: Env) -> None:
    """REPEATABLE READ, without anybody having asked for it."""
    env = mariadb_env
    env.warm(NAMES)
    with on_new_engine(env, isolation_level=None) as session:
        first = read(session, NAMES)
        change_both(env)
        env.warm(NAMES)
        env.warm(TAGS)
        assert read(session, NAMES) == first
        assert "later" not in str(read(session, TAGS))
        with env.traffic() as traffic:
            assert env.rows(NAMES)[0] == ("later",)
    assert not traffic.statements


@pytest.mark.parametrize("sql", [
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
])  # fmt: skip
def test_a_transaction_begun_by_text(postgres_env: Env, sql: str) -> None:
    """A snapshot that only text has asked for keeps the connection from mixing moments too."""
    env = postgres_env
    with env.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(sql))
        read(connection, TAGS)
        change_both(env)
        assert read(connection, NAMES)[0] == ("atlas",)
        env.warm(TAGS)
        assert "later" not in str(read(connection, TAGS))
        connection.exec_driver_sql("ROLLBACK")
    assert env.rows(NAMES)[0] == ("later",)


def test_a_transaction_with_a_consistent_snapshot(mariadb_env: Env) -> None:
    """`START TRANSACTION WITH CONSISTENT SNAPSHOT` takes it at once, before anything is read."""
    env = mariadb_env
    with env.connect().execution_options(isolation_level=REPEATABLE) as connection:
        connection.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))
        change_both(env)
        assert read(connection, NAMES)[0] == ("atlas",)
        env.warm(TAGS)
        assert "later" not in str(read(connection, TAGS))
    assert env.rows(NAMES)[0] == ("later",)


def test_read_uncommitted(snapshot_env: Env) -> None:
    """What nobody has committed is read where the database shows it, and never stored."""
    env = snapshot_env
    if env.backend.driver == "asyncpg":
        pytest.skip("SQLAlchemy does not offer it on asyncpg; in PostgreSQL it is READ COMMITTED")
    with env.elsewhere() as writer, of_engine(env, "READ UNCOMMITTED") as reader:
        writer.get_one(Product, 1).name = "dirty"
        writer.flush()
        seen = read(reader, NAMES)[0]
        assert seen == (("dirty",) if env.dialect == "mariadb" else ("atlas",))
        assert env.rows(NAMES)[0] == ("atlas",)
        writer.rollback()
    assert env.rows(NAMES) == env.truth(NAMES)


def test_a_driver_that_commits_by_itself(snapshot_env: Env) -> None:
    """`connect_args={"autocommit": True}`: each write is published at once, though SQLAlchemy still sends COMMIT."""
    env = snapshot_env
    if env.backend.driver == "asyncpg":
        pytest.skip("asyncpg's connections have no such mode; SQLAlchemy begins its transactions")
    target = env.new_engine(isolation_level=None, connect_args={"autocommit": True})
    env.cache.attach(target)
    env.warm(NAMES)
    with env.open_session(target) as session:
        session.execute(text("UPDATE products SET name = 'at once' WHERE id = 1"))
        assert env.rows(NAMES) == env.truth(NAMES)
        session.rollback()
        assert env.rows(NAMES)[0] == ("at once",)
