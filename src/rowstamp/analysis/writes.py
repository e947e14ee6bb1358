"""DML → effects: worked out once per statement shape, filled with parameter values per execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause

from rowstamp._sqlalchemy import changed_columns, dml_ctes, dml_statement, inserts_several, is_upsert, tables_below
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.pins import Pin, pinned_columns
from rowstamp.analysis.schema import (
    Key,
    bound_values,
    cascades,
    iterate_keys,
    key_value,
    key_values,
    schema_of,
    write_names,
)
from rowstamp.model import Dependency

__all__ = ["WriteAnalysis", "analyse_dml", "effects", "inserted_effects", "wide_effects"]

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyEffect:
    """What is known of a key's values in the rows that a statement changes.

    Attributes:
        key: the names of the key's columns.
        columns: the columns themselves.
        binds: for each column the parameter that has its value and whether that is a list; ``None``: not known.
        from_result: whether the database's answer will tell (the keys of inserted rows).
    """

    key: Key
    columns: tuple[Any, ...]
    binds: tuple[tuple[str, bool], ...] | None
    from_result: bool = False


@dataclass(frozen=True, slots=True)
class WriteAnalysis:
    """What the shape of a DML statement says about its effects.

    Attributes:
        table: the table whose rows are known as far as ``keys`` tell.
        keys: what is known for each key.
        wide: other tables that change, nothing known of their rows: further targets, cascades, DML inside CTEs.
    """

    table: FromClause
    keys: tuple[KeyEffect, ...]
    wide: tuple[FromClause, ...]

    @property
    def awaits_result(self) -> bool:
        """Whether the keys of the rows are known only after the execution."""
        return any(key.from_result for key in self.keys)


def analyse_dml(compiled: Any) -> WriteAnalysis:
    """Return what the shape of a compiled INSERT, UPDATE or DELETE says about its effects."""
    statement = dml_statement(compiled)
    targets = [table for table in tables_below(statement.table) if getattr(table, "name", None) is not None]
    table, wide = targets[0], dict.fromkeys(targets[1:])
    for inner in dml_ctes(compiled):
        wide.update(dict.fromkeys(tables_below(inner.table)))
    if compiled.isupdate and len(targets) == 1:
        wide.update(dict.fromkeys(_further_targets(statement, table)))
    key_effects = tuple(_key_effect(compiled, statement, table, key, columns) for key, columns in iterate_keys(table))
    if compiled.isdelete or compiled.isupdate:
        wide.update(dict.fromkeys(cascades(table)))
    if len(targets) > 1:
        key_effects = tuple(KeyEffect(each.key, each.columns, None) for each in key_effects)
    return WriteAnalysis(table, key_effects, tuple(wide))


def _further_targets(statement: Any, table: FromClause) -> Iterable[FromClause]:
    """Return the other tables whose columns an UPDATE sets (MySQL allows it)."""
    return {
        column.table: None
        for column in changed_columns(statement)
        if getattr(column, "table", table) is not table and isinstance(column.table, Table)
    }


def _key_effect(compiled: Any, statement: Any, table: FromClause, key: Key, columns: list[Any]) -> KeyEffect:
    if compiled.isinsert:
        known = not (is_upsert(statement) or inserts_several(statement) or statement.select is not None)
        return KeyEffect(key, tuple(columns), None, from_result=known)
    if compiled.isupdate and _changes_key(compiled, statement, columns):
        return KeyEffect(key, tuple(columns), None)
    pins = pinned_columns(statement, table)
    binds = [_bind(pins.get(name), compiled.bind_names) for name in key]
    known_binds = tuple(bind for bind in binds if bind is not None)
    return KeyEffect(key, tuple(columns), known_binds if len(known_binds) == len(key) else None)


def _changes_key(compiled: Any, statement: Any, columns: Sequence[Any]) -> bool:
    """Whether an UPDATE may give a key column a new value."""
    changed = {getattr(column, "key", column) for column in changed_columns(statement)}
    changed.update(compiled.column_keys or ())
    return any(column.key in changed or column.name in changed or column.onupdate is not None for column in columns)


def _bind(pin: Pin | None, names: Mapping[BindParameter[Any], str]) -> tuple[str, bool] | None:
    name = names.get(pin.bind) if pin is not None else None
    return (name, pin.expanding) if pin is not None and name is not None else None


# ---------------------------------------------------------------------------------------------- per execution


def effects(
    analysis: WriteAnalysis,
    parameter_sets: Sequence[Mapping[str, Any]],
    *,
    scope: str,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
) -> set[Dependency]:
    """Return what one execution of a DML statement touches, as far as it is known before it runs."""
    names = _names(analysis.table, translate)
    found = {Dependency.table(scope, name) for name in names}
    for key in analysis.keys:
        found |= _key_effects(key, names, parameter_sets, scope, dialect)
    for table in analysis.wide:
        found |= wide_effects(schema_of(table, translate), table_key(table)[1], scope)
    return found


def _key_effects(
    key: KeyEffect, names: Names, parameter_sets: Sequence[Mapping[str, Any]], scope: str, dialect: Dialect
) -> set[Dependency]:
    if key.from_result:
        return set()
    unknown = {Dependency.unknown_rows(scope, name, key.key) for name in names}
    if key.binds is None:
        return unknown
    found: set[Dependency] = set()
    for parameters in parameter_sets:
        options = [bound_values(parameters.get(bind), expanding=expanding) for bind, expanding in key.binds]
        values = key_values(key.columns, dialect, options)
        if values is None:
            return unknown
        found |= {Dependency.rows(scope, name, key.key, value) for name in names for value in values}
    return found


def inserted_effects(
    analysis: WriteAnalysis,
    rows: Sequence[Sequence[Any] | None] | None,
    *,
    scope: str,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
) -> set[Dependency]:
    """Return what an INSERT touched by key, from the primary keys the database gave to its rows.

    Args:
        analysis: what :func:`analyse_dml` said of its shape.
        rows: the primary key of each inserted row, or ``None`` where it is not known.
        scope: the identity of the database.
        dialect: the dialect of the engine that executed it.
        translate: the ``schema_translate_map`` in force.
    """
    names = _names(analysis.table, translate)
    found: set[Dependency] = set()
    for key in analysis.keys:
        values = _inserted_values(key, rows, dialect)
        if values is None:
            found |= {Dependency.unknown_rows(scope, name, key.key) for name in names}
        else:
            found |= {Dependency.rows(scope, name, key.key, value) for name in names for value in values}
    return found


def _inserted_values(
    key: KeyEffect, rows: Sequence[Sequence[Any] | None] | None, dialect: Dialect
) -> list[bytes] | None:
    if not key.from_result or rows is None:
        return None
    values: list[bytes] = []
    for row in rows:
        value = key_value(key.columns, dialect, tuple(row)) if row is not None and len(row) == len(key.key) else None
        if value is None:
            return None
        values.append(value)
    return values


def wide_effects(schema: str | None, name: str, scope: str) -> set[Dependency]:
    """Return the effects of a write to a table of whose rows nothing is known."""
    found: set[Dependency] = set()
    for stamp in write_names(schema, name):
        found.add(Dependency.table(scope, stamp))
        found.add(Dependency.unknown_rows(scope, stamp))
    return found


def _names(table: FromClause, translate: Mapping[Any, Any] | None) -> Names:
    return write_names(schema_of(table, translate), table_key(table)[1])
