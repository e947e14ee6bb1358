"""One call that is to be cached, as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rowstamp.events import Counters
from rowstamp.orm.situation import Situation
from rowstamp.protocol_calls import CallHit
from rowstamp.quick import Seen
from rowstamp.stampede import NO_TIMEOUTS, Staleness, Timeouts

__all__ = ["NOTHING", "Call", "Detach"]

NOTHING: Final = object()
"""There is no value; ``None`` is one."""

Detach: TypeAlias = Callable[["Call"], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that is to be cached.

    Attributes:
        entry: the key of its entry.
        entry_now: returns that key again. Before an engine's first connection its default schema is not known, which is part of
            the key: such a call is not looked up, but its result is stored under the key that later calls will have.
        required: the stamps that every entry of it stands on: everything, its tags, its own.
        situation: the sessions and connections it is given.
        ttl: how long its result may live, in seconds.
        ttl_empty: the same for ``None`` and empty results; ``None`` makes no difference.
        jitter: the share of the time to live that is left to chance.
        early: the factor by which a result is likely to be loaded before its time to live is over; 0 for never.
        pack: the bytes of a result.
        unpack: the result of bytes.
        counters: where it is counted.
        stale: what of an old result may be served.
        timeouts: how long its caller waits for a load.
        detach: returns a context manager, an asynchronous one of an asynchronous call, that gives a call which means the same and
            its load, neither of which uses anything of the caller's: so they may go on when the caller has left. ``None`` where
            there is no such call.
        adopts: whether what such a load returns is what this call may return, as it is.
        keep: told of a hit and of the value that was made of it.
        seen: the first read of the lookup, if it has been made: the stamps that were read, and what the store has said.
    """

    entry: bytes
    entry_now: Callable[[], bytes]
    required: tuple[bytes, ...]
    situation: Situation
    ttl: float
    ttl_empty: float | None
    jitter: float
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]
    counters: Sequence[Counters]
    early: float = 0.0
    stale: Staleness = Staleness()  # noqa: RUF009 - frozen
    timeouts: Timeouts = NO_TIMEOUTS
    detach: Detach | None = None
    adopts: bool = True
    keep: Callable[[CallHit, Any], None] | None = None
    seen: Seen | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether its caller waits for a limited time only."""
        return self.detach is not None and self.timeouts is not NO_TIMEOUTS

    def count(self, what: str) -> None:
        """Count in all places."""
        for counters in self.counters:
            counters.count(what)

    def bypass(self, reason: str) -> None:
        """Count a bypass in all places."""
        for counters in self.counters:
            counters.bypass(reason)
