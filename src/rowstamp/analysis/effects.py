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
from rowstamp.analysis.equality import NULL, key_value, key_values
from rowstamp.analysis.images import Image
from rowstamp.analysis.schema import NOT_TOLD, Key, named_keys, schema_of, write_names
from rowstamp.analysis.sources import options_of, source_values
from rowstamp.analysis.tables import Change, cascaded, has_relatives, keys_differ
from rowstamp.analysis.writes import KeyEffect, Rows, Touch, WriteAnalysis
from rowstamp.model import Dependency, Unknown

__all__ = ["awaited_keys", "cascade_effects", "effects", "facets", "inserted_effects", "wide_effects"]

Names = tuple[str, ...]


def effects(
    analysis: WriteAnalysis,
    parameter_sets: Sequence[Mapping[str, Any]],
    *,
    scope: str,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
    awaited: Sequence[KeyEffect] = (),
    image: Image | None = None,
    followed: set[Dependency] | None = None,
) -> set[Dependency]:
    """Return what one execution of a DML statement touches, as far as it is known before it runs.

    Args:
        analysis: what :func:`.writes.analyse_dml` said of its shape.
        parameter_sets: the parameters by name, before the driver's processing.
        scope: the identity of the database.
        dialect: the dialect of the engine that executes it.
        translate: the ``schema_translate_map`` in force.
        awaited: the keys of new rows that :func:`inserted_effects` will be asked for, once the database has answered.
        image: the rows as they were just before, if they were asked for.
        followed: what the database changes along with these rows, if that was asked for.
    """
    names = _names(analysis.table, translate)
    columns = analysis.changed or frozenset()
    found: set[Dependency] = set()
    for name in names:
        found.update(facets(Dependency.table(scope, name), columns, moves=analysis.changed is None))
        if not named_keys(analysis.table):
            found.add(Dependency.unknown_rows(scope, name, NOT_TOLD))
    for key in analysis.keys:
        if not any(key is each for each in awaited):
            found |= _key_effects(key, names, parameter_sets, scope, dialect, image)
    differ = keys_differ(analysis.table, [key.key for key in analysis.keys], translated=bool(translate))
    found |= _unknown([name for name, differs in zip(names, differ, strict=True) if differs], scope)
    for table in analysis.wide:
        found |= wide_effects(schema_of(table, translate), table_key(table)[1], scope)
    whole = followed is None or has_relatives(table_key(analysis.table)[1])
    changes = analysis.changes if whole else analysis.changes[1:]
    return found | (followed or set()) | cascade_effects(changes, scope=scope, translate=translate)


def awaited_keys(
    analysis: WriteAnalysis, parameter_sets: Sequence[Mapping[str, Any]], dialect: Dialect
) -> tuple[KeyEffect, ...]:
    """Return the keys of new rows that are left to the database's answer: none, if the parameters tell the primary key."""

    def is_given(key: KeyEffect) -> bool:
        return all(
            source_values(key.columns, touch.source, parameters, dialect) is not None
            for touch in key.touches
            for parameters in parameter_sets
        )

    if all(is_given(key) for key in analysis.keys if key.from_result):
        return ()
    return tuple(key for key in analysis.keys if not is_given(key))


def facets(stamp: Dependency, columns: Iterable[str], *, moves: bool, new: bool = False) -> Iterator[Dependency]:
    """Yield a stamp with those of its facets that a change concerns.

    Args:
        stamp: the stamp.
        columns: the columns that change.
        moves: whether rows come, go, or get or lose the value.
        new: whether all of these rows come, so that none is changed that was there.
    """
    found = [stamp, stamp.of_membership()] if moves else [stamp]
    yield from found
    if stamp.value is Unknown.UNKNOWN and stamp.key and not new:
        yield from (each.of_old_rows() for each in found)
    for column in columns:
        yield stamp.of_column(column)


def _unknown(names: Iterable[str], scope: str) -> set[Dependency]:
    stamps = [Dependency.unknown_rows(scope, name) for name in names]
    return {each for stamp in stamps for each in facets(stamp, (), moves=True)}


def cascade_effects(
    changes: Iterable[Change], *, scope: str, translate: Mapping[Any, Any] | None = None
) -> set[Dependency]:
    """Return the effects on the tables that the database itself changes along with others."""
    found: set[Dependency] = set()
    for schema, name in cascaded(changes):
        found |= wide_effects(translate.get(schema, schema) if translate else schema, name, scope)
    return found


def _key_effects(
    key: KeyEffect,
    names: Names,
    parameter_sets: Sequence[Mapping[str, Any]],
    scope: str,
    dialect: Dialect,
    image: Image | None,
) -> set[Dependency]:
    found: set[Dependency] = set()
    for touch in key.touches:
        values = _touched_values(key, touch, parameter_sets, dialect, image)
        for stamp in _stamps(key.key, names, values, scope):
            found.update(facets(stamp, touch.columns, moves=touch.moves, new=touch.new))
    return found


def _touched_values(
    key: KeyEffect, touch: Touch, parameter_sets: Sequence[Mapping[str, Any]], dialect: Dialect, image: Image | None
) -> set[bytes] | None:
    """Return the values of a key in all sets of parameters, or ``None`` if one is not known."""
    found: set[bytes] = set()
    for parameters in parameter_sets:
        if image is not None and touch.rows is Rows.AFTER and not image.rows_of(parameters, dialect):
            continue  # no row was there to get the value
        values = source_values(key.columns, touch.source, parameters, dialect)
        if values is None and image is not None:
            values = _image_values(key, touch, image, parameters, dialect)
        if values is None:
            return None
        found.update(values)
    return found


def _image_values(
    key: KeyEffect, touch: Touch, image: Image, parameters: Mapping[str, Any], dialect: Dialect
) -> list[bytes] | None:
    """Return the values that the rows of an image have in a key, before or after they are changed."""
    found: list[bytes] = []
    for row in image.rows_of(parameters, dialect):
        options: list[Sequence[object]] = []
        for column, part in zip(key.columns, touch.source, strict=True):
            value: Sequence[object] | None
            if touch.rows is Rows.BEFORE or column.name.lower() not in touch.columns:
                value = [NULL if row[column.name] is None else row[column.name]]
            else:
                value = None if part is None else options_of(column, part, parameters)
            if value is None:
                return None
            options.append(value)
        values = key_values(key.columns, dialect, options)
        if values is None:
            return None
        found += values
    return found


def _stamps(key: Key, names: Names, values: Iterable[bytes] | None, scope: str) -> Iterator[Dependency]:
    """Yield the stamps of rows with these values of a key; ``None``: not known."""
    for name in names:
        if values is None:
            yield Dependency.unknown_rows(scope, name, key)
        else:
            for value in values:
                yield Dependency.rows(scope, name, key, value)


def inserted_effects(
    table: FromClause,
    awaited: Sequence[KeyEffect],
    images: Sequence[Mapping[str, Any]] | None,
    *,
    scope: str,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
) -> set[Dependency]:
    """Return what an INSERT touched of the keys that its parameters did not tell.

    Args:
        table: its target.
        awaited: what :func:`awaited_keys` said.
        images: what is known of each inserted row, by column name; ``None``: nothing.
        scope: the identity of the database.
        dialect: the dialect of the engine that executed it.
        translate: the ``schema_translate_map`` in force.
    """
    names = _names(table, translate)
    found: set[Dependency] = set()
    for key in awaited:
        for stamp in _stamps(key.key, names, _inserted_values(key, images, dialect), scope):
            found.update(facets(stamp, (), moves=True, new=True))
    return found


def _inserted_values(
    key: KeyEffect, images: Sequence[Mapping[str, Any]] | None, dialect: Dialect
) -> list[bytes] | None:
    if images is None or any(name not in image for image in images for name in key.key):
        return None
    values: list[bytes] = []
    for image in images:
        parts = [NULL if image[name] is None else image[name] for name in key.key]
        value = key_value(key.columns, dialect, parts)
        if value is None:
            return None
        values.append(value)
    return values


def wide_effects(schema: str | None, name: str, scope: str) -> set[Dependency]:
    """Return the effects of a write to a table of whose rows nothing is known."""
    names = write_names(schema, name)
    found = _unknown(names, scope)
    for stamp in names:
        found.update(facets(Dependency.table(scope, stamp), (), moves=True))
    return found


def _names(table: FromClause, translate: Mapping[Any, Any] | None) -> Names:
    return write_names(schema_of(table, translate), table_key(table)[1])
