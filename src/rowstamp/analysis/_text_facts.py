"""What is known about a piece of raw SQL, and how the facts of several statements become those of one string."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["Name", "NotUnderstood", "TextFacts", "TextKind", "nothing", "unknown"]

Name = tuple[str | None, str]
"""A table as a text names it: its schema, if given, and its name, both in lower case."""


class TextKind(enum.Enum):
    """What a raw SQL string does, as far as a cache and the tracker of transactions care."""

    READ = "read"
    """A query; also one that locks rows."""
    WRITE = "write"
    """Changes rows: DML, ``COPY … FROM``, a query with a writing CTE, ``SELECT … INTO``."""
    DEFINE = "define"
    """DDL and TRUNCATE. On MySQL and MariaDB these also commit the transaction they are run in."""
    BEGIN = "begin"
    """Begins a transaction."""
    COMMIT = "commit"
    """Commits the transaction; with ``AND CHAIN`` another one begins at once."""
    ROLLBACK = "rollback"
    """Ends the transaction without its changes; with ``AND CHAIN`` another one begins at once."""
    SAVEPOINT = "savepoint"
    """Makes, releases or rolls back to a savepoint; the transaction goes on. (On SQLite a savepoint outside of a
    transaction begins one, and its release commits.)"""
    SESSION = "session"
    """Changes what later statements of the same connection mean: SET, USE, ATTACH, temporary tables, …"""
    HARMLESS = "harmless"
    """Neither changes data or the session nor returns anything worth caching: SHOW, EXPLAIN, VACUUM, …"""
    UNKNOWN = "unknown"
    """Could do anything, ending the transaction included."""


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What a raw SQL string reads, writes and calls.

    Args:
        kind: the most dangerous thing that one of its statements does.
        reads: the tables that it names otherwise than as the target of a write. CTEs are not tables. Views, system
            catalogues and names that the database does not know are reported as tables.
        writes: the tables that it may change. They count whatever `kind` says: a string can write *and* set the session.
        functions: the functions that it calls, in lower case and without arguments; with their schema where that is
            written and not ``pg_catalog``. Also the niladic ones (``current_date``), variables (``@a``, ``@@b``),
            PostgreSQL's literals for moments (``now``, ``today``, …), types that take arguments, and ``explain``,
            ``copy``, ``call`` and ``declare cursor`` where the result is not that of the query inside.
        locks: whether it locks rows or tables.
        understood: ``False`` when nothing above may be relied on.
        reason: why it is not understood; empty otherwise.
    """

    kind: TextKind
    reads: frozenset[Name] = frozenset()
    writes: frozenset[Name] = frozenset()
    functions: frozenset[str] = frozenset()
    locks: bool = False
    understood: bool = True
    reason: str = ""


class NotUnderstood(Exception):
    """Raised inside the analysis of a text at the first thing that is not certain; the message is the reason."""


def unknown(reason: str, kind: TextKind = TextKind.UNKNOWN) -> TextFacts:
    """Return the facts of a text that is not understood."""
    return TextFacts(kind, understood=False, reason=reason)


def nothing(kind: TextKind) -> TextFacts:
    """Return the facts of a statement that names no table and calls no function."""
    return TextFacts(kind)


_DANGER: Final = (TextKind.HARMLESS, TextKind.READ, TextKind.WRITE, TextKind.DEFINE, TextKind.SESSION, TextKind.UNKNOWN)
"""From the least to the most dangerous, of the kinds that may share a string."""


def union(parts: Sequence[TextFacts]) -> TextFacts:
    """Return the facts of a string from those of its statements."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return nothing(TextKind.HARMLESS)
    if any(part.kind not in _DANGER for part in parts):
        return unknown("transaction control together with other statements in one string")
    lost = next((part for part in parts if not part.understood), None)
    together = TextFacts(
        kind=max((part.kind for part in parts), key=_DANGER.index),
        reads=frozenset[Name]().union(*(part.reads for part in parts)),
        writes=frozenset[Name]().union(*(part.writes for part in parts)),
        functions=frozenset[str]().union(*(part.functions for part in parts)),
        locks=any(part.locks for part in parts),
    )
    return together if lost is None else replace(together, understood=False, reason=lost.reason)
