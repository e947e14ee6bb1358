"""When two values of a column are equal for the database: which of its key values have stamps of their own.

A value is mapped to a canonical one such that *whatever the database calls equal has the same canonical value*. That two values
which differ for the database share one is harmless: a write to the one row also ends what was read of the other. So where the
database may be folding case or blanks, this module folds too, and where what is folded is not known it gives up, which
makes the read depend on the whole table and the write touch ``T.k=?``.
"""

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

from rowstamp._sqlalchemy.types import has_variants, variant_for
from rowstamp.analysis.collations import collate_alike, fold, fold_label
from rowstamp.codec import canonical

__all__ = [
    "NULL",
    "PIN_LIMIT",
    "Null",
    "bound_values",
    "compares_alike",
    "is_equal_in_one_way",
    "key_value",
    "key_values",
    "stored_value",
]

PIN_LIMIT: Final = 64
"""Most values to which one read may pin a key; a longer list depends on the whole table instead."""


class Null(enum.Enum):
    """The value of a key column that is NULL, as a row has it and as ``IS NULL`` asks for it. No ``=`` ever finds it."""

    NULL = "NULL"


NULL: Final = Null.NULL


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
    """Return one canonical value of a (composite) key, or ``None`` when equality is not certain.

    Args:
        columns: the key's columns.
        dialect: the database whose equality counts.
        values: the value of each column as the program gives it, or :data:`NULL`.
    """
    parts: list[object] = []
    for column, value in zip(columns, values, strict=True):
        part = _canonical_part(column.type, dialect, value)
        if part is None:
            return None
        parts.append(None if part is NULL else part)
    return canonical(tuple(parts))


def stored_value(columns: Sequence[Any], dialect: Dialect, values: Sequence[object]) -> bytes | None:
    """Return one canonical value of a (composite) key from what a row of the database holds, or ``None`` if that is not certain.

    Args:
        columns: the key's columns.
        dialect: the database whose equality counts.
        values: the value of each column as the driver gives it, not NULL.
    """
    parts: list[object] = []
    for column, value in zip(columns, values, strict=True):
        part = _canonical_part(_stored_type(column.type, dialect), dialect, value)
        if part is None:
            return None
        parts.append(part)
    return canonical(tuple(parts))


def _stored_type(type_: Any, dialect: Dialect) -> Any:
    """Return the type whose values are stored: what a type decorator binds, and not what it is given."""
    used: Any = variant_for(type_, dialect)
    decorators: Any = types.TypeDecorator
    while isinstance(used, decorators) and not _compares_otherwise(used):
        used = used.impl_instance
    return used


def _canonical_part(type_: Any, dialect: Dialect, value: object) -> object | None:
    """Map a value to one that is the same for all that the database calls equal; ``None`` if unsure."""
    used = variant_for(type_, dialect)
    normalise = _normaliser(used)
    if normalise is None or (value is NULL and normalise is _decorated):
        return None  # a type decorator may store something else for None
    return NULL if value is NULL else normalise(used, dialect, value)


_Normaliser: TypeAlias = Callable[[Any, Dialect, Any], object | None]


def _normaliser(type_: Any) -> _Normaliser | None:
    """Return how values of a type are made comparable; ``None`` for types that are compared in ways not known here."""
    if isinstance(type_, types.TypeDecorator):
        return None if _compares_otherwise(type_) else _decorated
    if not type(type_).__module__.startswith("sqlalchemy."):
        return None  # a type of the application's own may bind and compare as it likes
    return next((normalise for handles, normalise in _NORMALISERS if isinstance(type_, handles)), None)


def compares_alike(one: types.TypeEngine[Any], other: types.TypeEngine[Any]) -> bool:
    """Return whether a value bound as one type means the same row under the other.

    A type decorator is like itself alone: what is bound is not what the statement holds.
    """
    if has_variants(one) or has_variants(other):
        return one is other
    normalise = _normaliser(one)
    if normalise is None or normalise is not _normaliser(other):
        return False
    if normalise is _decorated:
        return one is other
    if normalise is _text:
        return collate_alike(one, other)
    if normalise is _moment:
        return _is_zoned(one) == _is_zoned(other) and type(one) is type(other)
    return normalise in (_integer, _boolean, _uuid, _date) or type(one) is type(other)


def is_equal_in_one_way(type_: types.TypeEngine[Any]) -> bool:
    """Return whether values of a type are equal or not whatever they are compared by; text is not, which has collations."""
    return not has_variants(type_) and _normaliser(type_) in (_integer, _uuid, _date)


# ------------------------------------------------------------------------------------------------- normalisers


def _integer(type_: Any, dialect: Dialect, value: object) -> object | None:
    if type(value) is bool:
        value = int(value)
    if type(value) is not int or dialect.name not in _MYSQL:
        return value if type(value) is int else None
    # Without strict mode what does not fit is clamped, and an AUTO_INCREMENT column takes 0 for "the next one".
    bits = _MYSQL_BITS.get(type_.__visit_name__, 0)
    lowest = 0 if getattr(type_, "unsigned", False) else -(1 << bits)
    return value if value and lowest <= value < 1 << bits else None


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
    if abs(value.adjusted()) > _MANY_DIGITS:
        return None  # 1E+100000 would be written out
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


def _moment(type_: Any, dialect: Dialect, value: object) -> object | None:
    """A datetime: the moment if it is zoned, the reading of the clock if it is naive; never one for the other.

    What the database would convert by the session's time zone is not certain: a naive value for a zoned column, and the reverse.
    """
    if type(value) is not datetime.datetime:
        return None
    if dialect.name == "postgresql":
        if (value.tzinfo is not None) is not _is_zoned(type_) or getattr(type_, "precision", None) is not None:
            return None
    elif dialect.name == "sqlite":
        if type(type_) not in _GENERIC_DATETIMES:
            return None  # the dialect's own may have a format that leaves something out
        value = value.replace(tzinfo=None)  # what is bound there is the text of the clock's reading
    elif value.tzinfo is not None or isinstance(type_, types.TIMESTAMP) or value.microsecond:
        # MySQL's TIMESTAMP follows the session's time zone, and fractions are rounded to the digits of the column.
        return None
    try:
        moment = value if value.tzinfo is None else value.astimezone(datetime.UTC)
    except OverflowError:
        return None
    return moment.replace(fold=0).isoformat()


def _is_zoned(type_: Any) -> bool:
    return bool(getattr(type_, "timezone", False))


def _enum(type_: Any, dialect: Dialect, value: Any) -> object | None:
    label: Any = value
    members: Any = getattr(type_, "enum_class", None)
    if members is not None:
        # A string may be an alias of another name, and other values than the names may be kept: not certain.
        label = value.name if isinstance(value, members) and type_.values_callable is None else None
    # What is no label may be another spelling of one for the database.
    return fold_label(type_, dialect, label) if type(label) is str and label in type_.enums else None


def _binary(type_: Any, _dialect: Dialect, value: Any) -> object | None:
    if type(value) not in (bytes, bytearray, memoryview):
        return None
    data = bytes(value)
    return data if type_.length is None or len(data) <= type_.length else None


def _text(type_: Any, dialect: Dialect, value: object) -> object | None:
    return fold(type_, dialect, value) if type(value) is str else None


def _decorated(type_: Any, dialect: Dialect, value: object) -> object | None:
    """What a type decorator binds is compared, if it binds the same for the same value each time."""
    impl: Any = type_.impl_instance
    if type(type_).process_bind_param is types.TypeDecorator.process_bind_param:
        return _canonical_part(impl, dialect, value)
    try:
        bound = [type_.process_bind_param(value, dialect) for _ in range(2)]
    except Exception:  # noqa: BLE001 - the statement itself will raise it, to the one who has to know
        return None
    parts = [_canonical_part(impl, dialect, each) for each in bound]
    return parts[0] if parts[0] == parts[1] else None


def _compares_otherwise(type_: Any) -> bool:
    """Whether a type decorator takes more into its hands than what is bound."""
    return any(
        getattr(type_.__class__, name) is not getattr(types.TypeDecorator, name)
        for name in ("bind_expression", "bind_processor", "load_dialect_impl", "type_engine", "comparator_factory")
    )


_MYSQL: Final = frozenset({"mysql", "mariadb"})
_MANY_DIGITS: Final = 1000
_GENERIC_DATETIMES: Final = frozenset({types.DateTime, types.DATETIME, types.TIMESTAMP})
_MYSQL_BITS: Final = {
    "TINYINT": 7, "SMALLINT": 15, "small_integer": 15, "MEDIUMINT": 23, "INTEGER": 31, "integer": 31, "BIGINT": 63,
    "big_integer": 63,
}  # fmt: skip
"""How large the values are that fit in any case."""

_NORMALISERS: Final[tuple[tuple[Any, _Normaliser], ...]] = (
    (types.Boolean, _boolean),
    (types.Integer, _integer),
    (types.Uuid, _uuid),
    (types.Enum, _enum),
    (types.Float, _nothing),
    (types.Numeric, _decimal),
    (types.Date, _date),
    (types.DateTime, _moment),
    (types.LargeBinary, _binary),
    (types.String, _text),
)
