"""What commits touched while the store could not be told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["JOURNAL_LIMIT", "Journal"]

JOURNAL_LIMIT: Final = 10_000
"""Most stamps a journal keeps; beyond it the whole namespace is to be invalidated."""


class Journal:
    """Stamps to touch before this process trusts the store again. Every method may be called from any thread.

    Args:
        everything: the stamp that every entry depends on, which takes the place of too many others.
    """

    def __init__(self, everything: bytes) -> None:
        self._everything = everything
        self._stamps: dict[bytes, int] = {}
        self._added = 0
        self._lock = threading.Lock()

    @property
    def empty(self) -> bool:
        """Whether nothing is left to be touched."""
        return not self._stamps

    def add(self, stamps: Iterable[bytes]) -> None:
        """Keep stamps that could not be touched."""
        with self._lock:
            self._added += 1
            self._stamps.update(dict.fromkeys(stamps, self._added))
            if len(self._stamps) > JOURNAL_LIMIT:
                self._stamps = {self._everything: self._added}

    def pending(self) -> dict[bytes, int]:
        """Return the stamps still to be touched, each with the number of the call that added it last."""
        # Read on every lookup: an empty dict needs no lock to be seen empty.
        if not self._stamps:
            return {}
        with self._lock:
            return dict(self._stamps)

    def done(self, touched: Mapping[bytes, int]) -> None:
        """Forget stamps that have been touched, unless they were added again since :meth:`pending`."""
        with self._lock:
            for stamp, added in touched.items():
                if self._stamps.get(stamp) == added:
                    del self._stamps[stamp]
