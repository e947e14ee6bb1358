"""What a cache remembers of calls that were hits, within a bound. See :mod:`rowstamp.quick`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rowstamp.store import Moment

__all__ = ["LARGEST", "LIMIT_BYTES", "QuickHits", "Remembered"]

LIMIT_BYTES: Final = 32 * 1024 * 1024
"""Most bytes of entries that are remembered beside the store."""

LARGEST: Final = 256 * 1024
"""Most bytes of one result that is remembered."""

_OVERHEAD: Final = 1024

Key: TypeAlias = tuple[Hashable, ...]


@dataclass(slots=True)
class Remembered:
    """A call that was a hit.

    Attributes:
        entry: the key of its entry; ``None`` if its stamps are read alone.
        stamps: the stamps the entry stands on.
        tokens: their tokens, in that order.
        blob: the bytes of the entry, if it is read.
        until: when the long way is to be taken again, by the monotonic clock; ``None`` for never.
        body: the encoded result.
        load_time: how long its load took, in seconds.
        share: gives the result to one more caller; ``None`` if it is decoded for each.
        moment: when it was last seen in the store, if that tells so. It stays true, and so may be replaced by any thread.
    """

    entry: bytes | None
    stamps: Sequence[bytes]
    tokens: list[bytes]
    blob: bytes | None
    until: float | None
    body: bytes
    load_time: float
    share: Callable[[], Any] | None
    moment: Moment | None = None


class QuickHits:
    """What a cache remembers of calls that were hits, up to :data:`LIMIT_BYTES`. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._calls: dict[Key, Remembered] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self.get: Final = self._calls.get

    def remember(self, key: Key, call: Remembered) -> None:
        """Remember a hit."""
        if len(call.body) > LARGEST:
            return
        with self._lock:
            self._forget(key)
            self._calls[key] = call
            self._bytes += len(call.body) + _OVERHEAD
            while self._bytes > LIMIT_BYTES:
                self._forget(next(iter(self._calls)))

    def _forget(self, key: Key) -> None:
        call = self._calls.pop(key, None)
        if call is not None:
            self._bytes -= len(call.body) + _OVERHEAD
