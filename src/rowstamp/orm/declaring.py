"""What ``cache.declare`` may be given, turned into a declaration."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from sqlalchemy import Column, Table
from sqlalchemy.orm import InstrumentedAttribute

from rowstamp._sqlalchemy import is_table
from rowstamp.analysis.declarations import Declaration, Name, split
from rowstamp.analysis.schema import iterate_keys
from rowstamp.errors import ConfigurationError
from rowstamp.orm.targets import mapped_tables

__all__ = ["declaration_of"]

_IDENTIFIER: Final = re.compile(r"[^\s.()]+(\.[^\s.()]+)?")
_REMEDY: Final = "give mapped classes or Tables, such as depends_on=[Product]"


def declaration_of(
    name: object, depends_on: Collection[object] | None, writes: Collection[object]
) -> list[tuple[Name, Declaration]]:
    """Return what is declared, by name: several if the name is a class of several tables.

    Raises:
        ConfigurationError: the name is none, nothing is declared of it, or something is neither mapped nor a table.
    """
    names = _names(name)
    if depends_on is None and not writes:
        msg = f"declare({name!r}) of nothing: say depends_on=[...], [] for a function that reads no table, or writes=[...]"
        raise ConfigurationError(msg)
    tables: set[Name] = set()
    columns: set[tuple[Name, str]] = set()
    for each in _collection("writes", writes):
        if isinstance(each, InstrumentedAttribute | Column):
            _sort_column(each, tables, columns)
        else:
            tables.update(_tables("writes", each))
    read = None
    if depends_on is not None:
        read = frozenset(
            table for each in _collection("depends_on", depends_on) for table in _tables("depends_on", each)
        )
    declaration = Declaration(read, frozenset(tables), frozenset(columns))
    return [(each, declaration) for each in names]


def _names(name: object) -> list[Name]:
    if isinstance(name, str):
        if not _IDENTIFIER.fullmatch(name):
            msg = (
                f"declare({name!r}): no name of a view, function or table: write it as SQL does, such as 'sales.totals'"
            )
            raise ConfigurationError(msg)
        return [split(name)]
    return [*_tables("name", name)]


def _collection(option: str, values: Any) -> Collection[Any]:
    if isinstance(values, str | type) or not isinstance(values, Collection):
        msg = f"{option}={values!r} is no collection: {_REMEDY}"
        raise ConfigurationError(msg)
    return values  # pyright: ignore[reportUnknownVariableType]


def _tables(option: str, model: object) -> Iterator[Name]:
    try:
        found = mapped_tables(model)
    except ConfigurationError as exc:
        shown = str(model) if isinstance(model, InstrumentedAttribute) else repr(model)  # pyright: ignore[reportUnknownArgumentType]
        msg = f"declare: {option} has {shown}, which is neither a mapped class nor a Table: {_REMEDY}"
        raise ConfigurationError(msg) from exc
    for table in found:
        yield _name(table)


def _name(table: Table[Any]) -> Name:
    return table.schema.lower() if table.schema else None, table.name.lower()


def _sort_column(attribute: Any, tables: set[Name], columns: set[tuple[Name, str]]) -> None:
    """Sort a column in: one that is part of a key changes which rows are meant, so its table changes in ways not known."""
    column: Any = attribute
    if isinstance(attribute, InstrumentedAttribute):
        column = next(iter(getattr(attribute.property, "columns", ())), None)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    table: Any = getattr(column, "table", None)
    if not isinstance(column, Column) or not is_table(table):
        msg = f"declare: writes has {attribute}, which is no column of a table: give a column such as Order.total"
        raise ConfigurationError(msg)
    if any(column.name in key for key, _ in iterate_keys(table)):
        tables.add(_name(table))
    else:
        columns.add((_name(table), column.name.lower()))
