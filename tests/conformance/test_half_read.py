"""A result of which not all rows were read keeps SQLite's snapshot; what is read beside it is as old as that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from rowstamp import cached
from rowstamp._sqlalchemy import await_in_greenlet
from tests.conformance.models import Product, Tag
from tests.harness import Env, everything, read

NAMES = select(Product.name).order_by(Product.id)
TAGS = everything(Tag)
STREAMED = {"stream_results": True, "max_row_buffer": 1}


@contextmanager
def by_core(connection: Connection) -> Generator[Any]:
    """A plain statement; on aiosqlite only a streamed one stays open."""
    result = connection.execute(NAMES, execution_options=STREAMED)
    result.fetchone()
    yield result
    result.close()


@contextmanager
def by_text(connection: Connection) -> Generator[Any]:
    """Raw SQL."""
    result = connection.execute(text("SELECT id FROM products"), execution_options=STREAMED)
    result.fetchone()
    yield result
    result.close()


@contextmanager
def by_the_driver(connection: Connection) -> Generator[Any]:
    """Neither SQLAlchemy nor the cache knows of it."""
    driver: Any = connection.connection.driver_connection
    sync = isinstance(driver, sqlite3.Connection)
    cursor = driver.execute("SELECT id FROM products")
    cursor = cursor if sync else await_in_greenlet(cursor)
    row = cursor.fetchone()
    assert row if sync else await_in_greenlet(row)
    yield cursor
    closed = cursor.close()
    assert sync or await_in_greenlet(closed) is None


WAYS: list[Callable[[Connection], Any]] = [by_core, by_text, by_the_driver]


@pytest.fixture
def wal(sqlite_env: Env) -> Env:
    """Where others can commit while a result is open."""

    def change() -> None:
        with sqlite_env.behind() as session:
            session.connection().exec_driver_sql("PRAGMA journal_mode=WAL")

    sqlite_env.call(change)
    return sqlite_env


def change_both(env: Env) -> None:
    with env.elsewhere() as other:
        other.get_one(Product, 1).name = "later"
        other.get_one(Tag, 1).name = "later"


@pytest.mark.parametrize("level", [None, "AUTOCOMMIT"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_beside_it_is_not_stored(wal: Env, way: Callable[[Connection], Any], level: str | None) -> None:
    """Its stamps would be newer than its rows. Once the rest is read or thrown away, the connection fills again."""
    options = {"isolation_level": level} if level else {}
    with wal.engine.execution_options(**options).connect() as connection:
        with way(connection):
            change_both(wal)
            assert "later" not in str(read(connection, TAGS))
        assert wal.rows(TAGS) == wal.truth(TAGS)
        wal.cache.clear()
        read(connection, TAGS)
    assert wal.served(TAGS)


def test_a_result_that_outlives_its_session(wal: Env) -> None:
    """Whoever is given the connection next reads what was current then, and does not store it."""
    with wal.session() as session:
        left = session.execute(NAMES, execution_options={"yield_per": 1})
        left.fetchone()
        session.commit()
    change_both(wal)
    with wal.session() as session:
        assert "later" not in str(read(session, TAGS))
    left.close()
    assert wal.rows(TAGS) == wal.truth(TAGS)


@pytest.mark.parametrize("way", WAYS[:2])
def test_what_is_read_beside_it_is_not_served(wal: Env, way: Callable[[Connection], Any]) -> None:
    """A hit would show a later moment than the rows that are still to be read."""
    with wal.connect() as connection:
        with way(connection):
            change_both(wal)
            wal.warm(TAGS)
            assert "later" not in str(read(connection, TAGS))
            stale = dict(wal.cache.stats().bypasses)
        assert "later" in str(read(connection, TAGS))
    assert any("snapshot" in reason for reason in stale)


def test_a_loop_over_a_result(wal: Env) -> None:
    """A session that reads beside its own loop over a result, and goes on after it."""
    with wal.session() as session:
        stream = session.execute(NAMES, execution_options={"yield_per": 1, "rowstamp": False})
        for number, _ in enumerate(stream):
            if not number:
                change_both(wal)
            found = session.execute(TAGS, execution_options={"rowstamp": cached()}).scalars().all()
            assert number > 2 or found[0].name != "later"
            session.expunge_all()
    assert wal.rows(TAGS) == wal.truth(TAGS)
