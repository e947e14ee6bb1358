"""How fresh a hit has to be: the contracts that a cache, a statement or a function can ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from rowstamp.errors import ConfigurationError

__all__ = ["Freshness", "bounded", "check_freshness", "strict"]

_LONGEST_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Freshness:
    """A freshness contract; see :data:`strict` and :func:`bounded`.

    Attributes:
        bound: a hit was valid at a moment no longer than this before the read began, in seconds; 0 for one after it began.
    """

    bound: float

    def __repr__(self) -> str:
        return f"bounded({self.bound * 1000:g})" if self.bound else "strict"


strict: Final = Freshness(0.0)
"""A hit was valid at a moment after the read began: nothing that was committed before is missing."""


def bounded(milliseconds: float) -> Freshness:
    """Return the contract that a hit was valid at a moment no longer ago than a bound, which Redis and Valkey can keep without a round trip.

    The process mirrors stamps as the server pushes their changes, and trusts the mirror only while a heartbeat younger than the
    bound proves that it has heard of every change. Otherwise, and in stores without a server, a read is strict. What this process
    itself has committed it sees at once.

    Args:
        milliseconds: the bound; heartbeats are sent four times as often, so below 20 few reads profit.

    Raises:
        ConfigurationError: it is not a number of milliseconds between 1 and 3,600,000 (an hour).
    """
    value: Any = milliseconds
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(f"bounded({value!r}): give a number of milliseconds, such as bounded(50)")
    if not 1 <= value <= _LONGEST_MS:
        raise ConfigurationError(
            f"bounded({value!r}): give between 1 and {_LONGEST_MS} milliseconds, such as bounded(50)"
        )
    return Freshness(value / 1000)


def check_freshness(freshness: object) -> Freshness:
    """Return a freshness contract.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(freshness, Freshness):
        raise ConfigurationError(
            f"freshness={freshness!r} is no contract: give rowstamp.strict or rowstamp.bounded(50)"
        )
    return freshness
