"""Types that database drivers define, known by name so that no driver has to be installed.

The whitelist is the only thing that stored bytes can choose from: an entry names a row of it by number, and
only the module of that row is ever imported.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from rowstamp.codec import _wire as wire
from rowstamp.errors import CorruptEntry

__all__ = ["DriverType", "find", "rebuild"]


@dataclass(frozen=True, slots=True, eq=False)
class DriverType:
    """One type of one driver: where it lives, its parts, and how to make it from them."""

    number: int  # stored: never reuse or renumber
    module: str
    name: str
    parts: Callable[[Any], Sequence[object]]
    make: Callable[[Any, Sequence[Any]], object] = lambda kind, parts: kind(*parts)


def _asyncpg_range(kind: Any, parts: Sequence[Any]) -> object:
    lower, upper, lower_inc, upper_inc, empty = parts
    return kind(lower, upper, lower_inc=lower_inc, upper_inc=upper_inc, empty=empty)


def _asyncpg_path(kind: Any, parts: Sequence[Any]) -> object:
    is_closed, *points = parts
    return kind(*points, is_closed=is_closed)


_GEOMETRY: Final = "asyncpg.pgproto.types"

_WHITELIST: Final = (
    DriverType(1, "asyncpg.pgproto.pgproto", "UUID", lambda v: (v.bytes,)),
    DriverType(
        2,
        "asyncpg.types",
        "Range",
        lambda v: (v.lower, v.upper, v.lower_inc, v.upper_inc, v.isempty),
        _asyncpg_range,
    ),
    DriverType(
        3,
        _GEOMETRY,
        "BitString",
        lambda v: (v.bytes, len(v)),
        lambda kind, parts: kind.frombytes(*parts),
    ),
    DriverType(4, _GEOMETRY, "Point", tuple),
    DriverType(5, _GEOMETRY, "Box", tuple),
    DriverType(6, _GEOMETRY, "Circle", tuple),
    DriverType(7, _GEOMETRY, "Line", tuple),
    DriverType(8, _GEOMETRY, "LineSegment", tuple),
    DriverType(9, _GEOMETRY, "Path", lambda v: (v.is_closed, *v.points), _asyncpg_path),
    DriverType(10, _GEOMETRY, "Polygon", lambda v: v.points),
    DriverType(
        11,
        "psycopg.types.range",
        "Range",
        lambda v: (v.lower, v.upper, v.bounds, v.isempty),
    ),
    DriverType(
        12,
        "psycopg.types.multirange",
        "Multirange",
        tuple,
        lambda kind, parts: kind(parts),
    ),
    DriverType(13, "psycopg.dbapi20", "Binary", lambda v: (v.obj,)),  # what bytes are bound as
)

_BY_NUMBER: Final = {entry.number: entry for entry in _WHITELIST}
_BY_NAME: Final = {f"{entry.module}.{entry.name}": entry for entry in _WHITELIST}
_met: dict[type[Any], DriverType] = {}  # a memo, at most one item per row of the whitelist


def find(kind: type[Any]) -> DriverType | None:
    """The whitelist's row for exactly this type, or None."""
    entry = _met.get(kind)
    if entry is None:
        entry = _BY_NAME.get(wire.type_name(kind))
        # Anyone can write __module__ = "asyncpg.types"; the type that lives there is the one we know.
        if entry is not None and getattr(sys.modules.get(entry.module), entry.name, None) is kind:
            _met[kind] = entry
        else:
            entry = None
    return entry


def rebuild(stored: Sequence[Any]) -> object:
    """The driver's value from the number of its type and its parts.

    Raises:
        CorruptEntry: no such number, or the driver is not installed here.
    """
    number, *parts = stored
    entry = _BY_NUMBER.get(number)
    if entry is None:
        raise CorruptEntry(f"unknown driver type {number!r}")
    return entry.make(_resolve(entry), parts)


@cache
def _resolve(entry: DriverType) -> Any:
    try:
        return getattr(importlib.import_module(entry.module), entry.name)
    except (ImportError, AttributeError) as exc:
        raise CorruptEntry(f"{entry.module}.{entry.name} is not installed here") from exc
