"""What is asked of SQLite's connections: when the driver begins a transaction by itself, and whether a result is half read."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine

from rowstamp.orm.sqlite import begins_before, is_half_read
from rowstamp.orm.transaction import TransactionState

MODES: dict[str, tuple[dict[str, Any], bool]] = {
    "legacy": ({"isolation_level": "", "autocommit": -1}, True),
    "legacy before Python 3.12": ({"isolation_level": ""}, True),
    "legacy without transactions": ({"isolation_level": None, "autocommit": -1}, False),
    "autocommit": ({"isolation_level": "", "autocommit": True}, False),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrapped", [False, True], ids=["sqlite3", "aiosqlite"])
def test_modes(mode: str, wrapped: bool) -> None:
    """A write that no transaction is begun for commits by itself. (aiosqlite keeps the driver's connection inside.)"""
    attributes, begins = MODES[mode]
    driver: Any = SimpleNamespace(**attributes)
    driver = SimpleNamespace(_conn=driver) if wrapped else driver
    assert begins_before(driver, "INSERT") is begins
    assert not begins_before(driver, "CREATE")


def test_the_default_mode() -> None:
    """What `sqlite3.connect` gives without arguments is the legacy mode."""
    connection = sqlite3.connect(":memory:")
    assert begins_before(connection, "UPDATE")
    connection.close()


def test_a_half_read_result() -> None:
    """SQLite's answers, which are not documented: one while a result is open, and another when its last row has been read."""
    with create_engine("sqlite://").connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SELECT 1 UNION ALL SELECT 2")
        for expected in (True, True, False):
            assert is_half_read(connection, TransactionState(left_open=True)) is expected
            cursor.fetchone()


def test_an_answer_that_is_not_known() -> None:
    """A version that answers something else, or nothing, leaves it open."""

    def connection(answer: object) -> Any:
        def execute(_sql: str) -> None:
            if answer:
                raise sqlite3.OperationalError(answer)

        driver = SimpleNamespace(execute=execute)
        return SimpleNamespace(
            connection=SimpleNamespace(driver_connection=driver), dialect=SimpleNamespace(is_async=False)
        )

    assert not is_half_read(connection("non-text filename"), TransactionState(left_open=True))
    assert is_half_read(connection("syntax error"), TransactionState(left_open=True))
    assert is_half_read(connection(""), TransactionState(left_open=True))


def test_an_asynchronous_driver_that_cannot_be_asked() -> None:
    """Outside of SQLAlchemy's greenlet nothing can be awaited."""
    connection: Any = SimpleNamespace(
        connection=SimpleNamespace(driver_connection=None), dialect=SimpleNamespace(is_async=True)
    )
    assert is_half_read(connection, TransactionState(left_open=True))
