"""The stamps that entries were found to name, so that they are read together with the entry the next time. No I/O.

A memo is a hint and no more: an entry that names others costs a second round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["MEMO_LIMIT", "Memo"]

MEMO_LIMIT: Final = 16_384
"""Most entries whose stamps are remembered."""


class Memo:
    """Stamp names by entry key, the oldest forgotten first. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._named: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def get(self, entry: bytes) -> tuple[bytes, ...]:
        """Return the stamps that an entry named when it was last met; none if it was not."""
        return self._named.get(entry, ())

    def remember(self, entry: bytes, stamps: tuple[bytes, ...]) -> None:
        """Take note of the stamps that an entry names."""
        self._named[entry] = stamps
        if len(self._named) > MEMO_LIMIT:
            try:
                self._named.popitem(last=False)
            except KeyError:  # another thread was quicker
                return
