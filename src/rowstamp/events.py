"""Counters of what a cache did. No logging policy: the library counts, the application decides what to say."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

__all__ = ["Counters", "Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """What a cache has done since it was made; a snapshot that does not change.

    Attributes:
        hits: reads served from the cache.
        near_hits: those of the hits whose result was kept in this process, so that it was not transferred again.
        bounded_hits: those of the hits that took no round trip, under ``bounded(...)`` freshness.
        stale_hits: reads served an old result because their query allows it; no hits.
        early_refreshes: results loaded anew before their time to live was over; no misses.
        load_timeouts: calls whose load took longer than they wait.
        misses: reads that found no valid entry and went to the database.
        fills: results stored.
        bypasses: reads that were to be cached but went to the database without touching the cache, by reason.
        invalidations: commits and explicit calls that touched at least one stamp.
        store_errors: operations the store could not do.
        corrupt: entries whose bytes were damaged, foreign or of an old format; each also counts as a miss.
        late_commits: commits that outlived their holds and were invalidated a second time.
        breaker_openings: how often a server of the store was found not to answer, and was left alone from then on; counted by the
            store, so none in parts of the numbers, such as those of one function.
        breakers_open: how many servers of the store are being left alone at this moment, 0 while all is well.
        load_time_saved: seconds the loads of the hits took when they were filled.
    """

    hits: int = 0
    near_hits: int = 0
    bounded_hits: int = 0
    stale_hits: int = 0
    early_refreshes: int = 0
    load_timeouts: int = 0
    misses: int = 0
    fills: int = 0
    bypasses: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    invalidations: int = 0
    store_errors: int = 0
    corrupt: int = 0
    late_commits: int = 0
    breaker_openings: int = 0
    breakers_open: int = 0
    load_time_saved: float = 0.0

    @property
    def hit_ratio(self) -> float:
        """Hits as a share of hits and misses, 0.0 when there were none."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


_MANY: Final = 256


class Counters:
    """The live counters behind :class:`Stats`; every method may be called from any thread.

    Args:
        whole: the counters of which these count a part; see :meth:`part`.
        told: the counters whose parts are told of what is counted here; see :meth:`member`.
    """

    def __init__(self, whole: Counters | None = None, *, told: Counters | None = None) -> None:
        self.whole = whole
        self._told = told or self
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._bypasses: Counter[str] = Counter()
        self._hit_times: deque[float] = deque()
        self._hits = 0
        self._saved = 0.0
        self._members: list[Counters] = []

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of the numbers of :class:`Stats`."""
        with self._lock:
            self._numbers[what] += number
        for part in _parts.get():
            if part.whole is self._told:
                part.count(what, number)

    def hit(self, load_time: float) -> None:
        """Count a hit and the time it saved, in seconds."""
        # Appending is atomic: there are by far the most hits, and so they need no lock. They are summed up when there are many.
        times = self._hit_times
        times.append(load_time)
        if len(times) >= _MANY:
            with self._lock:
                self._sum_up()
        for part in _parts.get():
            if part.whole is self._told:
                part.hit(load_time)

    def bypass(self, reason: str) -> None:
        """Count a bypass under its reason."""
        with self._lock:
            self._bypasses[reason] += 1
        for part in _parts.get():
            if part.whole is self._told:
                part.bypass(reason)

    def member(self) -> Counters:
        """Return counters of one function, say: what is counted there belongs to these too, and is counted once."""
        member = Counters(told=self._told)
        with self._lock:
            self._members.append(member)
        return member

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
            members = list(self._members)
        numbers, bypasses, saved = self._own()
        for member in members:
            more, reasons, time = member._own()  # noqa: SLF001 - one of us
            numbers.update(more)
            bypasses.update(reasons)
            saved += time
        return Stats(**dict(numbers), bypasses=MappingProxyType(dict(bypasses)), load_time_saved=saved)

    def _sum_up(self) -> None:
        """Turn the times of hits into numbers; the caller has the lock, and whoever appends meanwhile is counted now or later."""
        times = self._hit_times
        for _ in range(len(times)):
            self._saved += times.popleft()
            self._hits += 1

    def _own(self) -> tuple[Counter[str], Counter[str], float]:
        with self._lock:
            self._sum_up()
            numbers = self._numbers.copy()
            numbers["hits"] = self._hits
            return numbers, self._bypasses.copy(), self._saved


_parts: ContextVar[tuple[Counters, ...]] = ContextVar("rowstamp-counted-parts", default=())
