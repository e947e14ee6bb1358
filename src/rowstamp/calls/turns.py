"""One loader for a whole fleet: whose turn it is to load, by the lease of the entry."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from rowstamp.calls.call import NOTHING, Call
from rowstamp.calls.loads import Loads
from rowstamp.calls.lookups import Lookups
from rowstamp.calls.steps import Step, Steps
from rowstamp.core import Core
from rowstamp.errors import StoreError
from rowstamp.model import fresh_token
from rowstamp.protocol import Lease, Unlease
from rowstamp.protocol_calls import CallHit, CallMiss
from rowstamp.protocol_lease import Look, Turn, is_hit, take_turn
from rowstamp.stampede import PATIENCE, PATIENCE_WITH_CONNECTION

__all__ = ["Turns", "ask_for_turn", "giving_back", "patience_of"]

F = TypeVar("F")
T = TypeVar("T")
Count: TypeAlias = Callable[[str], None]
Served: TypeAlias = Callable[[Any], bool]


def patience_of(call: Call) -> float:
    """Return how long a call waits for another's load before it loads by itself, in seconds."""
    return PATIENCE_WITH_CONNECTION if call.situation.has_connection() else PATIENCE


class Turns:
    """Loads of one cache, one at a time for each entry among all that share the store.

    Args:
        core: the cache.
        lookups: what is stored.
        loads: runs functions.
    """

    def __init__(self, core: Core, lookups: Lookups, loads: Loads) -> None:
        self._core = core
        self._lookups = lookups
        self._loads = loads

    def load(self, call: Call, missed: CallMiss) -> Steps:
        """Load for the fleet, or take what another process has loaded."""
        if not self._core.leases:
            return (yield from self._counted_load(call, missed))
        holder = fresh_token()
        turn = yield from ask_for_turn(
            self._core,
            call.entry,
            lambda: self._lookups.find(call),
            holder=holder,
            patience=patience_of(call),
            count=call.count,
        )
        steps = self._load_after(call, missed, turn.found)
        return (yield from giving_back(call.entry, holder, steps, count=call.count) if turn.leased else steps)

    def _load_after(self, call: Call, missed: CallMiss, found: CallHit | CallMiss | None) -> Steps:
        """Load, unless a hit was found while the turn was waited for."""
        if isinstance(found, CallHit):
            value = self._lookups.value(call, found)
            if value is not NOTHING:
                return value
        elif found is not None:
            # Whether an old result may be served has been decided.
            missed = found if missed.stale is not None else replace(found, stale=None)
        return (yield from self._counted_load(call, missed))

    def _counted_load(self, call: Call, missed: CallMiss) -> Steps:
        call.count("misses")
        return (yield from self._loads.load(call, missed))

    def load_anew(self, call: Call, missed: CallMiss, *, ends_after: float) -> Steps:
        """Load in place of a result that is there, unless somebody else does or has: then return :data:`NOTHING`.

        Args:
            call: the call.
            missed: what is known of its entry.
            ends_after: an entry that ends later than this has been loaded meanwhile.
        """
        if not self._core.leases:
            return (yield from self._loads.load(call, missed))
        holder = fresh_token()
        try:
            owner = yield Lease(call.entry, holder, self._core.config.lease)
        except StoreError:
            call.count("store_errors")
            return NOTHING
        if owner != holder:
            return NOTHING
        steps = self._load_if_older(call, missed, ends_after)
        return (yield from giving_back(call.entry, holder, steps, count=call.count))

    def _load_if_older(self, call: Call, missed: CallMiss, ends_after: float) -> Steps:
        # Between the look and the lease another may have loaded and given it back.
        found = yield from self._lookups.find(call)
        if found is None or (isinstance(found, CallHit) and found.ends_at > ends_after):
            return NOTHING
        return (yield from self._loads.load(call, missed))


def ask_for_turn(
    core: Core, lease: bytes, look: Look[F], *, holder: bytes, patience: float, count: Count, served: Served = is_hit
) -> Generator[Step, Any, Turn[F]]:
    """Take a turn as :func:`~rowstamp.protocol_lease.take_turn` does; without a store nobody takes turns."""
    try:
        return (
            yield from take_turn(lease, look, holder=holder, ttl=core.config.lease, patience=patience, served=served)
        )
    except StoreError:
        count("store_errors")
        return Turn(leased=False)


def giving_back(
    lease: bytes, holder: bytes, steps: Generator[Step, Any, T], *, count: Count
) -> Generator[Step, Any, T]:
    """Take steps under a lease, and give it back, however they end."""
    leased = True
    try:
        return (yield from steps)
    except GeneratorExit:
        leased = False  # nobody is left to do anything: the lease ends by itself
        raise
    finally:
        if leased:
            try:
                yield Unlease(lease, holder)
            except StoreError:
                count("store_errors")
