"""What commits touched while the store could not be told."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final

__all__ = ["JOURNAL_LIMIT", "Journal"]

JOURNAL_LIMIT: Final = 10_000
"""Most stamps a journal keeps; beyond it the whole namespace is to be invalidated."""

_NEVER_DONE: Final = 0
"""The number of stamps whose commit is under way; no call that added any has it."""


class Journal:
    """Stamps to touch before this process trusts the store again. Every method may be called from any thread.

    Args:
        everything: the stamp that every entry depends on, which takes the place of too many others.
    """

    def __init__(self, everything: bytes) -> None:
        self.empty = True
        """Whether nothing is left to be touched. An attribute, for every lookup asks, and an empty journal needs no lock to be seen empty."""
        self._everything = everything
        self._stamps: dict[bytes, int] = {}
        self._committing: list[tuple[bytes, ...]] = []
        self._added = 0
        self._lock = threading.Lock()

    @contextmanager
    def committing(self, stamps: Iterable[bytes]) -> Generator[None]:
        """Keep stamps that cannot be held while a commit is under way, and after it.

        Meanwhile they are pending however often they are touched: a thread that reads between COMMIT and the end of this would
        else be served what another had filled just before COMMIT.
        """
        kept = tuple(stamps)
        with self._lock:
            self._committing.append(kept)
            self._changed()
        try:
            yield
        finally:
            self.add(kept)
            with self._lock:
                self._committing.remove(kept)
                self._changed()

    def add(self, stamps: Iterable[bytes]) -> None:
        """Keep stamps that could not be touched."""
        with self._lock:
            self._added += 1
            self._stamps.update(dict.fromkeys(stamps, self._added))
            if len(self._stamps) > JOURNAL_LIMIT:
                self._stamps = {self._everything: self._added}
            self._changed()

    def pending(self) -> dict[bytes, int]:
        """Return the stamps still to be touched, each with the number of the call that added it last."""
        if self.empty:
            return {}
        with self._lock:
            under_way = {stamp: _NEVER_DONE for stamps in self._committing for stamp in stamps}
            return {**under_way, **self._stamps}

    def done(self, touched: Mapping[bytes, int]) -> None:
        """Forget stamps that have been touched, unless they were added again since :meth:`pending`."""
        with self._lock:
            for stamp, added in touched.items():
                if self._stamps.get(stamp) == added:
                    del self._stamps[stamp]
            self._changed()

    def _changed(self) -> None:
        self.empty = not (self._stamps or self._committing)
