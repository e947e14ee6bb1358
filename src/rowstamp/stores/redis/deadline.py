"""How long one call may take in all, whatever it is spent on."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Deadline", "left"]


class Deadline:
    """When a call is over: one that is sent from node to node, connects again and is said anew takes no longer than any other.

    Each step has a time of its own besides; without a deadline for all of them a call would take their sum, which nobody has
    chosen and nobody can say beforehand.

    Args:
        seconds: how long the call may take.
        clock: seconds from any fixed moment, never going back.
    """

    __slots__ = ("_clock", "_ends_at")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + seconds

    def within(self, seconds: float) -> Deadline:
        """Return the deadline of a part of the call that may take so many seconds itself."""
        return Deadline(min(seconds, self._ends_at - self._clock()), self._clock)

    @property
    def remaining(self) -> float:
        """How many seconds are left, 0 if none are."""
        return max(0.0, self._ends_at - self._clock())


def left(deadline: Deadline | None, most: float) -> float:
    """Return how long a step may take: so many seconds at most, and no more than what is left of the call that it is part of.

    Args:
        deadline: when the call is over; ``None`` for what nobody waits for.
        most: the step's own time, in seconds.

    Raises:
        TimeoutError: nothing is left.
    """
    if deadline is None:
        return most
    remaining = deadline.remaining
    if remaining <= 0:
        raise TimeoutError("the time for the whole call is over")
    return min(remaining, most)
