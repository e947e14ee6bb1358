"""One loader for a whole fleet: who misses an entry takes its lease, and loads; who finds it taken waits for the value.

A lease says only who loads. What is served has always been validated by its own stamps, read after the call began, so nothing depends on
leases being right: two loaders at once, or a lease that was lost, cost a query and nothing else. Hence a lease is a value with
a time to live and no more, and ends by itself when its loader dies.

**Whoever waits is told**, where the store can tell (:class:`rowstamp.store.Waking`): when the lease is given back, and no later than it
ends, so that a dead loader's is over for all at once. Of each process one caller waits so; the others wait for it in the process.
Elsewhere (LMDB, where processes share a file and no channel) that one polls, at growing distances of :data:`FIRST_PAUSE` to
:data:`LONGEST_PAUSE`: one small read a time, and only while a load is under way.

**Nobody waits for many.** If the value is not there when the first lease is given back, and somebody else has taken the second, a caller waits
once more; after :data:`MOST_LEASES` it loads by itself. Else calls whose results cannot be stored would queue up through the fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from rowstamp.protocol import Lease, Operation
from rowstamp.protocol_calls import CallHit

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MOST_LEASES", "Look", "Pause", "Turn", "is_hit", "take_turn"]

F = TypeVar("F")

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
"""How far apart the looks of a waiting caller are, in seconds: each half as far again as the one before."""

MOST_LEASES: Final = 2
"""For how many loads by others a caller waits, one after the other."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Let others go on until a lease is given back or ends. Reply: how long that took in seconds, ``None`` where the store cannot tell.

    Attributes:
        entry: the entry whose lease it is.
        seconds: for how long, where the store cannot tell.
        patience: for how long at most, where it can.
    """

    entry: bytes
    seconds: float
    patience: float


@dataclass(frozen=True, slots=True)
class Turn(Generic[F]):
    """What has come of waiting.

    Attributes:
        leased: whether the caller has the lease, and is to give it back.
        found: what the last look has found: a hit to be served, or a miss. ``None`` if there was none, or the store is down.
    """

    leased: bool
    found: F | None = None


Look: TypeAlias = Callable[[], Generator[Any, Any, F]]


def is_hit(found: object) -> bool:
    """Return whether what a look has found is a hit."""
    return isinstance(found, CallHit)


def take_turn(
    entry: bytes,
    look: Look[F],
    *,
    holder: bytes,
    ttl: float,
    patience: float,
    served: Callable[[Any], bool] = is_hit,
) -> Generator[Operation | Pause, Any, Turn[F]]:
    """Take the lease of an entry that was missed, or wait for the value that its holder loads.

    Args:
        entry: the entry's key; a name for several that are loaded together.
        look: the flow that looks the entry up again.
        holder: a name for this caller that nobody else has.
        ttl: how long the lease is kept at most, in seconds.
        patience: how long to wait at most, in seconds.
        served: whether nothing is left to be loaded when a look has found that.
    """
    others: set[bytes] = set()
    waited, pause = 0.0, FIRST_PAUSE
    while True:
        owner: bytes = yield Lease(entry, holder, ttl)
        if owner == holder:
            # Between the miss and the lease another may have loaded and given it back.
            return Turn(leased=True, found=(yield from look()))
        if owner not in others:
            if others:
                found = yield from look()
                if served(found):
                    return Turn(leased=False, found=found)
            others.add(owner)
        if len(others) > MOST_LEASES or waited >= patience:
            return Turn(leased=False)
        told: float | None = yield Pause(entry, pause, patience - waited)
        if told is not None:
            waited += told
            found = yield from look()
            if served(found):
                return Turn(leased=False, found=found)
            continue
        waited += pause
        pause = min(1.5 * pause, LONGEST_PAUSE)
