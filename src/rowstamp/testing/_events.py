"""What may happen in an exploration, and what is said of it afterwards."""

from __future__ import annotations

import enum
from typing import NamedTuple

from rowstamp.testing._states import State
from rowstamp.testing.actors import Answer
from rowstamp.testing.model_database import Versions

__all__ = ["Event", "Kind", "Property", "Step", "Violation"]


class Property(enum.Enum):
    """What an exploration checks."""

    FRESH = "no hit is older than what was committed when its read began"
    AT_REST = "when nobody is under way any more and all holds have ended, nothing stale is left"
    ONE_MOMENT = "a REPEATABLE READ transaction is served nothing but its snapshot"


class Violation(NamedTuple):
    """A property that does not hold, and how that shows."""

    property: Property
    text: str


class Kind(enum.Enum):
    """The kinds of events."""

    STEP = "step"
    LATE = "late"
    CRASH = "crash"
    EXPIRE = "expire"
    SETTLE = "settle"
    RESTART = "restart"
    EVICT_ENTRY = "evict entry"
    EVICT_STAMP = "evict stamp"


class Event(NamedTuple):
    """Something that may happen next.

    Attributes:
        kind: what.
        actor: whom it concerns; for evictions the number of the entry or stamp.
        answer: what becomes of a COMMIT.
        task: the number of the transaction, for what befalls one that is over.
        stamp: the stamp whose hold expires.
    """

    kind: Kind
    actor: int
    answer: Answer = Answer.DONE
    task: int = 0
    stamp: int = 0


class Step(NamedTuple):
    """What an event led to.

    Attributes:
        state: the state after it.
        served: the number of the entry and the versions, if it was a hit.
        violations: what the step itself has violated.
    """

    state: State
    served: tuple[int, Versions] | None = None
    violations: tuple[Violation, ...] = ()
