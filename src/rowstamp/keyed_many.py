"""Values under several keys, of which the missing ones are loaded together."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from rowstamp.calls import Calls, Steps
from rowstamp.calls.call import NOTHING
from rowstamp.calls.loads import is_empty
from rowstamp.calls.steps import Load, Wait, running_loop
from rowstamp.calls.turns import ask_for_turn, giving_back
from rowstamp.config import check_tags, check_ttl
from rowstamp.errors import StoreError, UncacheableValue
from rowstamp.keyed import ABSENT, MISSING, Keyed, find_many, plan_as, shared_stamps, value_of
from rowstamp.model import DIGEST_SIZE, fresh_token
from rowstamp.protocol import Ticket
from rowstamp.protocol_calls import call_ticket, capture
from rowstamp.recording import Recorder, active, note
from rowstamp.stampede import PATIENCE, Flight, jittered
from rowstamp.values import pack_result

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["ManyCall"]

_HELD = "a stamp is held or the store is down"


@dataclass(slots=True, kw_only=True)
class ManyCall:
    """One call for several keys.

    Attributes:
        core: the cache.
        calls: what its calls share.
        keyed: each key with what belongs to it, and the stamps that its entry stands on.
        tags: the tags of the values.
        ttl: how long they may live, in seconds.
        ttl_empty: the same for what is empty or not there.
        jitter: the share of the time to live that is left to chance.
        plan: how values are kept.
        asked: the keys to be loaded, once that is known.
    """

    core: Core
    calls: Calls
    keyed: Mapping[Any, tuple[Keyed, Sequence[bytes]]]
    tags: Collection[str]
    ttl: float
    ttl_empty: float
    jitter: float
    plan: Any
    asked: list[Any] = field(default_factory=list[Any])

    @classmethod
    def of(
        cls,
        core: Core,
        calls: Calls,
        keys: Iterable[Any],
        ttl: float | None,
        tags: Collection[str],
        ttl_empty: float | None,
        jitter: float,
        as_: Any,
    ) -> ManyCall:
        """Return a call as its caller has put it."""
        core.require_open()
        keyed = {key: Keyed(core, key) for key in keys}
        seconds = core.config.ttl if ttl is None else check_ttl(ttl)
        return cls(
            core=core,
            calls=calls,
            keyed={key: (each, each.required(tags)) for key, each in keyed.items()},
            tags=check_tags(tags),
            ttl=seconds,
            ttl_empty=seconds if ttl_empty is None else check_ttl(ttl_empty, "ttl_empty"),
            jitter=jitter,
            plan=plan_as(as_),
        )

    def answer(self) -> Steps:
        """Return the steps that answer it."""
        self.asked = [*self.keyed]
        if not self.core.enabled:
            return self._given((yield Load(None)))
        values: dict[Any, Any] = {}
        waited = False
        while True:
            captured = yield from self._find(values)
            if captured is None:
                return self._in_order({**values, **self._given((yield Load(None)))})
            if not self.asked:
                return self._in_order(values)
            # What is part of another load waits for nobody (see `rowstamp.stampede`).
            if waited or active() is not None:
                values |= yield from self._load(captured)
                return self._in_order(values)
            others = yield from self._load_own(values, captured)
            if not others:
                return self._in_order(values)
            for flight in others:
                yield Wait(flight, PATIENCE)
            waited = True

    def _find(self, values: dict[Any, Any]) -> Generator[Any, Any, dict[bytes, bytes] | None]:
        """Add the values that are there, and note which keys are to be asked for; return the tokens that were read."""
        wanted = {key: self.keyed[key] for key in self.asked}
        try:
            yield from self.calls.lookups.replay_journal()
            hits, captured = yield from find_many(self.core, self.calls.lookups, wanted)
        except StoreError:
            self.core.counters.count("store_errors")
            return None
        found = {key: value_of(self.core, self.plan, hit) for key, hit in hits.items()}
        values.update({key: value for key, value in found.items() if value is not MISSING})
        self.asked = [key for key in self.asked if key not in values]
        return captured

    def _in_order(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {key: values[key] for key in self.keyed if values.get(key, NOTHING) is not NOTHING}

    def _given(self, loaded: Mapping[Any, Any]) -> dict[Any, Any]:
        return {key: loaded[key] for key in self.asked if key in loaded}

    # ------------------------------------------------------------------------------------------------ loading

    def _load_own(self, values: dict[Any, Any], captured: dict[bytes, bytes]) -> Generator[Any, Any, list[Flight]]:
        """Load what nobody else in this process is loading, and return the loads of the others.

        Nobody waits before its own load has landed, so that two who want each other's keys do not wait for ever.
        """
        loop, flights = running_loop(), self.calls.flights
        joined = {key: flights.join(self.keyed[key][0].entry(), loop) for key in self.asked}
        own = self.asked = [key for key, (_, mine) in joined.items() if mine]
        try:
            if own:
                yield from self._load_in_turn(values, captured)
        finally:
            for key in own:
                flights.land(self.keyed[key][0].entry(), loop)
        others = [key for key, (_, mine) in joined.items() if not mine]
        self.asked = others
        return [joined[key][0] for key in others]

    def _load_in_turn(self, values: dict[Any, Any], captured: dict[bytes, bytes]) -> Generator[Any, Any, None]:
        """Load for the fleet, or take what another process has loaded, as far as it is there then.

        One lease for all keys, so that it costs the same however many they are; only who misses just these keys finds it taken. Nobody
        waits for a lease who has one, and a load waits for nobody, so that nobody waits for ever.
        """
        core = self.core
        if not core.leases:
            return (yield from self._load_missing(values, captured))
        holder, lease, count = fresh_token(), self._lease(), core.counters.count
        turn = yield from ask_for_turn(
            core,
            lease,
            lambda: self._find(values),
            holder=holder,
            patience=PATIENCE,
            count=count,
            served=lambda _: not self.asked,
        )
        steps = self._load_missing(values, turn.found or captured)
        return (yield from giving_back(lease, holder, steps, count=count) if turn.leased else steps)

    def _load_missing(self, values: dict[Any, Any], captured: dict[bytes, bytes]) -> Generator[Any, Any, None]:
        if self.asked:
            values.update((yield from self._load(captured)))

    def _lease(self) -> bytes:
        """Return the name of the lease of all keys that are asked for."""
        entries = sorted(self.keyed[key][0].entry() for key in self.asked)
        return entries[0] if len(entries) == 1 else blake2b(b"".join(entries), digest_size=DIGEST_SIZE).digest()

    def _load(self, captured: dict[bytes, bytes]) -> Generator[Any, Any, dict[Any, Any]]:
        """Load the keys that are asked for, recorded, and store what there is of them."""
        core = self.core
        core.counters.count("misses", len(self.asked))
        recorder = Recorder(core, active(), captured)
        own = {key: self.keyed[key][0].stamp() for key in self.asked}
        tokens = yield from self._capture([*shared_stamps(core, self.tags), *own.values()], captured)
        if tokens is None:
            recorder.refuse(_HELD)
            note_refusal(recorder.parent)
        else:
            note(core, tokens)
            recorder.add({stamp: tokens[stamp] for stamp in shared_stamps(core, self.tags)})
        started = core.clock()
        loaded: Mapping[Any, Any] = yield Load(recorder)
        load_time = core.clock() - started
        if recorder.reason is not None or tokens is None:
            core.counters.bypass(recorder.reason or _HELD)
        else:
            yield from self._fill(
                loaded, {key: tokens[stamp] for key, stamp in own.items()}, recorder.tokens, load_time
            )
        return self._given(loaded)

    def _capture(
        self, stamps: Sequence[bytes], captured: Mapping[bytes, bytes]
    ) -> Generator[Any, Any, dict[bytes, bytes] | None]:
        missing = [stamp for stamp in stamps if stamp not in captured]
        found: Mapping[bytes, bytes] | None = {}
        if missing:
            try:
                found = yield from capture(missing)
            except StoreError:
                self.core.counters.count("store_errors")
                return None
        return None if found is None else {stamp: found.get(stamp) or captured[stamp] for stamp in stamps}

    def _fill(
        self, loaded: Mapping[Any, Any], own: Mapping[Any, bytes], shared: Mapping[bytes, bytes], load_time: float
    ) -> Generator[Any, Any, None]:
        """Store the values, each under its own stamp and all that the load has depended on."""
        items: list[tuple[Ticket, bytes, float]] = []
        for key, token in own.items():
            keyed, value = self.keyed[key][0], loaded.get(key, MISSING)
            try:
                body = ABSENT if value is MISSING else pack_result(self.plan, value, ())
            except UncacheableValue as exc:
                self.core.counters.bypass(exc.reason)
                continue
            ticket = call_ticket(keyed.entry(), {keyed.stamp(): token, **shared})
            seconds = self.ttl_empty if value is MISSING or is_empty(value) else self.ttl
            items.append((ticket, body, jittered(seconds, self.jitter)))
        try:
            yield from self.core.filling_many(items, load_time=load_time)
        except StoreError:
            self.core.counters.count("store_errors")
            return
        for ticket, _, _ in items:
            self.calls.lookups.remember(ticket.entry, tuple(ticket.tokens))
        self.core.counters.count("fills", len(items))


def note_refusal(recorder: Recorder | None) -> None:
    """Tell the calls that this one is part of that what it read cannot be checked later."""
    while recorder is not None:
        recorder.refuse(_HELD)
        recorder = recorder.parent
