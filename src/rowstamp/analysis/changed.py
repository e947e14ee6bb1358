"""Which columns an UPDATE may give other values: those it sets, and those that change along with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Column, Table, types
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.sql.visitors import iterate

from rowstamp._sqlalchemy import changed_columns, is_table
from rowstamp.analysis.tables import namesakes

__all__ = ["changed_along", "changed_names"]


def changed_names(compiled: Any, statement: Any, table: FromClause) -> frozenset[str] | None:
    """Return the names, lower case, of the columns of a table that an UPDATE may change; ``None``: any of them.

    Args:
        compiled: the compiled UPDATE.
        statement: the statement that was compiled, in Core form.
        table: its target.
    """
    named = _named(statement, compiled.column_keys or (), table)
    if named is None or not is_table(table):
        return None  # what a table does by itself only its metadata tells
    return changed_along(table, named, compiled.dialect)


def changed_along(
    table: Table[Any], columns: Iterable[str], dialect: Dialect, *, by_foreign_key: bool = False
) -> frozenset[str]:
    """Add to the columns of a table that an UPDATE sets those that may change along with them; all in lower case.

    Args:
        table: the table.
        columns: the columns that are set.
        dialect: the database's.
        by_foreign_key: whether the database itself sets them, to which SQLAlchemy's ``onupdate`` adds nothing.
    """
    # Other metadata of the program may say more of the same table.
    descriptions: list[Table[Any]] = [table, *namesakes(table.name)]
    found = {*columns}.union(*(_by_themselves(each, dialect, by_foreign_key=by_foreign_key) for each in descriptions))
    while True:
        more = {name for each in descriptions for name in _computed_from(each, found)} - found
        if not more:
            return frozenset(found)
        found |= more


def _named(statement: Any, keys: Iterable[str], table: FromClause) -> set[str] | None:
    """Return the columns that SET names, by themselves or as parameters."""
    by_key = {column.key: str(column.name).lower() for column in table.c}
    # Parameters that are no column's belong to the WHERE clause.
    found = {by_key[key] for key in keys if key in by_key}
    for each in changed_columns(statement):
        if isinstance(each, str):
            if each in by_key:
                found.add(by_key[each])
            continue
        # A part of a column may be set as well: an element of an array, a key of a JSON document.
        parts: list[Any] = [part for part in iterate(each) if part.__visit_name__ == "column"]
        if not parts:
            return None
        found.update(str(part.name).lower() for part in parts)
    return found


_ON_UPDATE: Final = re.compile(r"\bon\s+update\b", re.IGNORECASE)


def _by_themselves(table: Table[Any], dialect: Dialect, *, by_foreign_key: bool) -> Iterator[str]:
    """Yield the columns that get another value with every UPDATE, from SQLAlchemy or from the database."""
    for column in table.columns:
        by_database = column.server_onupdate is not None and column.computed is None
        changes = by_database or (column.onupdate is not None and not by_foreign_key)
        default = getattr(column.server_default, "arg", None)
        # In MySQL's dialects that is how ON UPDATE is written, and a TIMESTAMP without a default may have it anyway.
        if changes or _ON_UPDATE.search(str(default)) or (default is None and _is_timestamp(column, dialect)):
            yield column.name.lower()


def _is_timestamp(column: Column[Any], dialect: Dialect) -> bool:
    if dialect.name not in {"mysql", "mariadb"}:
        return False
    type_: Any = column.type.dialect_impl(dialect)
    return isinstance(getattr(type_, "impl_instance", type_), types.TIMESTAMP)


def _computed_from(table: Table[Any], changed: set[str]) -> Iterator[str]:
    """Yield the generated columns whose expression may name one of the changed columns."""
    for column in table.columns:
        if column.computed is None:
            continue
        # Every word of the text that could be the name: one too many is harmless, one too few is not.
        words = set(re.findall(r"\w+", str(column.computed.sqltext).lower()))
        if not changed.isdisjoint(words) or any(not re.fullmatch(r"\w+", name) for name in changed):
            yield column.name.lower()
