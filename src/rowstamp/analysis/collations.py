"""When two texts are equal for a database: its collations, folded where they are known.

* SQLite's built-in collations tell apart more than ASCII case and trailing blanks do, and a column declared with an odd type
  may compare texts as numbers. Both are folded whatever the metadata says, so a collation that stands in the DDL alone does no harm.
* PostgreSQL compares exactly, but for nondeterministic collations and CITEXT. A database in which somebody has made
  such a collation is found out when the engine first connects (`orm/attach.py`): there a column has to say which it has.
* MySQL's and MariaDB's collations ignore case, accents and trailing blanks, each in its own way; only ``*_bin`` is exact.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import types
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

__all__ = ["collate_alike", "collations_known", "fold", "fold_label", "know_collations"]

_PADDED: Final = frozenset({types.CHAR, types.NCHAR, mysql.CHAR, mysql.NCHAR})
_KNOWN: Final = _PADDED | {
    types.String, types.Text, types.Unicode, types.UnicodeText, types.VARCHAR, types.NVARCHAR, types.TEXT,
    mysql.VARCHAR, mysql.TEXT, mysql.TINYTEXT, mysql.MEDIUMTEXT, mysql.LONGTEXT,
}  # fmt: skip
"""Exactly these: a subclass (an enum, CITEXT, one of the application's) may compare otherwise."""

_SQLITE_BUILT_IN: Final = frozenset({"", "BINARY", "NOCASE", "RTRIM"})
_POSTGRESQL_EXACT: Final = frozenset({"C", "POSIX", "ucs_basic", "pg_c_utf8"})
"""What is deterministic by itself. Other names may have been given to collations that are not."""

_ATTRIBUTE: Final = "_rowstamp_collations_are_exact"
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII)
_LARGEST: Final = 1 << 63
_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def know_collations(dialect: Dialect, *, exact: bool) -> None:
    """Remember of an engine's database whether all collations in it are deterministic."""
    dialect.__dict__[_ATTRIBUTE] = exact


def collations_known(dialect: Dialect) -> bool | None:
    """Return what :func:`know_collations` was told; ``None`` if nothing."""
    return dialect.__dict__.get(_ATTRIBUTE)


def _collation(type_: Any) -> str:
    return getattr(type_, "collation", None) or ""


def collate_alike(one: Any, other: Any) -> bool:
    """Return whether a text bound as one type means the same row under the other."""
    if type(one) not in _KNOWN or type(other) not in _KNOWN:
        return False
    # A value bound for a CHAR may be compared with its padding, or without.
    return _collation(one) == _collation(other) and (type(one) in _PADDED) == (type(other) in _PADDED)


def fold(type_: Any, dialect: Dialect, value: str) -> object | None:
    """Return what all texts have in common that are equal to this one for the database; ``None`` if that is not known."""
    if type(type_) not in _KNOWN:
        return None
    if dialect.name == "sqlite":
        return _fold_sqlite(value) if _collation(type_).upper() in _SQLITE_BUILT_IN else None
    if type_.length is not None and len(value.rstrip(" ")) > type_.length:
        return None  # it is cut, or refused, on its way in
    if dialect.name == "postgresql":
        # CHAR compares without trailing blanks, and a VARCHAR loses those that do not fit.
        return value.rstrip(" ") if _is_exact_in_postgresql(type_, dialect) else None
    if dialect.name in {"mysql", "mariadb"}:
        cut = type_.length is not None and len(value) > type_.length
        return value.rstrip(" ") if _collation(type_).lower().endswith("_bin") and not cut else None
    return None


def _is_exact_in_postgresql(type_: Any, dialect: Dialect) -> bool:
    collation = _collation(type_)
    return collation in _POSTGRESQL_EXACT or collations_known(dialect) is True


def _fold_sqlite(value: str) -> object:
    folded = value.rstrip(" ")
    if _NUMBER.fullmatch(folded.strip(" \t\n\v\f\r").lower()):
        return _number(folded)
    return folded.translate(_ASCII_LOWER)


def _number(text: str) -> object:
    """Return a number as a column of numeric affinity keeps the text of it, which makes '01' and '1.0' one value."""
    try:
        whole = int(text)
    except ValueError:
        real = float(text)
        whole = int(real) if abs(real) < _LARGEST else _LARGEST
        if whole != real:
            return f"{real!r}"
    return f"{whole}" if -_LARGEST <= whole < _LARGEST else f"{float(text)!r}"


def fold_label(type_: Any, dialect: Dialect, label: str) -> object | None:
    """Return what :func:`fold` does, for a label of an Enum; ``None`` if the database may call two of its labels equal."""
    if dialect.name == "sqlite":
        return _fold_sqlite(label)
    if dialect.name == "postgresql":
        exact = type_.native_enum or collations_known(dialect) is True
        return label.rstrip(" ") if exact else None
    labels = [each.rstrip(" ").lower() for each in type_.enums]
    distinct = len({*labels}) == len(labels) and all(each.isascii() for each in labels)
    return label.rstrip(" ").lower() if distinct else None
