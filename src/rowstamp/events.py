"""Counters of what a cache did. No logging policy: the library counts, the application decides what to say."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Counters", "Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """What a cache has done since it was made; a snapshot that does not change.

    Attributes:
        hits: reads served from the cache.
        near_hits: those of the hits whose result was kept in this process, so that it was not transferred again.
        bounded_hits: those of the hits that took no round trip, under ``bounded(...)`` freshness.
        misses: reads that found no valid entry and went to the database.
        fills: results stored.
        bypasses: reads that were to be cached but went to the database without touching the cache, by reason.
        invalidations: commits and explicit calls that touched at least one stamp.
        store_errors: operations the store could not do.
        corrupt: entries whose bytes were damaged, foreign or of an old format; each also counts as a miss.
        late_commits: commits that outlived their holds and were invalidated a second time.
        load_time_saved: seconds the loads of the hits took when they were filled.
    """

    hits: int = 0
    near_hits: int = 0
    bounded_hits: int = 0
    misses: int = 0
    fills: int = 0
    bypasses: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    invalidations: int = 0
    store_errors: int = 0
    corrupt: int = 0
    late_commits: int = 0
    load_time_saved: float = 0.0

    @property
    def hit_ratio(self) -> float:
        """Hits as a share of hits and misses, 0.0 when there were none."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class Counters:
    """The live counters behind :class:`Stats`; every method may be called from any thread.

    Args:
        whole: the counters of which these count a part; see :meth:`part`.
    """

    def __init__(self, whole: Counters | None = None) -> None:
        self.whole = whole
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._bypasses: Counter[str] = Counter()
        self._saved = 0.0

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of the numbers of :class:`Stats`."""
        with self._lock:
            self._numbers[what] += number
        for part in _parts.get():
            if part.whole is self:
                part.count(what, number)

    def hit(self, load_time: float) -> None:
        """Count a hit and the time it saved, in seconds."""
        with self._lock:
            self._numbers["hits"] += 1
            self._saved += load_time
        for part in _parts.get():
            if part.whole is self:
                part.hit(load_time)

    def bypass(self, reason: str) -> None:
        """Count a bypass under its reason."""
        with self._lock:
            self._bypasses[reason] += 1
        for part in _parts.get():
            if part.whole is self:
                part.bypass(reason)

    @contextmanager
    def part(self) -> Generator[Counters]:
        """Count a second time, by itself, what happens in this context and in the tasks it starts."""
        part = Counters(self)
        token = _parts.set((*_parts.get(), part))
        try:
            yield part
        finally:
            _parts.reset(token)

    def snapshot(self) -> Stats:
        """Return the numbers as they are now."""
        with self._lock:
            return Stats(
                **dict(self._numbers), bypasses=MappingProxyType(dict(self._bypasses)), load_time_saved=self._saved
            )


_parts: ContextVar[tuple[Counters, ...]] = ContextVar("rowstamp-counted-parts", default=())
