"""What only SQLite's connections know: whether a transaction is open, and whether a result is half read.

A result of which not all rows were read keeps the snapshot that it began with, in a transaction or not; in WAL mode others
commit meanwhile, and whatever is read beside it on that connection is as old as the result. SQLAlchemy cannot tell which results
are still open: one may outlive its session, or have been made on the driver's connection. So SQLite itself is asked.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from sqlalchemy.engine import Connection

from rowstamp._sqlalchemy import await_in_greenlet, in_greenlet
from rowstamp.orm.transaction import TransactionState

__all__ = ["begins_before", "in_driver_transaction", "is_half_read"]

_QUESTION: Final = "VACUUM main INTO 1"
"""Refused in any case, and with another reason while statements are in progress: no other statement shows that. It takes no lock."""

_NOTHING_IN_PROGRESS: Final = "non-text filename"


def in_driver_transaction(connection: Connection) -> bool:
    """Return whether the driver has a transaction open."""
    driver: Any = connection.connection.driver_connection
    return bool(getattr(driver, "in_transaction", True))


def is_half_read(connection: Connection, state: TransactionState) -> bool:
    """Return whether a result is open whose snapshot a statement would share; ``True`` where there is no telling.

    Args:
        connection: where the statement would run.
        state: what is known of it; if no result was left to the driver, nobody is asked.
    """
    if state.left_open:
        state.left_open = _has_statements_in_progress(connection)
    return state.left_open


def _has_statements_in_progress(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    if not connection.dialect.is_async:
        return _refusal(driver) != _NOTHING_IN_PROGRESS
    return not in_greenlet() or await_in_greenlet(_awaited_refusal(driver)) != _NOTHING_IN_PROGRESS


def _refusal(driver: Any) -> str:
    try:
        driver.execute(_QUESTION)
    except sqlite3.Error as exc:
        return str(exc)
    return ""


async def _awaited_refusal(driver: Any) -> str:
    try:
        await driver.execute(_QUESTION)
    except sqlite3.Error as exc:
        return str(exc)
    return ""


def begins_before(driver: Any, verb: str) -> bool:
    """Return whether the driver itself begins a transaction before a statement.

    By default it does so before these verbs only, and before none when its isolation level is ``None`` or, from Python 3.12 on,
    ``autocommit=True``. (With ``autocommit=False`` a transaction is always open.)

    Args:
        driver: the driver's connection.
        verb: the statement's first word, upper case.
    """
    driver = getattr(driver, "_conn", driver)  # aiosqlite's, which does not show the attribute
    if getattr(driver, "autocommit", None) is True or getattr(driver, "isolation_level", "") is None:
        return False
    return verb in {"INSERT", "UPDATE", "DELETE", "REPLACE"}
