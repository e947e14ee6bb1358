"""Loads under way in this process, so that callers who miss the same entry at the same time wait for one load.

A caller that has waited looks the entry up again: it is served what the load stored only if that is valid at a moment after
its own call began, so that it never receives data older than its begin. (Comparing the stamps both had read before would do
as well for statements; of a function the stamps are known only once it has run.)

A load that is part of another load never waits: two functions that call each other could wait for each other for ever. And a
caller who has a connection waits for :data:`PATIENCE_WITH_CONNECTION` only, for the load may be waiting for just that connection,
the last of an exhausted pool.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from rowstamp.config import check_errors, check_ttl
from rowstamp.entry import StoredEntry
from rowstamp.errors import ConfigurationError
from rowstamp.outage import is_outage

__all__ = [
    "NO_TIMEOUTS",
    "PATIENCE",
    "PATIENCE_WITH_CONNECTION",
    "Flight",
    "Flights",
    "Staleness",
    "Timeouts",
    "check_early",
    "earliest",
    "is_early",
    "jittered",
]

PATIENCE: Final = 60.0
"""How long a caller waits for another's load before it loads by itself, in seconds."""

PATIENCE_WITH_CONNECTION: Final = 2.0
"""The same for a caller who has a connection already."""


class Flight:
    """A load under way: one caller has it, others may wait for it.

    Args:
        loop: the event loop of the caller, or ``None`` in a thread without one.
    """

    __slots__ = ("_done", "_landed")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._landed: asyncio.Future[None] | None = loop.create_future() if loop is not None else None
        self._done = threading.Event() if loop is None else None

    @property
    def has_landed(self) -> bool:
        """Whether the load is over."""
        return self._done.is_set() if self._done is not None else self._landed is None or self._landed.done()

    def land(self) -> None:
        """Let everybody go on who waits."""
        if self._done is not None:
            self._done.set()
        elif self._landed is not None and not self._landed.done():
            self._landed.set_result(None)

    def wait(self, patience: float | None) -> None:
        """Wait in this thread until the load is over, for so many seconds at most."""
        if self._done is not None:
            self._done.wait(patience)

    async def wait_async(self, patience: float | None) -> None:
        """Wait in this task until the load is over, for so many seconds at most."""
        if self._landed is not None:
            await asyncio.wait([self._landed], timeout=patience)


class Flights:
    """The loads under way of one cache, by entry; of each event loop its own. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[tuple[bytes, asyncio.AbstractEventLoop | None], Flight] = {}

    def join(self, entry: bytes, loop: asyncio.AbstractEventLoop | None) -> tuple[Flight, bool]:
        """Return the load of an entry that is under way, or a new one, and whether it is new: then the caller has to load."""
        with self._lock:
            flight = self._flights.get((entry, loop))
            if flight is not None:
                return flight, False
            flight = self._flights[entry, loop] = Flight(loop)
            return flight, True

    def land(self, entry: bytes, loop: asyncio.AbstractEventLoop | None) -> None:
        """End the load of an entry."""
        with self._lock:
            flight = self._flights.pop((entry, loop), None)
        if flight is not None:
            flight.land()


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """What of an old result may be served, because its user has said so.

    A result is served stale for so many seconds after its time to live. One that a write has made unusable may be served for so many
    seconds after it was *loaded*: when it was written is not known, but not before that. So nothing is served that
    had changed longer ago.

    Attributes:
        while_revalidate: for how long while a new one is loaded in the background, in seconds.
        if_error: for how long when its load fails, in seconds.
        errors: errors that count as a failure besides those of a database that is not there (see :mod:`rowstamp.outage`).
    """

    while_revalidate: float = 0.0
    if_error: float = 0.0
    errors: Collection[type[Exception]] = ()

    def __post_init__(self) -> None:
        check_errors("outages", self.errors)
        for name, value in (("stale_while_revalidate", self.while_revalidate), ("stale_if_error", self.if_error)):
            if value != 0 or isinstance(value, bool):
                check_ttl(value, name)

    def counts(self, exc: BaseException) -> bool:
        """Whether an exception of a load is a failure."""
        return isinstance(exc, tuple(self.errors)) or is_outage(exc)

    @property
    def longest(self) -> float:
        """How long an entry is kept beyond its time to live, in seconds."""
        return max(self.while_revalidate, self.if_error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a caller waits for a load, which then goes on without it and is stored.

    Attributes:
        soft: after so many seconds an old result is served, if there is one that may be served where a load fails.
        hard: after so many seconds :class:`~rowstamp.LoadTimeout` is raised.
    """

    soft: float | None = None
    hard: float | None = None

    @classmethod
    def of(cls, soft: float | None, hard: float | None, stale: Staleness) -> Timeouts:
        """Return timeouts as an option gives them.

        Raises:
            ConfigurationError: they are no times, or a soft one has nothing to serve.
        """
        if soft is None and hard is None:
            return NO_TIMEOUTS
        found = cls(
            soft=None if soft is None else check_ttl(soft, "soft_timeout"),
            hard=None if hard is None else check_ttl(hard, "timeout"),
        )
        if found.soft is not None and not stale.if_error:
            msg = f"soft_timeout={soft!r} serves an old result instead of waiting: say how old with stale_if_error=60"
            raise ConfigurationError(msg)
        if found.soft is not None and found.hard is not None and found.soft >= found.hard:
            msg = f"soft_timeout={soft!r} is not before timeout={hard!r}: what is served first has to come first"
            raise ConfigurationError(msg)
        return found


NO_TIMEOUTS: Final = Timeouts()
"""A caller waits until its load is over."""


# -------------------------------------------------------------------------------------------- before the end

_LONGEST_LOT: Final = 53 * math.log(2)
"""The longest lot there is: that of the smallest positive number that ``random.random()`` returns."""


def check_early(early: object) -> float:
    """Return the factor of an early refresh.

    Raises:
        ConfigurationError: it is not a finite number of 0 or more.
    """
    if isinstance(early, bool) or not isinstance(early, int | float) or not (math.isfinite(early) and early >= 0):
        msg = f"early={early!r} is no factor: give 1 to load a result anew about its load time before it ends, 0 for never"
        raise ConfigurationError(msg)
    return float(early)


def is_early(stored: StoredEntry, early: float, now: float, random: Callable[[], float]) -> bool:
    """Return whether it is this caller's lot to load a result anew before its time to live is over.

    The nearer the end, and the longer the load, the likelier: of many callers one loads shortly before the end, and the others are
    served what is there. (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015. The
    exponential distribution is what makes it optimal; no state is shared, and a load that fails is made up for by the next
    caller's lot.)

    Args:
        stored: the entry, with its end and the load time that was measured.
        early: the factor; with 1 a result is loaded anew about its load time before it ends.
        now: seconds since 1970.
        random: returns a number from 0 to just below 1.
    """
    return stored.load_time > 0 and now - stored.load_time * early * math.log(1.0 - random()) >= stored.ends_at


def earliest(stored: StoredEntry, early: float) -> float:
    """Return when a result can first be loaded anew: before that a hit need not draw a lot. Seconds since 1970."""
    return stored.ends_at - stored.load_time * early * _LONGEST_LOT


def jittered(ttl: float, share: float) -> float:
    """Return a time to live shortened at random by up to a share of it, so that entries made together do not end together."""
    return ttl * (1.0 - share * random.random()) if share else ttl
