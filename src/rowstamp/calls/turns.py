"""One loader for a whole fleet: whose turn it is to load, by the lease of the entry."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from rowstamp.calls.call import NOTHING, Call
from rowstamp.calls.loads import Loads
from rowstamp.calls.lookups import Lookups
from rowstamp.calls.steps import Step, Steps
from rowstamp.core import Core
from rowstamp.errors import StoreError
from rowstamp.model import fresh_token
from rowstamp.protocol import Lease, Unlease
from rowstamp.protocol_calls import CallHit, CallMiss
from rowstamp.protocol_lease import Turn, take_turn
from rowstamp.stampede import PATIENCE, PATIENCE_WITH_CONNECTION

__all__ = ["Turns", "patience_of"]


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
            call.count("misses")
            return (yield from self._loads.load(call, missed))
        holder = fresh_token()
        turn = yield from self._take_turn(call, holder)
        try:
            if isinstance(turn.found, CallHit):
                value = self._lookups.value(call, turn.found)
                if value is not NOTHING:
                    return value
            elif turn.found is not None:
                # Whether an old result may be served has been decided.
                missed = turn.found if missed.stale is not None else replace(turn.found, stale=None)
            call.count("misses")
            return (yield from self._loads.load(call, missed))
        except GeneratorExit:
            turn = replace(turn, leased=False)  # nobody is left to do anything: the lease ends by itself
            raise
        finally:
            if turn.leased:
                yield from self._give_back(call, holder)

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
        leased = owner == holder
        if not leased:
            return NOTHING
        try:
            # Between the look and the lease another may have loaded and given it back.
            found = yield from self._lookups.find(call)
            if found is None or (isinstance(found, CallHit) and found.ends_at > ends_after):
                return NOTHING
            return (yield from self._loads.load(call, missed))
        except GeneratorExit:
            leased = False
            raise
        finally:
            if leased:
                yield from self._give_back(call, holder)

    def _take_turn(self, call: Call, holder: bytes) -> Generator[Step, Any, Turn[CallHit | CallMiss | None]]:
        try:
            return (
                yield from take_turn(
                    call.entry,
                    lambda: self._lookups.find(call),
                    holder=holder,
                    ttl=self._core.config.lease,
                    patience=patience_of(call),
                )
            )
        except StoreError:
            call.count("store_errors")
            return Turn(leased=False)

    @staticmethod
    def _give_back(call: Call, holder: bytes) -> Generator[Step, Any, None]:
        try:
            yield Unlease(call.entry, holder)
        except StoreError:
            call.count("store_errors")
