"""What the metadata says about tables: their name for stamps, and their key columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Table
from sqlalchemy.sql.expression import FromClause

__all__ = [
    "Key",
    "fingerprint",
    "iterate_keys",
    "key_columns",
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


def key_columns(table: FromClause) -> tuple[Key, ...]:
    """Return the keys of a table whose values have stamps of their own: at present its primary key."""
    if not isinstance(table, Table):
        return ()
    primary = tuple(column.name for column in table.primary_key.columns)
    return (primary,) if primary else ()


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


def iterate_keys(table: FromClause) -> Iterator[tuple[Key, list[Any]]]:
    """Yield each key of a table with its columns."""
    for key in key_columns(table):
        yield key, [table.c[name] if name in table.c else _column_named(table, name) for name in key]


def _column_named(table: FromClause, name: str) -> Any:
    return next(column for column in table.c if getattr(column, "name", None) == name)
