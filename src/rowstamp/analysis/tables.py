"""What is known of the tables of a database across all metadata: who else changes when one does, and which keys there are.

A statement shows one table object. But the database has one table of that name, which another part of the program may describe
with other columns, in another ``MetaData``, or only in SQL text; and foreign keys make the database change tables that no
statement names. So these questions are asked by name, of every metadata that mapped classes or analysed
statements have shown. Schemas are left out of the comparison: too many tables are harmless, one too few is not.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import MetaData, Table

from rowstamp._sqlalchemy import is_table, mapped_metadata, type_affinity
from rowstamp.analysis.schema import Key, iterate_keys, key_columns

__all__ = ["Change", "ForeignKey", "acting_keys", "cascaded", "has_relatives", "keys_differ", "know", "namesakes"]

TableName = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class Change:
    """What a write does to the rows of a table.

    Attributes:
        table: the table's name, without its schema.
        deletes: whether rows may go.
        updates: the columns that may get other values; ``None``: any.
    """

    table: str
    deletes: bool
    updates: frozenset[str] | None

    def reaches(self, key: ForeignKey) -> bool:
        """Whether a foreign key that refers to the table has to act."""
        if self.deletes and key.on_delete:
            return True
        return bool(key.on_update) and (self.updates is None or not self.updates.isdisjoint(key.referred))


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key seen from the table it refers to.

    Attributes:
        child: schema and name of the table that refers.
        pairs: its columns, each with the lower-case name of the one that it refers to.
        on_delete: what ON DELETE says, upper case; empty if it does nothing to the child.
        on_update: the same of ON UPDATE.
    """

    child: TableName
    pairs: tuple[tuple[str, str], ...]
    on_delete: str
    on_update: str

    @property
    def referred(self) -> frozenset[str]:
        """The columns that it refers to, lower case."""
        return frozenset(referred for _, referred in self.pairs)

    @property
    def columns(self) -> frozenset[str]:
        """Its own columns, lower case."""
        return frozenset(own.lower() for own, _ in self.pairs)

    def change(self, cause: Change) -> Change:
        """Return what happens to the child's rows."""
        deleted = cause.deletes and self.on_delete == "CASCADE"
        return Change(self.child[1].lower(), deleted, self.columns)


class _Known:
    """The tables shown so far; rebuilt when there are more of them."""

    def __init__(self) -> None:
        self._shown: WeakSet[MetaData] = WeakSet()
        self._lock = threading.Lock()
        self._built: WeakKeyDictionary[MetaData, int] = WeakKeyDictionary()
        self.foreign_keys: dict[str, list[ForeignKey]] = {}
        self.relatives: dict[str, set[TableName]] = {}
        self.tables: dict[str, WeakSet[Table[Any]]] = {}

    def show(self, metadata: MetaData) -> None:
        with self._lock:
            self._shown.add(metadata)

    def refresh(self) -> None:
        """Look again if tables were added since the last time."""
        with self._lock:
            all_metadata = {*self._shown, *mapped_metadata()}
            # Each by itself: of two programs' sums one may grow by what the other lost.
            if any(self._built.get(metadata) != len(metadata.tables) for metadata in all_metadata):
                self._build([table for metadata in all_metadata for table in list(metadata.tables.values())])
                self._built = WeakKeyDictionary({metadata: len(metadata.tables) for metadata in all_metadata})

    def _build(self, tables: list[Table[Any]]) -> None:
        foreign_keys: defaultdict[str, list[ForeignKey]] = defaultdict(list)
        relatives: defaultdict[str, set[TableName]] = defaultdict(set)
        self.tables = {}
        for table in tables:
            self.tables.setdefault(table.name.lower(), WeakSet()).add(table)
            for parent, key in _acting_foreign_keys(table):
                foreign_keys[parent].append(key)
            for schema, parent in _parents(table):
                relatives[parent.lower()].add((table.schema, table.name))
                relatives[table.name.lower()].add((schema, parent))
        self.foreign_keys, self.relatives = dict(foreign_keys), dict(relatives)


def _acting_foreign_keys(table: Table[Any]) -> Iterator[tuple[str, ForeignKey]]:
    """Yield the foreign keys by which a table is changed along with another, with the other's name."""
    for constraint in table.foreign_key_constraints:
        on_delete, on_update = _action(constraint.ondelete), _action(constraint.onupdate)
        if not (on_delete or on_update):
            continue
        # By the text of the reference: the table it means may not be defined yet.
        targets = [element.target_fullname.lower().split(".") for element in constraint.elements]
        yield (
            targets[0][-2],
            ForeignKey(
                (table.schema, table.name),
                tuple(zip([column.name for column in constraint.columns], [each[-1] for each in targets], strict=True)),
                on_delete,
                on_update,
            ),
        )


def _parents(table: Table[Any]) -> Iterator[TableName]:
    """Yield the tables whose rows are those of this one as well, by PostgreSQL's INHERITS."""
    named: Any = table.dialect_options["postgresql"]["inherits"] or ()
    for name in (named,) if isinstance(named, str) else named:
        schema, _, parent = name.rpartition(".")
        yield schema or None, parent


def _action(rule: str | None) -> str:
    action = (rule or "").upper()
    return "" if action in {"RESTRICT", "NO ACTION"} else action


def _key_set(table: Any) -> frozenset[Any]:
    """Return a table's keys with the types by which their values compare."""
    return frozenset(
        (key, tuple(type_affinity(column.type).__name__ for column in columns)) for key, columns in iterate_keys(table)
    )


_known = _Known()


def know(tables: Iterable[Any]) -> None:
    """Remember the metadata of tables that a statement has shown."""
    for table in tables:
        if isinstance(table, Table):
            _known.show(table.metadata)


def cascaded(changes: Iterable[Change]) -> set[TableName]:
    """Return the tables that the database itself changes along with others.

    Args:
        changes: what statements change.

    Returns:
        Schema and name of each, by the ``ON DELETE`` and ``ON UPDATE`` of the foreign keys known, and by INHERITS, which
        makes rows of the one table rows of the other; transitively.
    """
    _known.refresh()
    found: set[TableName] = set()
    waiting = list(changes)
    seen: set[Change] = set()
    while waiting:
        change = waiting.pop()
        if change in seen:
            continue
        seen.add(change)
        for relative in _known.relatives.get(change.table, ()):
            found.add(relative)
            waiting.append(Change(relative[1].lower(), deletes=True, updates=None))
        for key in _known.foreign_keys.get(change.table, ()):
            if change.reaches(key):
                found.add(key.child)
                waiting.append(key.change(change))
    return found


def has_relatives(table: str) -> bool:
    """Return whether a table of this name is the parent or a child of another by PostgreSQL's INHERITS."""
    _known.refresh()
    return table.lower() in _known.relatives


def acting_keys(table: str) -> list[ForeignKey]:
    """Return the foreign keys known by which other tables change along with one of this name."""
    _known.refresh()
    return _known.foreign_keys.get(table.lower(), [])


def namesakes(name: str) -> list[Table[Any]]:
    """Return the descriptions of a table in all metadata known, whatever their schema."""
    _known.refresh()
    return list(_known.tables.get(name.lower(), ()))


def keys_differ(table: Any, touched: Iterable[Key], *, translated: bool) -> tuple[bool, bool]:
    """Return whether readers may know keys of a table that a write through this table object does not touch.

    Args:
        table: the table as the statement shows it.
        touched: the keys that it had when the statement was analysed.
        translated: whether a ``schema_translate_map`` is in force, so that its schema says nothing.

    Returns:
        It for readers who name no schema, and for those who name one; they depend on different stamps.
    """
    own = _key_set(table) if is_table(table) else None
    if not own or tuple(touched) != key_columns(table):
        return True, True
    schemas = {each.schema for each in namesakes(table.name) if each is not table and _key_set(each) != own}
    if translated:
        return bool(schemas), bool(schemas)
    return None in schemas, bool(schemas - {None} if table.schema is None else schemas & {table.schema})
