"""Rows of results: values under names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Row, RowMapping
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

__all__ = ["pack_row", "unpack_row"]

Placed = Callable[[int, Any], Any]


def pack_row(row: Row[Any] | RowMapping, pack: Placed) -> object:
    """Return the names and the packed values of a row."""
    values: list[Any] = list(row.values()) if isinstance(row, RowMapping) else list(row)
    keys: list[str] = list(row.keys()) if isinstance(row, RowMapping) else list(row._mapping.keys())  # noqa: SLF001
    return [keys, [pack(number, value) for number, value in enumerate(values)]]


def unpack_row(stored: Any, unpack: Placed) -> Row[Any]:
    """Return a row of SQLAlchemy's own type with these names and values."""
    keys, packed = stored
    values = tuple(unpack(number, value) for number, value in enumerate(packed))
    result: IteratorResult[Any] = IteratorResult(SimpleResultMetaData(keys), iter([values]))
    return result.one()
