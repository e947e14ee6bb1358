"""Which rows an upsert wrote, found out after it: the row that was there has keys of its own, which VALUES does not say.

An INSERT that leaves a key out is asked about likewise, by the primary key that it gives.

The row that an INSERT made, or that stood in its way, has the values of a unique key that VALUES gives; and if SET leaves that key
alone, it has them afterwards. So it is looked up by them in the same transaction, which sees what it has written itself. No lock
is needed, and none is taken: to lock what is not there yet would make two upserts of the same row wait for each other
in MySQL. Of a key that SET changes the old value is not known then.

``ON CONFLICT`` names the key; with ``ON DUPLICATE KEY`` it may be any unique one, and whoever has one of their values counts.

An INSERT that leaves out the rows in whose way others stand (``DO NOTHING``, ``IGNORE``) changes none that is there. Of those it makes it may leave a
key out, or MySQL store another value than it was given; so they are looked up by a unique key that VALUES gives. A row that is not
found so was not made, and one that is found may be one that stood in the way, which touches too much and never too little: the number of rows
written tells it apart if it is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Index, Select, Table, UniqueConstraint, bindparam, false, or_, select, tuple_
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter

from rowstamp._sqlalchemy import dml_statement, has_prefixes, is_table, upsert_clause
from rowstamp._sqlalchemy.upserts import conflict_columns, set_on_conflict, skips_conflicts
from rowstamp.analysis.changed import changed_along
from rowstamp.analysis.effects import cascade_effects, facets
from rowstamp.analysis.equality import NULL, key_value
from rowstamp.analysis.images import IMAGE_LIMIT
from rowstamp.analysis.schema import (
    NOT_TOLD,
    Key,
    is_unique_key,
    iterate_keys,
    key_columns,
    named_keys,
    schema_of,
    write_names,
)
from rowstamp.analysis.sources import Source, options_of, rows_given, stored_part
from rowstamp.analysis.tables import Change, keys_differ
from rowstamp.analysis.writes import NO_COLUMNS, Rows, WriteAnalysis
from rowstamp.model import Dependency

__all__ = ["Upsert", "plan_upsert"]


@dataclass(frozen=True, slots=True)
class Target:
    """A unique key by which rows of VALUES may meet one that is there.

    Attributes:
        columns: its columns.
        sources: for each row of VALUES where their values are found.
        parameter: the name of the parameter that takes them in the question.
    """

    columns: tuple[Any, ...]
    sources: tuple[Source, ...]
    parameter: str

    def values(self, parameters: Mapping[str, Any]) -> list[tuple[object, ...] | None]:
        """Return for each row its values, with ``NULL`` for one that meets nobody, or ``None`` if they are not known."""
        found: list[tuple[object, ...] | None] = []
        for source in self.sources:
            parts = zip(self.columns, source, strict=True)
            options = [None if part is None else options_of(column, part, parameters) for column, part in parts]
            known = tuple(each[0] for each in options if each is not None)
            found.append(known if len(known) == len(options) else None)
        return found


@dataclass(frozen=True, slots=True)
class Upsert:
    """How to find out which rows an upsert wrote.

    Attributes:
        table: the table.
        targets: the unique keys by which its rows are found.
        changed: the columns that SET may change, lower case.
        question: SELECT of the columns of all keys.
        skips: whether rows are left out in whose way others stand.
        as_given: whether what is stored is what was given, so that a row that is not found was left out.
    """

    table: Table[Any]
    targets: tuple[Target, ...]
    changed: frozenset[str]
    question: Select[Any]
    skips: bool = False
    as_given: bool = True

    def asked(self, parameter_sets: Sequence[Mapping[str, Any]], dialect: Dialect) -> dict[str, list[Any]] | None:
        """Return the parameters of the question, or ``None`` if they are not known or too many."""
        found: dict[str, list[Any]] = {}
        for target in self.targets:
            values: dict[Any, None] = {}
            for row in (row for parameters in parameter_sets for row in target.values(parameters)):
                if row is None or key_value(target.columns, dialect, row) is None:
                    return None
                if NULL in row and self.skips:
                    return None  # it meets nobody, and so it is made
                if NULL not in row:  # which equals nothing
                    whole: Any = row
                    values[whole if len(whole) > 1 else whole[0]] = None
            found[target.parameter] = list(values)
        return found if max(map(len, found.values())) <= IMAGE_LIMIT else None

    def asked_by(self, keys: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
        """Return the parameters of the question for rows of which the key is known that VALUES does not give."""
        (target,) = self.targets
        return {target.parameter: [key if len(target.columns) > 1 else key[0] for key in keys]}

    def effects(
        self,
        rows: Sequence[Any] | None,
        parameter_sets: Sequence[Mapping[str, Any]],
        *,
        scope: str,
        dialect: Dialect,
        translate: Mapping[Any, Any] | None,
    ) -> set[Dependency] | None:
        """Return what was touched, or ``None`` if a row that was written is missing among those that were found.

        Args:
            rows: the rows that were found; ``None``: none was written.
            parameter_sets: the parameters by name.
            scope: the identity of the database.
            dialect: the dialect of the engine that executed it.
            translate: the ``schema_translate_map`` in force.
        """
        names = [column.name for column in self.question.selected_columns]
        images = [dict(zip(names, row, strict=True)) for row in rows or ()]
        may_lack = rows is None or (self.skips and self.as_given)
        if not may_lack and not all(self._are_shown(images, each, dialect) for each in parameter_sets):
            return None
        if any(keys_differ(self.table, key_columns(self.table), translated=bool(translate))):
            return None
        change = Change(self.table.name.lower(), deletes=False, updates=self.changed)
        found = cascade_effects([change], scope=scope, translate=translate)
        for name in write_names(schema_of(self.table, translate), self.table.name):
            found.update(facets(Dependency.table(scope, name), self.changed, moves=True))
            if not named_keys(self.table):
                found.add(Dependency.unknown_rows(scope, name, NOT_TOLD))
            for key, columns in iterate_keys(self.table):
                for stamp in self._stamps(name, key, columns, images, scope, dialect):
                    found.update(facets(stamp, self.changed, moves=True))
        return found

    def _are_shown(self, images: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], dialect: Dialect) -> bool:
        """Whether each row of VALUES is there, by one of the keys at least."""
        shown = [
            {key_value(target.columns, dialect, [image[column.name] for column in target.columns]) for image in images}
            for target in self.targets
        ]
        return all(
            any(
                row is not None and key_value(target.columns, dialect, row) in values
                for row, target, values in zip(rows, self.targets, shown, strict=True)
            )
            for rows in zip(*[target.values(parameters) for target in self.targets], strict=True)
        )

    def _stamps(
        self,
        name: str,
        key: Key,
        columns: Sequence[Any],
        images: Sequence[Mapping[str, Any]],
        scope: str,
        dialect: Dialect,
    ) -> Iterator[Dependency]:
        if any(column.name.lower() in self.changed for column in columns):
            yield Dependency.unknown_rows(scope, name, key)
        for image in images:
            values = [NULL if image[column.name] is None else image[column.name] for column in columns]
            value = key_value(columns, dialect, values)
            yield (
                Dependency.unknown_rows(scope, name, key) if value is None else Dependency.rows(scope, name, key, value)
            )


def plan_upsert(analysis: WriteAnalysis, compiled: Any) -> Upsert | None:
    """Return how to find out which rows an INSERT wrote, or ``None`` if it says so itself or is not understood."""
    statement, table = dml_statement(compiled), analysis.table
    if not compiled.isinsert or not is_table(table) or statement.select is not None or analysis.wide:
        return None
    if any(key.touches[0].rows is not Rows.AFTER for key in analysis.keys):
        return None  # it may remove rows that stand in its way
    clause, skips = upsert_clause(statement), skips_conflicts(statement, compiled.dialect.name)
    sets: list[str] | None = []
    keys: list[tuple[Any, ...]] = [tuple(table.primary_key.columns)]
    if clause is not None and not skips:
        sets, keys = set_on_conflict(clause), _keys_met(clause, table)
    elif all(None not in touch.source for key in analysis.keys for touch in key.touches):
        return None  # a key that is left out has a default, of which metadata need not say anything
    elif skips:
        keys = _key_given(table, compiled)
    if sets is None or not keys or not keys[0]:
        return None
    by_key = {name: column for column in table.columns for name in (column.key, column.name)}
    if any(name not in by_key for name in sets):
        return None
    changed = (
        changed_along(table, [by_key[name].name.lower() for name in sets], compiled.dialect) if sets else NO_COLUMNS
    )
    targets = tuple(_target(number, columns, compiled) for number, columns in enumerate(keys))
    if any(column.name.lower() in changed for target in targets for column in target.columns):
        return None  # afterwards the row has other values
    wanted = dict.fromkeys([*table.primary_key.columns, *(c for _, columns in iterate_keys(table) for c in columns)])
    question = select(*wanted).where(or_(false(), *map(_found, targets))).limit(IMAGE_LIMIT + 1)
    as_given = not has_prefixes(statement) or compiled.dialect.name == "sqlite"
    return Upsert(table, targets, changed, question, skips, as_given)


def _key_given(table: Table[Any], compiled: Any) -> list[tuple[Any, ...]]:
    """Return a unique key to which VALUES gives values, the primary one if it does."""
    for key, columns in iterate_keys(table):
        sources = _target(0, tuple(columns), compiled).sources
        if is_unique_key(table, key) and all(None not in source for source in sources):
            return [tuple(columns)]
    return []


def _target(number: int, columns: tuple[Any, ...], compiled: Any) -> Target:
    rows = rows_given(compiled)
    sources = tuple(tuple(stored_part(compiled, row, column) for column in columns) for row in rows)
    return Target(columns, sources, f"rowstamp_target_{number}")


def _found(target: Target) -> Any:
    values: BindParameter[Any] = bindparam(target.parameter, expanding=True, required=True)
    return target.columns[0].in_(values) if len(target.columns) == 1 else tuple_(*target.columns).in_(values)


def _keys_met(clause: Any, table: Table[Any]) -> list[tuple[Any, ...]]:
    """Return the unique keys by which an inserted row may meet another; nothing if there may be others."""
    unique: list[Any] = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    indexes = [each for each in table.indexes if each.unique]
    plain = [each for each in indexes if not _is_partial(each)]
    unique += [table.primary_key, *plain]
    keys = [tuple(each.columns) for each in unique if list(each.columns)]
    named = conflict_columns(clause, table)
    if named is not None:
        return [key for key in keys if {column.name for column in key} == named][:1]
    if clause.__visit_name__ != "on_duplicate_key_update" or len(plain) < len(indexes):
        return []
    return keys


def _is_partial(index: Index) -> bool:
    """Whether an index is one of expressions, of parts of values, or of some rows."""
    extras = [
        name
        for name, value in index.dialect_kwargs.items()
        if name.endswith(("_where", "_length")) and value is not None
    ]
    return bool(extras) or not all(isinstance(each, Column) for each in index.expressions)
