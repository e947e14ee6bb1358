"""What a raw SQL string reads, writes and calls.

Sound before precise: whatever is not certain is not understood, and the caller must then expect the worst. The way there:
`_text_lexer` cuts the text as the database would, `_text_commands` and `_text_define` decide what keywords decide, and
`_text_tree` reads the parser's tree of queries and DML.

What no text shows, and the caller has to know: what is behind a view; triggers, rules and foreign keys that write
further tables; partitions and inheritance; functions that a schema puts before the built-in ones; PostgreSQL's
``row.function`` notation and operators; bound values that are read as moments (``'today'``: :mod:`.moments`).
"""

from __future__ import annotations

import functools
from typing import Final

from rowstamp.analysis._text_commands import statement_facts
from rowstamp.analysis._text_facts import NotUnderstood, TextFacts, TextKind, union, unknown
from rowstamp.analysis._text_lexer import lex, statements

__all__ = ["LONGEST", "TextFacts", "TextKind", "parse_text"]

LONGEST: Final = 65_536
"""Most characters of a text that is looked at. Longer ones are loads of data, and would cost seconds and memory."""

_DIALECTS: Final = {"postgresql": "postgres", "sqlite": "sqlite", "mysql": "mysql", "mariadb": "mysql"}
"""SQLAlchemy's names of databases and the parser's."""


def parse_text(sql: str, dialect_name: str) -> TextFacts:
    """Return what a raw SQL string does, as far as that is certain.

    Results are kept for the texts used last. Safe in threads; never raises.

    Args:
        sql: one or more statements, with bind markers of any style.
        dialect_name: SQLAlchemy's name of the database; one that is not known here is not understood.
    """
    if len(sql) > LONGEST:
        return unknown(f"longer than {LONGEST} characters")
    return _parse_text(sql, dialect_name)


@functools.lru_cache(maxsize=1024)
def _parse_text(sql: str, dialect_name: str) -> TextFacts:
    dialect = _DIALECTS.get(dialect_name)
    if dialect is None:
        return unknown(f"the SQL of {dialect_name} is not known")
    try:
        return union([statement_facts(statement, dialect) for statement in statements(lex(sql, dialect))])
    except NotUnderstood as problem:
        return unknown(str(problem))
    except Exception as problem:  # noqa: BLE001 - a text that breaks the parser, by its depth for one, is not understood
        return unknown(f"the parser failed: {type(problem).__name__}")
