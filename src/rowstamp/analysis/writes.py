"""DML → effects: worked out once per statement shape, filled with parameter values per execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause

from rowstamp._sqlalchemy import (
    changed_columns,
    dml_ctes,
    dml_statement,
    has_prefixes,
    inserts_several,
    is_upsert,
    tables_below,
)
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.equality import bound_values, key_value, key_values
from rowstamp.analysis.pins import Pin, pinned_columns
from rowstamp.analysis.schema import (
    Key,
    iterate_keys,
    schema_of,
    write_names,
)
from rowstamp.analysis.tables import Change, cascaded, keys_differ, know
from rowstamp.model import Dependency

__all__ = [
    "WriteAnalysis",
    "analyse_dml",
    "any_change",
    "cascade_effects",
    "effects",
    "inserted_effects",
    "wide_effects",
]

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
        wide: other tables that the statement changes, nothing known of their rows.
        changes: what happens to rows, by which foreign keys make the database change other tables.
    """

    table: FromClause
    keys: tuple[KeyEffect, ...]
    wide: tuple[FromClause, ...]
    changes: tuple[Change, ...]

    @property
    def awaits_result(self) -> bool:
        """Whether the keys of the rows are known only after the execution."""
        return any(key.from_result for key in self.keys)


def analyse_dml(compiled: Any) -> WriteAnalysis:
    """Return what the shape of a compiled INSERT, UPDATE or DELETE says about its effects."""
    statement = dml_statement(compiled)
    targets = [table for table in tables_below(statement.table) if getattr(table, "name", None) is not None]
    table, others = targets[0], dict.fromkeys(targets[1:])
    if compiled.isupdate:
        others.update(dict.fromkeys(_further_targets(statement, table)))
    for inner in dml_ctes(compiled):
        others.update(dict.fromkeys(tables_below(inner.table)))
    know((table, *others))
    # Words such as OR REPLACE, in the statement or the table's own rules, let it remove rows that it does not name.
    replaces = has_prefixes(statement) or _replaces_rows(table)
    sure = len(targets) == 1 and not replaces
    keys = tuple(
        _key_effect(compiled, statement, table, key, columns) if sure else KeyEffect(key, tuple(columns), None)
        for key, columns in iterate_keys(table)
    )
    changes = (_change(compiled, statement, table, replaces=replaces), *map(any_change, others))
    return WriteAnalysis(table, keys, tuple(others), changes)


def _further_targets(statement: Any, table: FromClause) -> Iterable[FromClause]:
    """Return the other tables whose columns an UPDATE sets (MySQL allows it)."""
    return {
        column.table: None
        for column in changed_columns(statement)
        if getattr(column, "table", table) is not table and isinstance(column.table, Table)
    }


def _replaces_rows(table: FromClause) -> bool:
    """Whether a rule of the table itself says ON CONFLICT REPLACE (SQLite)."""
    if not isinstance(table, Table):
        return False
    elements: list[Any] = [*table.columns, *table.constraints]
    return any(str(value).upper() == "REPLACE" for each in elements for value in each.dialect_kwargs.values())


def any_change(table: FromClause) -> Change:
    """Return the change of a table of which nothing is known but that it is written."""
    return Change(table_key(table)[1].lower(), deletes=True, updates=None)


def _change(compiled: Any, statement: Any, table: FromClause, *, replaces: bool) -> Change:
    name = table_key(table)[1].lower()
    if replaces:
        return Change(name, deletes=True, updates=None)
    if compiled.isinsert:
        # A plain INSERT changes no row that another could refer to.
        return Change(name, deletes=False, updates=None if is_upsert(statement) else frozenset())
    if compiled.isdelete:
        return Change(name, deletes=True, updates=frozenset())
    changed = {str(getattr(column, "key", column)) for column in changed_columns(statement)}
    changed.update(compiled.column_keys or ())
    names = {str(column.name).lower() for column in table.c if column.key in changed or _changes_by_itself(column)}
    return Change(name, deletes=False, updates=frozenset(names))


def _changes_by_itself(column: Any) -> bool:
    return getattr(column, "onupdate", None) is not None or getattr(column, "server_onupdate", None) is not None


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
    return any(column.key in changed or column.name in changed or _changes_by_itself(column) for column in columns)


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
    if keys_differ(analysis.table):
        found |= {Dependency.unknown_rows(scope, name) for name in names}
    for table in analysis.wide:
        found |= wide_effects(schema_of(table, translate), table_key(table)[1], scope)
    return found | cascade_effects(analysis.changes, scope=scope, translate=translate)


def cascade_effects(
    changes: Iterable[Change], *, scope: str, translate: Mapping[Any, Any] | None = None
) -> set[Dependency]:
    """Return the effects on the tables that the database itself changes along with others."""
    found: set[Dependency] = set()
    for schema, name in cascaded(changes):
        found |= wide_effects(translate.get(schema, schema) if translate else schema, name, scope)
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
