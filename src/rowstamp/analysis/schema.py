"""What the metadata says about tables: their name for stamps, and their key columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.sql.expression import FromClause

from rowstamp._sqlalchemy import is_table

__all__ = [
    "KEY_LIMIT",
    "NOT_TOLD",
    "Key",
    "fingerprint",
    "is_unique_key",
    "iterate_keys",
    "key_columns",
    "name_keys",
    "named_keys",
    "read_names",
    "schema_of",
    "write_names",
]

Key = tuple[str, ...]
"""The names of the columns of one key of a table."""


def schema_of(table: FromClause, translate: Mapping[Any, Any] | None = None) -> str | None:
    """Return the schema a table is in, with ``schema_translate_map`` applied; ``None`` if the statement names none."""
    schema: str | None = getattr(table, "schema", None)
    return translate.get(schema, schema) if translate else schema


def read_names(schema: str | None, name: str) -> tuple[str, ...]:
    """Return the names of the stamps on which a read of a table depends.

    Which schema an unqualified name means is for the database to say (``search_path``, ``USE``, attached files), and may
    differ from connection to connection. So ``T`` stands for the table of that name in *any* schema, ``s.T`` for the
    one in schema s, and ``?.T`` for writes that did not say which. Reads of ``s.T`` do not suffer from writes to another
    schema's table (tenants), and nothing is missed when one statement qualifies a name and another does not.

    Case is folded: databases differ in how they fold names, and two tables that differ by case alone may share stamps.
    """
    folded = name.lower()
    return (folded,) if schema is None else (f"{schema.lower()}.{folded}", f"?.{folded}")


def write_names(schema: str | None, name: str) -> tuple[str, ...]:
    """Return the names of the stamps that a write to a table touches; the counterpart of :func:`read_names`."""
    folded = name.lower()
    return (folded, f"?.{folded}" if schema is None else f"{schema.lower()}.{folded}")


_fingerprints: WeakKeyDictionary[FromClause, bytes] = WeakKeyDictionary()


def fingerprint(table: FromClause) -> bytes:
    """Return a digest of the table's columns and types, so that a changed schema never meets entries of the old one."""
    known = _fingerprints.get(table)
    if known is None:
        parts = [
            f"{column.name}\0{column.type!r}\0{column.nullable}" for column in table.c if isinstance(column, Column)
        ]
        known = hashlib.blake2b("\1".join(parts).encode(), digest_size=8).digest()
        _fingerprints[table] = known
    return known


# ------------------------------------------------------------------------------------------------------ keys

KEY_LIMIT: Final = 16
"""Most keys of a table. Each is one more stamp for every row written; what is over the limit is not pinned by anybody."""

NOT_TOLD: Final[Key] = ("~",)
"""The key whose unknown rows (``T.~=?``) are touched by writers to whom nobody has named keys of the table.

Keys that only ``policy(keys=...)`` names are not in the metadata, so a process that was not given them writes without
touching their stamps. Reads pinned by such a key depend on this stamp as well, which every such process touches.
"""

_Signature: TypeAlias = tuple[int, int, int, tuple[Key, ...]]

_named: WeakKeyDictionary[FromClause, tuple[Key, ...]] = WeakKeyDictionary()
_keys: WeakKeyDictionary[FromClause, tuple[_Signature, tuple[Key, ...]]] = WeakKeyDictionary()


def name_keys(table: Table[Any], keys: Iterable[Key]) -> None:
    """Give values of these columns stamps of their own, whatever the metadata says of them."""
    _named[table] = tuple(sorted({*_named.get(table, ()), *map(_ordered, keys)}))


def named_keys(table: FromClause) -> tuple[Key, ...]:
    """Return the keys that were named for a table."""
    return _named.get(table, ())


def key_columns(table: FromClause) -> tuple[Key, ...]:
    """Return the keys of a table whose values have stamps of their own, the same for every description of equal constraints.

    Its primary key, the keys named by the user, its unique constraints, its foreign keys and its indexes, as far as these are
    made of plain columns. Those that a program adds later count from then on.
    """
    return _keys_of_table(table) if is_table(table) else ()


def _keys_of_table(table: Table[Any]) -> tuple[Key, ...]:
    signature = (len(table.columns), len(table.constraints), len(table.indexes), _named.get(table, ()))
    known = _keys.get(table)
    if known is None or known[0] != signature:
        found = dict.fromkeys(_all_keys(table))
        known = _keys[table] = signature, tuple(found)[:KEY_LIMIT]
    return known[1]


def _all_keys(table: Table[Any]) -> Iterator[Key]:
    primary = _ordered(column.name for column in table.primary_key.columns)
    if primary:
        yield primary
    yield from _named.get(table, ())
    unique = [
        _ordered(column.name for column in each.columns)
        for each in table.constraints
        if isinstance(each, UniqueConstraint)
    ]
    indexes = [key for index in table.indexes if (key := _key_of_index(index))]
    # Sets of SQLAlchemy have no order, and the limit must cut the same keys everywhere.
    yield from sorted(key for key in unique if key)
    yield from sorted(_ordered(column.name for column in each.columns) for each in table.foreign_key_constraints)
    yield from sorted(indexes)


def _key_of_index(index: Index) -> Key:
    """Return the columns of an index, or nothing if it is one of expressions or of a part of the rows."""
    expressions: list[Any] = list(index.expressions)
    partial = any(name.endswith("_where") and value is not None for name, value in index.dialect_kwargs.items())
    if partial or not all(isinstance(each, Column) for each in expressions):
        return ()
    return _ordered(column.name for column in expressions)


def is_unique_key(table: FromClause, key: Key) -> bool:
    """Return whether no two rows of a table share a value of a key, as far as the metadata says."""
    if not is_table(table):
        return False
    unique = [_ordered(column.name for column in table.primary_key.columns)]
    unique += [
        _ordered(column.name for column in each.columns)
        for each in table.constraints
        if isinstance(each, UniqueConstraint)
    ]
    unique += [_key_of_index(index) for index in table.indexes if index.unique]
    return bool(key) and key in unique


def _ordered(names: Iterable[str]) -> Key:
    # (a, b) and (b, a) are one key.
    return tuple(sorted(set(names)))


def iterate_keys(table: FromClause) -> Iterator[tuple[Key, list[Any]]]:
    """Yield each key of a table with its columns."""
    columns = {getattr(column, "name", None): column for column in table.c}
    for key in key_columns(table):
        yield key, [columns[name] for name in key]
