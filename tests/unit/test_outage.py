"""An outage is a database that is not there; a statement that is wrong is none, whatever class its exception has."""

from __future__ import annotations

import errno
import socket
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import QueuePool, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from rowstamp.outage import is_outage

NOWHERE = "127.0.0.1:1"
"""Where nobody listens."""


def raised(url: str, statement: str = "SELECT 1") -> Exception:
    """Return what SQLAlchemy raises for a statement."""
    engine = create_engine(url)
    with pytest.raises(Exception) as caught, engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
    return caught.value


async def raised_awaited(url: str) -> Exception:
    engine = create_async_engine(url)
    with pytest.raises(Exception) as caught:
        await engine.connect()
    await engine.dispose()
    return caught.value


def of(kind: type[DBAPIError], cause: BaseException, *, invalidated: bool = False) -> DBAPIError:
    return kind("SELECT 1", {}, cause, connection_invalidated=invalidated)


def with_state(kind: Any, state: str | None) -> Exception:
    error: Exception = kind("a message")
    error.sqlstate = state  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_refused_connection_is_an_outage(driver: str) -> None:
    assert is_outage(raised(f"{driver}://user:secret@{NOWHERE}/shop"))


@pytest.mark.parametrize(
    "url", [f"postgresql+asyncpg://user:secret@{NOWHERE}/shop", "postgresql+asyncpg://u:s@/shop?host=/nowhere"]
)
async def test_what_a_driver_s_own_socket_raises_is_an_outage(url: str) -> None:
    """Also where the path of a socket is not there, which is a ``FileNotFoundError`` without a name."""
    error = await raised_awaited(url)
    assert isinstance(error, OSError)
    assert is_outage(error)


def test_sqlite_is_not_there_if_its_file_cannot_be_opened_or_is_locked(tmp_path: Path) -> None:
    assert is_outage(raised(f"sqlite:///{tmp_path}/nowhere/shop.db"))
    path = tmp_path / "shop.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert is_outage(raised(f"sqlite:///{path}?timeout=0", "SELECT * FROM sqlite_master"))
    writer.close()


@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELECT nothing", "SELEKT 1"])
def test_what_is_wrong_with_a_statement_is_no_outage_of_sqlite(statement: str) -> None:
    error = raised("sqlite://", statement)
    assert isinstance(error, OperationalError)
    assert not is_outage(error)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", True), ("57P01", True), ("57014", True), ("53300", True), ("58030", True), (None, True),
        ("42P01", False), ("42601", False), ("22012", False), ("40001", False), ("28P01", False), ("55P03", False),
    ],
)  # fmt: skip
def test_postgresql_is_judged_by_its_sqlstate(state: str | None, expected: bool) -> None:
    assert is_outage(of(OperationalError, with_state(psycopg.OperationalError, state))) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(2002, True), (2006, True), (2013, True), (1040, True), (1053, True), (1927, True), (1969, True),
     (1054, False), (1142, False), (1045, False), (1146, False), (1205, False), (1213, False)],
)  # fmt: skip
def test_mariadb_is_judged_by_its_number(number: int, expected: bool) -> None:
    """PyMySQL makes most numbers that it does not know an ``OperationalError``: an unknown column, too."""
    assert is_outage(of(OperationalError, pymysql.err.OperationalError(number, "a message"))) is expected


def test_a_connection_that_was_found_dead_is_an_outage_whatever_its_error() -> None:
    assert is_outage(of(InterfaceError, with_state(psycopg.InterfaceError, None), invalidated=True))
    assert not is_outage(of(InterfaceError, with_state(psycopg.InterfaceError, None)))
    assert not is_outage(of(ProgrammingError, with_state(psycopg.ProgrammingError, None)))


def test_a_pool_without_a_free_connection_is_an_outage() -> None:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    with engine.connect(), pytest.raises(PoolTimeout) as caught:
        engine.connect()
    assert is_outage(caught.value)
    engine.dispose()


def test_of_a_driver_that_is_not_known_the_class_decides() -> None:
    assert is_outage(of(OperationalError, Exception("ORA-12541")))
    assert not is_outage(of(ProgrammingError, Exception("ORA-00942")))


def test_errors_of_the_network_are_outages_and_those_of_files_are_none(tmp_path: Path) -> None:
    for error in (ConnectionResetError(), TimeoutError(), OSError(errno.EHOSTUNREACH, "no route"), socket.gaierror()):
        assert is_outage(error)
    assert is_outage(TimeoutError())
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "nowhere").read_bytes()
    assert not is_outage(caught.value)
    assert not is_outage(ValueError())
