"""The effects of one execution of a DML statement: what its shape leaves open, filled with parameter values.

A write touches a stamp, and each facet of it that the write concerns (:class:`rowstamp.model.Dependency`): rows that come, go or get
another key concern the membership, an UPDATE of known columns concerns these. A write of which that is not known
concerns the membership, on which every reader depends that does not depend on the stamp itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import FromClause

from rowstamp.analysis.collect import table_key
from rowstamp.analysis.equality import bound_values, key_value, key_values
from rowstamp.analysis.schema import schema_of, write_names
from rowstamp.analysis.tables import Change, cascaded, keys_differ
from rowstamp.analysis.writes import KeyEffect, WriteAnalysis
from rowstamp.model import Dependency

__all__ = ["cascade_effects", "effects", "inserted_effects", "wide_effects"]

Names = tuple[str, ...]


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
    columns = analysis.changed or frozenset()
    found: set[Dependency] = set()
    for name in names:
        found.update(_facets(Dependency.table(scope, name), columns, moves=analysis.changed is None))
    for key in analysis.keys:
        for stamp in _key_effects(key, names, parameter_sets, scope, dialect):
            found.update(_facets(stamp, columns, moves=key.moves))
    if keys_differ(analysis.table):
        found |= _unknown(names, scope)
    for table in analysis.wide:
        found |= wide_effects(schema_of(table, translate), table_key(table)[1], scope)
    return found | cascade_effects(analysis.changes, scope=scope, translate=translate)


def _facets(stamp: Dependency, columns: Iterable[str], *, moves: bool) -> Iterator[Dependency]:
    """Yield a stamp with those of its facets that a change of these columns concerns."""
    yield stamp
    if moves:
        yield stamp.of_membership()
    for column in columns:
        yield stamp.of_column(column)


def _unknown(names: Names, scope: str) -> set[Dependency]:
    stamps = [Dependency.unknown_rows(scope, name) for name in names]
    return {each for stamp in stamps for each in _facets(stamp, (), moves=True)}


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
            stamps = [Dependency.unknown_rows(scope, name, key.key) for name in names]
        else:
            stamps = [Dependency.rows(scope, name, key.key, value) for name in names for value in values]
        for stamp in stamps:
            found.update(_facets(stamp, (), moves=True))
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
    names = write_names(schema, name)
    found = _unknown(names, scope)
    for stamp in names:
        found.update(_facets(Dependency.table(scope, stamp), (), moves=True))
    return found


def _names(table: FromClause, translate: Mapping[Any, Any] | None) -> Names:
    return write_names(schema_of(table, translate), table_key(table)[1])
