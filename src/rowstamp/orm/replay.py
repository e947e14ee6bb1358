"""Give SQLAlchemy rows that no database was asked for.

The raw rows of the driver's cursor are what is kept. On a miss as on a hit SQLAlchemy itself builds the result from them, so a
hit is what the miss was: entities, identity map, eager loads, row names, result types.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

from rowstamp.codec import decode, decode_rows, encode, encode_rows
from rowstamp.errors import CorruptEntry

__all__ = ["REPLAY_CONNECTION", "ReplayConnection", "ReplayCursor", "Rows", "decode_result", "encode_result"]

Description = Sequence[Sequence[Any]]


class ReplayCursor:
    """A DBAPI cursor over rows in memory."""

    __slots__ = ("_next", "_rows", "arraysize", "connection", "description", "lastrowid", "rowcount")

    def __init__(self, rows: Sequence[Any], description: Description | None, rowcount: int = -1) -> None:
        self._rows = rows
        self._next = 0
        self.description = description
        self.rowcount = rowcount
        self.arraysize = 1
        self.lastrowid = None
        # Some dialects look for notices on the cursor's connection after an execution.
        self.connection: Any = None

    def fetchone(self) -> Any:
        """Return the next row, or ``None``."""
        if self._next >= len(self._rows):
            return None
        row = self._rows[self._next]
        self._next += 1
        return row

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next rows, as many as asked for."""
        end = self._next + (self.arraysize if size is None else size)
        rows = list(self._rows[self._next : end])
        self._next += len(rows)
        return rows

    def fetchall(self) -> Sequence[Any]:
        """Return all rows that are left."""
        # A list of the caller's own: the rows may be shared by all readers of a near cache.
        rows = list(self._rows[self._next :] if self._next else self._rows)
        self._next = len(self._rows)
        return rows

    def close(self) -> None:
        """Forget the rows."""
        self._rows = ()
        self._next = 0

    async def _async_soft_close(self) -> None:
        """Do nothing; asynchronous results await it."""


class ReplayConnection:
    """The place of a pooled DBAPI connection where none was checked out; it gives cursors without rows."""

    is_valid = True
    is_detached = False
    dbapi_connection = driver_connection = None
    info: ClassVar[Mapping[Any, Any]] = MappingProxyType({})

    def cursor(self, *_args: Any, **_kwargs: Any) -> ReplayCursor:
        """Return a cursor that has no rows yet."""
        return ReplayCursor((), None)

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


REPLAY_CONNECTION: Final = ReplayConnection()
"""One serves all: it has no state."""


def encode_result(description: Description, rows: Sequence[Sequence[Any]], rowcount: int) -> bytes:
    """Return the bytes of a result: what the driver said of its columns, and its rows.

    Raises:
        UncacheableValue: something in it cannot be kept exactly.
    """
    head = encode([rowcount, [tuple(column) for column in description]])
    return len(head).to_bytes(4, "big") + head + encode_rows(rows)


class Rows(NamedTuple):
    """The rows of a result and what the driver said of their columns."""

    rows: tuple[tuple[Any, ...], ...]
    description: tuple[tuple[Any, ...], ...]
    rowcount: int

    def cursor(self) -> ReplayCursor:
        """Return a cursor over them."""
        return ReplayCursor(self.rows, self.description, self.rowcount)

    def size_if_immutable(self) -> int | None:
        """Return about how many bytes they take, or ``None`` if somebody who is given them could change them.

        Some drivers return JSON as dicts and arrays as lists. What is not known to be immutable counts as mutable.
        """
        size = sum([sys.getsizeof(row) for row in self.rows])
        for row in (*self.rows, *self.description):
            for value in row:
                if type(value) not in _IMMUTABLE:
                    return None
                size += sys.getsizeof(value)
        return size


_IMMUTABLE: Final = frozenset(
    {bool, bytes, date, datetime, Decimal, float, int, str, time, timedelta, type(None), UUID}
)


def decode_result(body: bytes) -> Rows:
    """Return the result that :func:`encode_result` was given.

    Raises:
        CorruptEntry: the bytes are not such a result.
    """
    end = 4 + int.from_bytes(body[:4], "big")
    head = decode(body[4:end])
    try:
        rowcount, description = head
        columns = tuple([tuple(column) for column in description])
    except (TypeError, ValueError) as exc:
        raise CorruptEntry("result header is malformed") from exc
    return Rows(tuple(decode_rows(body[end:])), columns, rowcount)
