"""A circuit breaker: after a few failures in a row nobody waits for a server that does not answer."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

from rowstamp.store import Outages

__all__ = ["FAILURES", "PAUSE_SECONDS", "Breaker", "Breakers", "Gate"]

FAILURES: Final = 3
"""After so many failures in a row the breaker opens."""

PAUSE_SECONDS: Final = 0.5
"""An open breaker lets the server be tried again after so many seconds."""


class Gate(enum.Enum):
    """What a breaker answers to one who is about to use the server."""

    ADMIT = "use it"
    PROBE = "do not wait for it, but have it tried: you are the only one who is asked to"
    REFUSE = "do not use it"


class Breaker:
    """Closed while the server answers; open after :data:`FAILURES` failures in a row; then one probe at a time.

    Every method may be called from any thread. It does no I/O: who is told ``PROBE`` starts the probe, in the
    background so that no read waits for it, and reports its outcome like any other.

    Args:
        clock: seconds from any fixed moment, never going back.
        among: the breakers of the same store.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, among: Breakers | None = None) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at: float | None = None
        self._among = among or Breakers()
        self._among.add(self)

    @property
    def is_open(self) -> bool:
        """Whether the server is being left alone."""
        return self._retry_at is not None

    def ask(self) -> Gate:
        """Return what may be done now."""
        # Asked on every operation: while all is well, no lock is needed to see it.
        if not self.is_open:
            return Gate.ADMIT
        with self._lock:
            now = self._clock()
            if self._retry_at is None:
                return Gate.ADMIT
            if now < self._retry_at:
                return Gate.REFUSE
            # The next one is asked after another pause, should this probe never report.
            self._retry_at = now + PAUSE_SECONDS
            return Gate.PROBE

    def succeeded(self) -> None:
        """The server has answered."""
        if self._failures or self._retry_at is not None:
            with self._lock:
                self._failures = 0
                self._retry_at = None

    def failed(self) -> None:
        """The server has not answered, or not in time."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                if self._retry_at is None:
                    self._among.opened()
                self._retry_at = self._clock() + PAUSE_SECONDS


class Breakers:
    """The breakers of one store, which has one for each of its servers. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: WeakSet[Breaker] = WeakSet()
        self._openings = 0

    def add(self, breaker: Breaker) -> None:
        """Take note of a breaker; that of a server that is forgotten goes with it."""
        with self._lock:
            self._all.add(breaker)

    def opened(self) -> None:
        """Take note that one of them has opened."""
        with self._lock:
            self._openings += 1

    @property
    def outages(self) -> Outages:
        """How often they have opened, and how many of them are open."""
        with self._lock:
            return Outages(self._openings, sum(breaker.is_open for breaker in self._all))
