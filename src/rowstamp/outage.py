"""Which errors say that the database is not there, rather than that a statement or a function is wrong.

An old result may be served in the place of the first, if its user says so (``stale_if_error=``). In the place of the second it would hide
a mistake. The class of the exception does not tell them apart: drivers raise ``OperationalError`` for a table that does not exist (SQLite),
for an unknown column (PyMySQL) and for a connection that was refused. So the database's own code is looked at.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

__all__ = ["is_mariadb_end", "is_outage"]

_MARIADB_ENDS: Final = frozenset({1053, 1077, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927})
"""Errors by which MariaDB or MySQL ends a connection or a statement: shutdown, broken packets, a connection that was killed."""

_MARIADB_REFUSALS: Final = frozenset({1040, 1129, 1203, 1969, 3024})
"""And those by which it takes no more connections, or a statement has taken too long."""

_POSTGRESQL: Final = ("08", "53", "57", "58")
"""Classes of SQLSTATE: connections, resources (too many connections), intervention (shutdown, statement timeout), the system."""

_SQLITE: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL}
)


def is_outage(exc: BaseException) -> bool:
    """Return whether an exception of a load says that the database is not there, or does not answer in time.

    That is: a connection that is lost, refused, or not to be had from the pool in time; a statement that was cancelled because it
    took too long; an error of the network. An ``OSError`` that names a file is none.
    """
    if isinstance(exc, DBAPIError):
        return exc.connection_invalidated or _says_so(exc, exc.orig)
    if isinstance(exc, PoolTimeout):
        return True
    # Drivers that connect by themselves (asyncpg) raise what the socket raises, also that its path is not there: without a name.
    return isinstance(exc, OSError) and exc.filename is None


def is_mariadb_end(number: int) -> bool:
    """Return whether an error of MariaDB or MySQL says that a connection or a statement has ended, rather than answers it.

    The numbers from 2000 are those of their client: it has lost the server, or has not reached it.
    """
    return 2000 <= number < 3000 or number in _MARIADB_ENDS


def _says_so(exc: DBAPIError, cause: Any) -> bool:
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE  # the rest of an extended code says more of the same
    if isinstance(cause, sqlite3.Error):
        return False
    number = cause.args[0] if cause is not None and cause.args else None
    if isinstance(number, int):
        return is_mariadb_end(number) or number in _MARIADB_REFUSALS
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if isinstance(state, str):
        return state.startswith(_POSTGRESQL)
    # Neither a number nor a state: no server has said it. libpq, for one, has no connection.
    return isinstance(exc, OperationalError)
