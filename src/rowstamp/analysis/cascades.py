"""What the database itself changes along with rows that are known: the rows that refer to them.

``DELETE FROM category WHERE id = 3`` also deletes the products of the category, and nobody has named them. They are asked for like the
row itself, before the write and under its lock (:mod:`rowstamp.orm.cascades`), and so are the rows that refer to these. No row can
come to refer to a row that is locked so, since whoever refers to a row locks it against being deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, Table, bindparam, select, tuple_
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter

from rowstamp.analysis.changed import changed_along
from rowstamp.analysis.effects import facets
from rowstamp.analysis.equality import NULL, compares_alike, key_value
from rowstamp.analysis.images import IMAGE_LIMIT, Image, locks_key
from rowstamp.analysis.schema import NOT_TOLD, Key, iterate_keys, named_keys, schema_of, write_names
from rowstamp.analysis.sources import options_of
from rowstamp.analysis.tables import ForeignKey, namesakes
from rowstamp.analysis.writes import Rows, WriteAnalysis
from rowstamp.model import Dependency

__all__ = ["REFERRED", "Fate", "Referring", "fate_effects", "fates", "referring"]

Row = Mapping[str, Any]

REFERRED: Final = "rowstamp_referred"
"""The parameter of the question: the values that rows refer to."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a row.

    Attributes:
        before: the values of its key columns, by column name.
        after: the same afterwards, without those that are not known; ``None`` if the row is deleted.
    """

    before: Row
    after: Row | None

    def reaches(self, key: ForeignKey) -> bool:
        """Whether a foreign key that refers to the row has to act."""
        if self.after is None:
            return bool(key.on_delete)
        known = {name.lower() for name in self.before}
        return bool(key.on_update) and not (key.referred <= known and key.referred.isdisjoint(self.changed))

    @property
    def changed(self) -> frozenset[str]:
        """The columns in which the row gets another value or one that is not known, lower case."""
        after = self.after or {}
        return frozenset(name.lower() for name in self.before if name not in after or after[name] != self.before[name])


def fates(
    analysis: WriteAnalysis, image: Image, parameter_sets: Sequence[Mapping[str, Any]], dialect: Dialect
) -> list[Fate]:
    """Return what becomes of the rows of an image."""
    found: list[Fate] = []
    for parameters in parameter_sets:
        given = {} if analysis.changed is None else _given(analysis, parameters)
        for row in image.rows_of(parameters, dialect):
            if analysis.changes[0].deletes:
                found.append(Fate(row, None))
            else:
                stays = {name: value for name, value in row.items() if name.lower() not in (analysis.changed or ())}
                found.append(Fate(row, stays | given if analysis.changed is not None else {}))
    return found


def _given(analysis: WriteAnalysis, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key columns to which an UPDATE gives a value that it says."""
    found: dict[str, Any] = {}
    for key in analysis.keys:
        for touch in key.touches:
            if touch.rows is not Rows.AFTER:
                continue
            for column, part in zip(key.columns, touch.source, strict=True):
                values = options_of(column, part, parameters) if part is not None and part.stored else None
                if values is not None and column.name.lower() in (analysis.changed or ()):
                    found[column.name] = None if values[0] is NULL else values[0]
    return found


def fate_effects(
    table: Table[Any], rows: Iterable[Fate], *, scope: str, dialect: Dialect, translate: Mapping[Any, Any] | None
) -> set[Dependency]:
    """Return what it touches that this becomes of rows of a table."""
    found: set[Dependency] = set()
    for name in write_names(schema_of(table, translate), table.name):
        if not named_keys(table):
            found.add(Dependency.unknown_rows(scope, name, NOT_TOLD))
        for fate in rows:
            changed = frozenset[str]() if fate.after is None else fate.changed
            columns = changed_along(table, changed, dialect, by_foreign_key=True) if changed else changed
            found.update(facets(Dependency.table(scope, name), columns, moves=fate.after is None))
            for key, parts in iterate_keys(table):
                moves = fate.after is None or any(part.name.lower() in columns for part in parts)
                images = (fate.before,) if fate.after is None or not moves else (fate.before, fate.after)
                for image in images:
                    found.update(facets(_stamp(scope, name, key, parts, image, dialect), columns, moves=moves))
    return found


def _stamp(scope: str, name: str, key: Key, columns: Sequence[Any], image: Row, dialect: Dialect) -> Dependency:
    value = None
    if all(column.name in image for column in columns):
        values = [NULL if image[column.name] is None else image[column.name] for column in columns]
        value = key_value(columns, dialect, values)
    return Dependency.unknown_rows(scope, name, key) if value is None else Dependency.rows(scope, name, key, value)


@dataclass(frozen=True, slots=True)
class Referring:
    """How to ask for the rows that refer to others by a foreign key.

    Attributes:
        table: the table that refers.
        key: the foreign key.
        columns: its columns, each with the name of the one that it refers to.
        along: the columns that change with these, lower case.
        question: SELECT of the columns of all keys, with a lock.
    """

    table: Table[Any]
    key: ForeignKey
    columns: tuple[tuple[Any, str], ...]
    along: frozenset[str]
    question: Select[Any]

    def referred(self, rows: Sequence[Fate]) -> list[Any] | None:
        """Return the values to ask for, or ``None`` if they are not known."""
        found: dict[Any, None] = {}
        for fate in rows:
            if any(name not in fate.before for _, name in self.columns):
                return None
            values: Any = tuple(fate.before[name] for _, name in self.columns)
            if None not in values:  # to which nobody refers
                found[values if len(values) > 1 else values[0]] = None
        return list(found)

    def fates(self, rows: Sequence[Any], causes: Sequence[Fate]) -> list[Fate]:
        """Return what becomes of rows that refer to others."""
        names = [column.name for column in self.question.selected_columns]
        by_value: dict[Any, list[Fate]] = {}
        for cause in causes:
            by_value.setdefault(tuple(cause.before[name] for _, name in self.columns), []).append(cause)
        found: list[Fate] = []
        for row in rows:
            before = dict(zip(names, row, strict=True))
            # Where the database calls equal what we do not, anything may have been done.
            own = by_value.get(tuple(before[column.name] for column, _ in self.columns), causes)
            found += [Fate(before, self._after(before, cause)) for cause in own]
        return found

    def _after(self, before: Row, cause: Fate) -> Row | None:
        action = self.key.on_delete if cause.after is None else self.key.on_update
        if cause.after is None and action == "CASCADE":
            return None
        after = {name: value for name, value in before.items() if name.lower() not in self.along}
        for column, name in self.columns:
            if action == "SET NULL":
                after[column.name] = None
            elif action == "CASCADE" and cause.after is not None and name in cause.after:
                after[column.name] = cause.after[name]
        return after


def referring(parent: Table[Any], key: ForeignKey, dialect: Dialect) -> Referring | None:
    """Return how to ask for the rows that refer by a foreign key to rows of a table, or ``None`` if it cannot be told.

    The program must know one description of each table alone: another one may be another table.
    """
    described = namesakes(key.child[1])
    if namesakes(parent.name) != [parent] or len(described) != 1:
        return None
    table = described[0]
    names = {column.name.lower(): column for column in parent.columns}
    if any(referred not in names for _, referred in key.pairs):
        return None
    pairs = [(table.c[_key_of(table, own)], names[referred]) for own, referred in key.pairs]
    if not all(compares_alike(own.type, referred.type) for own, referred in pairs) or not table.primary_key.columns:
        return None
    own = [column for column, _ in pairs]
    wanted = dict.fromkeys(
        [*table.primary_key.columns, *own, *(c for _, columns in iterate_keys(table) for c in columns)]
    )
    values: BindParameter[Any] = bindparam(REFERRED, expanding=True, required=True)
    condition = own[0].in_(values) if len(own) == 1 else tuple_(*own).in_(values)
    deletes = key.on_delete == "CASCADE"
    lock_key = locks_key(table, None if deletes else frozenset(column.name.lower() for column in own))
    question: Any = select(*wanted).where(condition).limit(IMAGE_LIMIT + 1)
    question = question.with_for_update(key_share=not lock_key and dialect.name == "postgresql")
    columns = tuple((one, str(other.name)) for one, other in pairs)
    along = changed_along(table, key.columns, dialect, by_foreign_key=True)
    return Referring(table, key, columns, along, question)


def _key_of(table: Table[Any], name: str) -> str:
    return next(str(column.key) for column in table.columns if column.name == name)
