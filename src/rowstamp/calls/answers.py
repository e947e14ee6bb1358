"""What becomes of a call: a hit, another's load, its own load, or an old result."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rowstamp.calls.call import NOTHING, Call
from rowstamp.calls.loads import Loads
from rowstamp.calls.lookups import Lookups
from rowstamp.calls.steps import Background, Flush, Load, Settle, Steps, Wait, running_loop
from rowstamp.calls.turns import Turns, patience_of
from rowstamp.core import Core
from rowstamp.errors import LoadTimeout
from rowstamp.protocol_calls import CallHit, CallMiss
from rowstamp.recording import active
from rowstamp.remembered import QuickHits
from rowstamp.stampede import Flight, Flights, is_early

__all__ = ["Calls"]


@dataclass(slots=True)
class _Outcome:
    """What has come of a load in the background."""

    value: Any = NOTHING
    error: BaseException | None = None


class Calls:
    """Answers the calls of one cache.

    Args:
        core: the cache.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.flights = Flights()
        self.lookups = Lookups(core)
        self._loads = Loads(core, self.lookups)
        self._turns = Turns(core, self.lookups, self._loads)
        self.quick = QuickHits()

    def answer(self, call: Call, *, serve: bool = True) -> Steps:
        """Return the steps that answer a call.

        Args:
            call: the call.
            serve: ``False`` runs the function whatever is stored, and stores its result.
        """
        if not self._core.enabled:
            return (yield Load(None))
        for session in call.situation.unflushed():
            yield Flush(session)
        if call.situation.is_unsettled():
            yield Settle(call.situation)
            entry = call.entry_now()
            call = replace(call, entry=entry, entry_now=lambda: entry, keep=None, seen=None)
        reason = call.situation.reason()
        if reason is not None:
            call.bypass(reason)
            return (yield Load(None))
        written = call.situation.written()
        if not serve or not call.situation.may_serve():
            return (yield from self._loads.load(call, CallMiss()))
        return (yield from self._serve(call, written))

    def _serve(self, call: Call, written: set[bytes]) -> Steps:
        """Look up, and wait for another's load once before loading."""
        # What was written here, or becomes part of another result, is never served old, nor does it wait for others.
        alone = bool(written) or active() is not None
        waited, seen = False, call.seen
        while True:
            found = yield from self.lookups.find(call, seen)
            seen = None
            if found is None:
                return (yield Load(None))
            if isinstance(found, CallHit):
                if not written.isdisjoint(found.tokens):
                    call.bypass("own writes")
                    return (yield Load(None))
                value = yield from self._hit(call, found, alone=alone)
                if value is not NOTHING:
                    return value
                found = CallMiss()
            if alone:
                call.count("misses")
                return (yield from self._loads.load(call, replace(found, stale=None)))
            value = yield from self._stale_hit(call, found)
            if value is not NOTHING:
                return value
            if waited:
                return (yield from self._load_by_itself(call, found))
            loop = running_loop()
            flight, mine = self.flights.join(call.entry, loop)
            if mine:
                return (yield from self._lead(call, found, flight, loop))
            value = yield from self._wait(call, found, flight, patience_of(call))
            if value is not NOTHING:
                return value
            waited = True

    # ---------------------------------------------------------------------------------------------- renewing

    def _hit(self, call: Call, found: CallHit, *, alone: bool) -> Steps:
        """Return the value of a hit, or, if it is this call's lot to renew it before it ends, the new one."""
        if call.early and not alone and is_early(found.stored, call.early, self._core.wall_clock(), self._core.random):
            value = yield from self._renew_early(call, found)
            if value is not NOTHING:
                return value
        return self.lookups.value(call, found)

    def _renew_early(self, call: Call, found: CallHit) -> Steps:
        """Load anew while others are served what is there; in the background, if the load can do without the caller."""
        missed = CallMiss(found.tokens)
        if call.detach is not None:
            return (yield from self._renew_behind(call, missed, found.ends_at, "early_refreshes"))
        loop = running_loop()
        _, mine = self.flights.join(call.entry, loop)
        if not mine:
            return NOTHING
        try:
            value = yield from self._turns.load_anew(call, missed, ends_after=found.ends_at)
            if value is not NOTHING:
                call.count("early_refreshes")
            return value
        finally:
            self.flights.land(call.entry, loop)

    def _stale_hit(self, call: Call, found: CallMiss) -> Steps:
        """Return an old result that may be served while a new one is loaded, and have that loaded."""
        if call.detach is None:
            return NOTHING
        value = self.lookups.old_value(call, found, call.stale.while_revalidate)
        if value is not NOTHING:
            yield from self._renew_behind(call, CallMiss(), -math.inf, "")
        return value

    def _renew_behind(self, call: Call, missed: CallMiss, ends_after: float, what: str) -> Steps:
        """Have a new result loaded in the background, unless somebody does."""
        loop = running_loop()
        _, mine = self.flights.join(call.entry, loop)
        if mine:
            if what:
                call.count(what)

            def steps(own: Call) -> Steps:
                return self._turns.load_anew(own, missed, ends_after=ends_after)

            def ended(_value: Any, _error: BaseException | None) -> None:
                # What failed will be tried again by the next caller, who is told.
                self.flights.land(call.entry, loop)

            yield self._background(call, steps, ended)
        return NOTHING

    def _background(
        self, call: Call, steps: Callable[[Call], Steps], ended: Callable[[Any, BaseException | None], None]
    ) -> Background:
        if call.detach is None:
            raise RuntimeError("only a call that can do without its caller is made in the background")
        return Background(call, call.detach, lambda own: self._on_behalf(call, own, steps), ended)

    @staticmethod
    def _on_behalf(call: Call, own: Call, steps: Callable[[Call], Steps]) -> Steps:
        """Take the steps of a call that is made for another one, if it means the same where it is made."""
        reason = own.situation.reason()
        if reason is None and not own.situation.may_serve():
            reason = "in the background it is not known what the key stands for"
        if reason is None and own.entry_now() != call.entry:
            reason = "in the background it has another key: another database, or what vary= looks at is not there"
        if reason is not None:
            call.bypass(reason)
            return NOTHING
        return (yield from steps(own))

    # ------------------------------------------------------------------------------------------------ loading

    def _lead(self, call: Call, missed: CallMiss, flight: Flight, loop: asyncio.AbstractEventLoop | None) -> Steps:
        """Load for this process, and let those go on who have come to wait for it."""
        if call.is_bounded:
            return (
                yield from self._load_bounded(
                    call, missed, flight, self._turns.load, lambda: self.flights.land(call.entry, loop)
                )
            )
        try:
            return (yield from self._turns.load(call, missed))
        finally:
            self.flights.land(call.entry, loop)

    def _load_by_itself(self, call: Call, missed: CallMiss) -> Steps:
        """Load though another has loaded: it could not store its result, or a write has ended it at once."""
        if call.is_bounded:
            flight = Flight(running_loop())
            return (yield from self._load_bounded(call, missed, flight, self._counted_load, flight.land))
        return (yield from self._counted_load(call, missed))

    def _counted_load(self, call: Call, missed: CallMiss) -> Steps:
        call.count("misses")
        return (yield from self._loads.load(call, missed))

    def _load_bounded(
        self,
        call: Call,
        missed: CallMiss,
        flight: Flight,
        load: Callable[[Call, CallMiss], Steps],
        land: Callable[[], None],
    ) -> Steps:
        """Load in the background, and wait for it as long as the call's caller would."""
        outcome = _Outcome()

        def ended(value: Any, error: BaseException | None) -> None:
            outcome.value, outcome.error = value, error
            land()

        fresh = replace(missed, stale=None)  # whether an old result is served instead is decided here
        yield self._background(call, lambda own: load(own, fresh), ended)
        value = yield from self._wait(call, missed, flight, None)
        if value is not NOTHING:
            return value
        if isinstance(outcome.error, Exception):
            if call.stale.counts(outcome.error):
                value = self.lookups.old_value(call, missed, call.stale.if_error)
            if value is NOTHING:
                raise outcome.error
            return value
        if outcome.value is not NOTHING and call.adopts:
            return outcome.value
        found = yield from self.lookups.find(call)
        value = self.lookups.value(call, found) if isinstance(found, CallHit) else NOTHING
        # What could not be stored, or was loaded by nobody, the caller loads with what it has itself.
        return value if value is not NOTHING else (yield from self._loads.load(call, CallMiss()))

    def _wait(self, call: Call, missed: CallMiss, flight: Flight, patience: float | None) -> Steps:
        """Wait for a load, and return an old result if there is one that may be served instead, else :data:`NOTHING`.

        Raises:
            LoadTimeout: the call's time is over.
        """
        if not call.is_bounded:
            yield Wait(flight, patience)
            return NOTHING
        soft, hard = call.timeouts.soft, call.timeouts.hard
        if soft is not None:
            yield Wait(flight, soft)
            value = NOTHING if flight.has_landed else self.lookups.old_value(call, missed, call.stale.if_error)
            if value is not NOTHING:
                return value
        yield Wait(flight, patience if hard is None else hard - (soft or 0.0))
        if hard is None or flight.has_landed:
            return NOTHING
        value = self.lookups.old_value(call, missed, call.stale.if_error)
        if value is NOTHING:
            call.count("load_timeouts")
            raise LoadTimeout(hard)
        return value
