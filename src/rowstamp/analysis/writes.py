"""What the shape of a DML statement says about its effects; :mod:`.effects` fills in the parameters of each execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
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
from rowstamp.analysis.changed import changed_names
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.pins import Pin, pinned_columns
from rowstamp.analysis.schema import Key, iterate_keys
from rowstamp.analysis.tables import Change, know

__all__ = ["KeyEffect", "WriteAnalysis", "analyse_dml", "any_change"]


@dataclass(frozen=True, slots=True)
class KeyEffect:
    """What is known of a key's values in the rows that a statement changes.

    Attributes:
        key: the names of the key's columns.
        columns: the columns themselves.
        binds: for each column the parameter that has its value and whether that is a list; ``None``: not known.
        from_result: whether the database's answer will tell (the keys of inserted rows).
        moves: whether rows come or go, or get another value of this key.
    """

    key: Key
    columns: tuple[Any, ...]
    binds: tuple[tuple[str, bool], ...] | None
    from_result: bool = False
    moves: bool = True


@dataclass(frozen=True, slots=True)
class WriteAnalysis:
    """What the shape of a DML statement says about its effects.

    Attributes:
        table: the table whose rows are known as far as ``keys`` tell.
        keys: what is known for each key.
        wide: other tables that the statement changes, nothing known of their rows.
        changes: what happens to rows, by which foreign keys make the database change other tables.
        changed: the columns that an UPDATE may change; ``None`` if rows come or go, or any column may change.
    """

    table: FromClause
    keys: tuple[KeyEffect, ...]
    wide: tuple[FromClause, ...]
    changes: tuple[Change, ...]
    changed: frozenset[str] | None = None

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
    changed = changed_names(compiled, statement, table) if compiled.isupdate and sure else None
    keys = tuple(
        _key_effect(compiled, statement, table, key, columns, changed) if sure else KeyEffect(key, tuple(columns), None)
        for key, columns in iterate_keys(table)
    )
    changes = (_change(compiled, statement, table, changed, replaces=replaces), *map(any_change, others))
    return WriteAnalysis(table, keys, tuple(others), changes, changed)


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


def _change(
    compiled: Any, statement: Any, table: FromClause, changed: frozenset[str] | None, *, replaces: bool
) -> Change:
    name = table_key(table)[1].lower()
    if replaces:
        return Change(name, deletes=True, updates=None)
    if compiled.isinsert:
        # A plain INSERT changes no row that another could refer to.
        return Change(name, deletes=False, updates=None if is_upsert(statement) else frozenset())
    if compiled.isdelete:
        return Change(name, deletes=True, updates=frozenset())
    return Change(name, deletes=False, updates=changed)


def _key_effect(
    compiled: Any, statement: Any, table: FromClause, key: Key, columns: list[Any], changed: frozenset[str] | None
) -> KeyEffect:
    if compiled.isinsert:
        known = not (is_upsert(statement) or inserts_several(statement) or statement.select is not None)
        return KeyEffect(key, tuple(columns), None, from_result=known)
    moves = _changes_key(changed, key)
    if compiled.isupdate and moves:
        return KeyEffect(key, tuple(columns), None)
    pins = pinned_columns(statement, table)
    binds = [_bind(pins.get(name), compiled.bind_names) for name in key]
    known_binds = tuple(bind for bind in binds if bind is not None)
    return KeyEffect(key, tuple(columns), known_binds if len(known_binds) == len(key) else None, moves=moves)


def _changes_key(changed: frozenset[str] | None, key: Key) -> bool:
    """Whether rows may come or go, or get another value of a key."""
    return changed is None or any(name.lower() in changed for name in key)


def _bind(pin: Pin | None, names: Mapping[BindParameter[Any], str]) -> tuple[str, bool] | None:
    name = names.get(pin.bind) if pin is not None else None
    return (name, pin.expanding) if pin is not None and name is not None else None
