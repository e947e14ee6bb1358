"""When two values of a column are equal for the database: which of its key values have stamps of their own."""

from __future__ import annotations

import datetime
import enum
import itertools
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from sqlalchemy import types
from sqlalchemy.engine import Dialect

from rowstamp.codec import canonical

__all__ = ["NULL", "PIN_LIMIT", "Null", "bound_values", "compares_alike", "key_value", "key_values"]

PIN_LIMIT: Final = 64
"""Most values to which one read may pin a key; a longer list depends on the whole table instead."""


class Null(enum.Enum):
    """The value of a key column that is NULL, as a row has it and as ``IS NULL`` asks for it. No ``=`` ever finds it."""

    NULL = "NULL"


NULL: Final = Null.NULL

_Normaliser: TypeAlias = Callable[[Any, Dialect, object], object | None]


def bound_values(value: Any, *, expanding: bool) -> list[object]:
    """Return the values of a bound parameter: several if it stands for a list (``IN``)."""
    return list(value) if expanding and isinstance(value, list | tuple | set | frozenset) else [value]  # pyright: ignore[reportUnknownArgumentType]


def key_values(columns: Sequence[Any], dialect: Dialect, values: Sequence[Sequence[object]]) -> list[bytes] | None:
    """Return the canonical values of a (composite) key from the values of each column, or ``None`` to widen.

    Args:
        columns: the key's columns.
        dialect: the database whose equality counts.
        values: for each column the values it is pinned to; their product is taken. NULL is ``NULL``; ``None``, which a
            parameter may be, equals nothing.
    """
    total = 1
    for options in values:
        total *= len(options)
    if total > PIN_LIMIT:
        return None
    found: list[bytes] = []
    for combination in itertools.product(*values):
        value = key_value(columns, dialect, combination)
        if value is None:
            return None
        found.append(value)
    return found


def key_value(columns: Sequence[Any], dialect: Dialect, values: Sequence[object]) -> bytes | None:
    """Return one canonical value of a (composite) key, or ``None`` when equality is not certain."""
    parts: list[object] = []
    for column, value in zip(columns, values, strict=True):
        part = _canonical_part(column.type, dialect, value)
        if part is None:
            return None
        parts.append(None if part is NULL else part)
    return canonical(tuple(parts))


def _canonical_part(type_: types.TypeEngine[Any], dialect: Dialect, value: object) -> object | None:
    """Map a bound value to one that is equal for us exactly when the database calls it equal; ``None`` if unsure."""
    normalise = _normaliser(type_)
    if normalise is None:
        return None  # a type decorator may store something else for None
    return NULL if value is NULL else normalise(type_, dialect, value)


def _normaliser(type_: types.TypeEngine[Any]) -> _Normaliser | None:
    """Return how values of a type are made comparable; ``None`` for types that are compared in ways not known here."""
    return next((normalise for handles, normalise in _NORMALISERS if isinstance(type_, handles)), None)


def compares_alike(one: types.TypeEngine[Any], other: types.TypeEngine[Any]) -> bool:
    """Return whether a value bound as one type means the same row under the other.

    Type decorators never do: what is bound is not what the statement holds.
    """
    normalise = _normaliser(one)
    if normalise is None or normalise is not _normaliser(other):
        return False
    if normalise is _text:
        return _exact_text(one) and _exact_text(other)
    return normalise in (_integer, _boolean, _uuid, _date) or type(one) is type(other)


def _exact_text(type_: Any) -> bool:
    return type(type_) in _EXACT_TEXT_TYPES and not getattr(type_, "collation", None)


def _integer(_type: Any, _dialect: Dialect, value: object) -> object | None:
    if type(value) is bool:
        return int(value)
    return value if type(value) is int else None


def _boolean(_type: Any, _dialect: Dialect, value: object) -> object | None:
    return bool(value) if type(value) in (bool, int) and value in (0, 1) else None


def _uuid(_type: Any, _dialect: Dialect, value: object) -> object | None:
    if isinstance(value, uuid.UUID):
        return value.bytes
    if type(value) is str:
        try:
            return uuid.UUID(value).bytes
        except ValueError:
            return None
    return None


def _decimal(type_: Any, dialect: Dialect, value: object) -> object | None:
    if type(value) is int:
        value = Decimal(value)
    if type(value) is not Decimal or not value.is_finite() or dialect.name == "sqlite":
        # SQLite keeps decimals as floats or text: which of two spellings are equal depends on the affinity.
        return None
    if type_.scale is None:
        # PostgreSQL keeps what it is given; others have a scale of their own, and round to it.
        return format(value.normalize() + 0, "f") if dialect.name == "postgresql" else None
    _, digits, exponent = value.normalize().as_tuple()
    if not isinstance(exponent, int) or -exponent > type_.scale or len(digits) + exponent > (type_.precision or 1000):
        return None  # it is rounded, or refused, on its way in
    return format(value.normalize() + 0, "f")


def _nothing(_type: Any, _dialect: Dialect, _value: object) -> object | None:
    """Floats are never pinned: what a database prints, keeps and compares need not be one value."""


def _date(_type: Any, _dialect: Dialect, value: object) -> object | None:
    return value if type(value) is datetime.date else None


def _enum(_type: Any, _dialect: Dialect, value: object) -> object | None:
    if isinstance(value, enum.Enum):
        return value.name
    # With an enum class a string may be an alias of another name: not certain.
    return value if type(value) is str and getattr(_type, "enum_class", None) is None else None


def _binary(_type: Any, _dialect: Dialect, value: Any) -> object | None:
    return bytes(value) if type(value) in (bytes, bytearray, memoryview) else None


def _text(type_: Any, dialect: Dialect, value: object) -> object | None:
    """Text is pinned only under a collation known to be exact: SQLite's BINARY and PostgreSQL's deterministic default."""
    if type(value) is not str or not _exact_text(type_) or dialect.name not in {"sqlite", "postgresql"}:
        return None
    # A longer value may be cut on its way in, if only blanks are lost.
    return None if type_.length is not None and len(value) > type_.length else value


_EXACT_TEXT_TYPES: Final = frozenset(
    {types.String, types.Text, types.Unicode, types.UnicodeText, types.VARCHAR, types.TEXT}
)

_NORMALISERS: Final[tuple[tuple[Any, _Normaliser], ...]] = (
    (types.Boolean, _boolean),
    (types.Integer, _integer),
    (types.Uuid, _uuid),
    (types.Enum, _enum),
    (types.Float, _nothing),
    (types.Numeric, _decimal),
    (types.Date, _date),
    (types.LargeBinary, _binary),
    (types.String, _text),
)
