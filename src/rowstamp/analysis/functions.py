"""Which SQL functions a cached query may call.

A name is *pure* only if the built-in function of that name depends on nothing but its arguments and writes nothing; what
depends on the session's settings (time zone, locale, text search configuration, SQL mode) counts as its argument, because
a change of settings makes the connection bypass the cache. It is *volatile* if its value changes without any table
changing, or if it acts on the session, on locks or sequences, but never on a table's rows: a query that calls it is not
cached, and changes nothing. It is *unknown* otherwise: a user's function may read and write anything, and so may those
built-in ones that run SQL they are given, touch large objects, files or other servers.

What no name shows: a user's function in a schema that is searched before the built-in ones, or a better match for the
arguments' types.
"""

from __future__ import annotations

import enum
from typing import Final

from rowstamp.analysis import _function_names as names

__all__ = ["ALTERING", "PURE", "VOLATILE", "VOLATILE_IN", "FunctionKind", "classify"]


class FunctionKind(enum.Enum):
    """What may be expected of a function."""

    PURE = "pure"
    """Its value depends on its arguments alone, and it writes nothing."""
    VOLATILE = "volatile"
    """Its value may change at any time, or it acts; it changes no rows of tables."""
    UNKNOWN = "unknown"
    """It may read and write anything."""


VOLATILE: Final = names.ANYWHERE_VOLATILE | {"call", "declare cursor"}
"""What is volatile on every database, with PostgreSQL's literals for moments and the marks that `text` sets."""

_MYSQL_VOLATILE: Final = names.MYSQL_VOLATILE
_MYSQL: Final = names.STANDARD | names.MYSQL

VOLATILE_IN: Final[dict[str, frozenset[str]]] = {
    "postgresql": names.POSTGRESQL_VOLATILE,
    "sqlite": names.SQLITE_VOLATILE,
    "mysql": _MYSQL_VOLATILE,
    "mariadb": _MYSQL_VOLATILE,
}
"""What is volatile besides on one database, by SQLAlchemy's name of it.

The names mean different things: ``date(x)`` is pure on MySQL and PostgreSQL, but SQLite's knows ``'now'``, and PostgreSQL's
``age`` takes today for a missing argument.
"""

PURE: Final[dict[str, frozenset[str]]] = {
    "postgresql": names.STANDARD | names.POSTGRESQL,
    "sqlite": names.SQLITE | {"cast"},
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}
"""The functions known to be pure, by SQLAlchemy's name of the database."""

ALTERING: Final = frozenset({"set_config"})
"""PostgreSQL's function that does what ``SET`` does. Nothing else of the kind hides in a query."""

_NONE: Final[frozenset[str]] = frozenset()


def classify(name: str, dialect_name: str) -> FunctionKind:
    """Return what may be expected of a function.

    Args:
        name: its name in any case, with its schema if one is written. A schema other than ``pg_catalog`` makes it unknown.
            MySQL's variables (``@a``, ``@@b``) are volatile.
        dialect_name: SQLAlchemy's name of the database.
    """
    name = name.lower()
    if dialect_name == "postgresql":
        name = name.removeprefix("pg_catalog.")
    if name in VOLATILE or name in VOLATILE_IN.get(dialect_name, _NONE) or name.startswith("@"):
        return FunctionKind.VOLATILE
    if dialect_name == "sqlite" and name.startswith("pragma_"):
        return FunctionKind.VOLATILE  # only pragmas without side effects are functions as well
    return FunctionKind.PURE if name in PURE.get(dialect_name, _NONE) else FunctionKind.UNKNOWN
