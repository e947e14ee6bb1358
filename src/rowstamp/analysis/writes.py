"""What the shape of a DML statement says about its effects; :mod:`.effects` fills in the parameters of each execution."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause

from rowstamp._sqlalchemy import (
    changed_columns,
    dml_ctes,
    dml_statement,
    has_prefixes,
    is_upsert,
    tables_below,
    upsert_clause,
)
from rowstamp._sqlalchemy.upserts import skips_conflicts
from rowstamp.analysis.changed import changed_names
from rowstamp.analysis.chosen import Chosen, chosen_rows
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.conditions import Bound
from rowstamp.analysis.pins import pinned_columns
from rowstamp.analysis.schema import Key, iterate_keys
from rowstamp.analysis.sources import Part, Source, rows_given, stored_part
from rowstamp.analysis.tables import Change, know

__all__ = ["KeyEffect", "Rows", "Touch", "WriteAnalysis", "analyse_dml", "any_change"]

NO_COLUMNS: Final = frozenset[str]()


class Rows(enum.Enum):
    """Which rows a key's values belong to."""

    BEFORE = "rows as they were before they were changed or deleted"
    AFTER = "rows as they are afterwards"


@dataclass(frozen=True, slots=True)
class Touch:
    """Rows that a statement touches, by what is known of their value of one key.

    Attributes:
        rows: which rows.
        source: where the value is found, column by column.
        moves: whether the rows come, go, or get or lose the value.
        columns: the columns in which they change.
        new: whether they come, so that none of them was there before.
    """

    rows: Rows
    source: Source
    moves: bool = True
    columns: frozenset[str] = NO_COLUMNS
    new: bool = False


@dataclass(frozen=True, slots=True)
class KeyEffect:
    """What a statement touches of one key.

    Attributes:
        key: the names of the key's columns.
        columns: the columns themselves.
        touches: which rows, in what way.
        from_result: whether the database's answer tells the values that the parameters do not (primary keys of inserts).
    """

    key: Key
    columns: tuple[Any, ...]
    touches: tuple[Touch, ...]
    from_result: bool = False


@dataclass(frozen=True, slots=True)
class WriteAnalysis:
    """What the shape of a DML statement says about its effects.

    Attributes:
        table: the table whose rows are known as far as ``keys`` tell.
        keys: what is known for each key.
        wide: other tables that the statement changes, nothing known of their rows.
        changes: what happens to rows, by which foreign keys make the database change other tables.
        changed: the columns that an UPDATE may change; ``None`` if rows come or go, or any column may change.
        chosen: the rows that it chooses, if the database can be asked for them.
    """

    table: FromClause
    keys: tuple[KeyEffect, ...]
    wide: tuple[FromClause, ...]
    changes: tuple[Change, ...]
    changed: frozenset[str] | None = None
    chosen: Chosen | None = None


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
    skips = compiled.isinsert and skips_conflicts(statement, compiled.dialect.name)
    # Words such as OR REPLACE, in the statement or the table's own rules, let it remove rows that it does not name.
    replaces = (has_prefixes(statement) and not skips) or _replaces_rows(table)
    sure = len(targets) == 1 and not replaces
    changed = changed_names(compiled, statement, table) if compiled.isupdate and sure else None
    keys = tuple(_keys(compiled, statement, table, changed) if sure else _unknown_keys(table))
    changes = (_change(compiled, statement, table, changed, replaces=replaces), *map(any_change, others))
    chosen = None if compiled.isinsert or others or not sure else chosen_rows(statement, table, compiled.bind_names)
    return WriteAnalysis(table, keys, tuple(others), changes, changed, chosen)


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


def _unknown_keys(table: FromClause) -> Iterator[KeyEffect]:
    """Yield the keys of a table of whose rows nothing is known."""
    for key, columns in iterate_keys(table):
        yield KeyEffect(key, tuple(columns), (Touch(Rows.BEFORE, _nothing(key)),))


def _nothing(key: Key) -> Source:
    return (None,) * len(key)


def _keys(compiled: Any, statement: Any, table: FromClause, changed: frozenset[str] | None) -> Iterator[KeyEffect]:
    primary = {column.name for column in table.primary_key}
    pins = {} if compiled.isinsert else pinned_columns(statement, table)
    for key, columns in iterate_keys(table):
        if compiled.isinsert:
            made = tuple(Touch(Rows.AFTER, source, new=True) for source in _inserted(compiled, statement, columns))
            touches = made if not is_upsert(statement) else (*made, Touch(Rows.BEFORE, _nothing(key)))
            # Of the rows that a conflict has left out the result says nothing.
            known = upsert_clause(statement) is None and not has_prefixes(statement) and statement.select is None
            yield KeyEffect(key, tuple(columns), touches, from_result=known and set(key) == primary)
            continue
        before = tuple(_compared(pins.get(name), compiled.bind_names) for name in key)
        moves = _changes_key(changed, key)
        touches = (Touch(Rows.BEFORE, before, moves, changed or NO_COLUMNS),)
        if compiled.isupdate and moves:
            after = _updated(compiled, columns, before, changed)
            touches += (Touch(Rows.AFTER, after, moves, changed or NO_COLUMNS),)
        yield KeyEffect(key, tuple(columns), touches)


def _inserted(compiled: Any, statement: Any, columns: Sequence[Any]) -> Iterator[Source]:
    """Yield where the values of a key are found, for each row of VALUES."""
    # MySQL's IGNORE stores other values than were given, if these do not fit.
    if statement.select is not None or (has_prefixes(statement) and compiled.dialect.name != "sqlite"):
        yield (None,) * len(columns)
        return
    for row in rows_given(compiled):
        yield tuple(stored_part(compiled, row, column) for column in columns)


def _updated(compiled: Any, columns: Sequence[Any], before: Source, changed: frozenset[str] | None) -> Source:
    """Return where the new values of a key are found: what SET gives, and what stays."""
    (row,) = rows_given(compiled)
    return tuple(
        stored_part(compiled, row, column) if changed is None or column.name.lower() in changed else part
        for column, part in zip(columns, before, strict=True)
    )


def _changes_key(changed: frozenset[str] | None, key: Key) -> bool:
    """Whether rows may come or go, or get another value of a key."""
    return changed is None or any(name.lower() in changed for name in key)


def _compared(pin: Bound | None, names: Mapping[BindParameter[Any], str]) -> Part | None:
    name = names.get(pin.bind) if pin is not None else None
    return Part(name, pin.expanding) if pin is not None and name is not None else None
