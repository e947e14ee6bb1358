"""Values that several callers may be given without one of them seeing what another does to it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgspec

__all__ = ["sharer"]

_PLAIN: Final = frozenset(
    {
        int,
        str,
        bytes,
        bool,
        float,
        complex,
        type(None),
        decimal.Decimal,
        uuid.UUID,
        datetime.date,
        datetime.timedelta,
    }
)
_ZONES: Final = frozenset({type(None), datetime.timezone, zoneinfo.ZoneInfo})


def sharer(value: object) -> Callable[[], Any] | None:
    """Return what gives a value to one more caller, or ``None`` if it has to be made anew of its bytes.

    A value of which no part can be changed is given out itself. A frozen dataclass has a ``__dict__`` (if it has no slots), which
    a ``cached_property`` fills, perhaps with something that can be changed: each caller gets a new object around the same fields.
    """
    if _immutable(value):
        return lambda: value
    kind: Any = cast("Any", type(value))
    if not _is_plain_frozen_dataclass(kind):
        return None
    names = {field.name for field in dataclasses.fields(kind)}
    fields = {name: each for name, each in vars(value).items() if name in names}
    if not hasattr(value, "__dict__") or fields.keys() != names or not all(map(_immutable, fields.values())):
        return None

    def shell() -> Any:
        made = object.__new__(kind)
        made.__dict__.update(fields)
        return made

    return shell


def _is_plain_frozen_dataclass(kind: Any) -> bool:
    return (
        _frozen(kind)
        and kind.__new__ is object.__new__
        and not any("__slots__" in vars(base) for base in kind.__mro__[:-1])
    )


def _immutable(value: Any) -> bool:
    kind: Any = cast("Any", type(value))
    if kind in _PLAIN or isinstance(value, enum.Enum):
        return True
    if kind in {tuple, frozenset}:
        return all(map(_immutable, value))
    if kind in {datetime.datetime, datetime.time}:
        return type(value.tzinfo) in _ZONES
    names = None if hasattr(value, "__dict__") else _frozen_names(kind)
    return names is not None and all(_immutable(getattr(value, name, None)) for name in names)


def _frozen_names(kind: Any) -> Iterable[str] | None:
    """Return the names of the fields of a class whose objects cannot be changed, or ``None``."""
    if tuple in kind.__mro__ and hasattr(kind, "_fields"):
        return cast("Iterable[str]", kind._fields)
    if msgspec.Struct in kind.__mro__:
        return cast("Iterable[str]", kind.__struct_fields__) if kind.__struct_config__.frozen else None
    return [field.name for field in dataclasses.fields(kind)] if _frozen(kind) else None


def _frozen(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) and cast("Any", kind).__dataclass_params__.frozen
