"""Find out whether a PostgreSQL database has collations under which different texts are equal."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy.engine import Dialect

from rowstamp.analysis.collations import collations_known, know_collations

__all__ = ["ask_for_collations", "note_collation"]

_QUERY: Final = "SELECT count(*) FROM pg_catalog.pg_collation WHERE NOT collisdeterministic"
_CREATES: Final = re.compile(r"\bCREATE\s+COLLATION\b", re.IGNORECASE)


def ask_for_collations(dialect: Any, connection: Any) -> None:
    """Ask a new driver connection, if no other was asked before. Without an answer text is not compared at all.

    It is done before anybody uses the connection: asking later would give somebody's transaction its snapshot too early.
    """
    if collations_known(dialect) is not None:
        return
    try:
        cursor = connection.cursor()
        try:
            cursor.execute(_QUERY)
            (loose,) = cursor.fetchone()
        finally:
            cursor.close()
            dialect.do_rollback(connection)
    except dialect.loaded_dbapi.Error:
        return
    know_collations(dialect, exact=not loose)


def note_collation(dialect: Dialect, sql: str) -> None:
    """Notice that SQL text makes a collation."""
    if dialect.name == "postgresql" and _CREATES.search(sql):
        know_collations(dialect, exact=False)
