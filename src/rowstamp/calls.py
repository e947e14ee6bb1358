"""Answer one call from the cache, or run it, record what it depends on, and store it.

Like the protocol, the order of steps is written once, as a generator: it yields what is to be done (store operations, run the
function, flush a session, wait for another's load), and ``drive`` and ``drive_async`` do it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from rowstamp.core import Core
from rowstamp.drivers import perform, run, run_async
from rowstamp.errors import CorruptEntry, StoreError, UncacheableValue
from rowstamp.events import Counters
from rowstamp.model import StoreSnapshot, fresh_token
from rowstamp.orm.situation import Situation
from rowstamp.protocol import Flow, Lease, Operation, Unlease, invalidate
from rowstamp.protocol_calls import CallHit, CallMiss, call_ticket, capture, lookup_call
from rowstamp.protocol_lease import Pause, Turn, take_turn
from rowstamp.quick import QuickHits
from rowstamp.recording import Recorder, active, note, recording
from rowstamp.stampede import PATIENCE, PATIENCE_WITH_CONNECTION, Flight, Flights, Staleness, jittered

__all__ = ["Call", "Calls", "Flush", "Load", "Seen", "Wait", "drive", "drive_async"]

T = TypeVar("T")

_NONE: Final = object()

MEMO_LIMIT: Final = 16_384
"""Most entries whose stamp names are remembered; without them a hit takes two round trips."""


@dataclass(frozen=True, slots=True)
class Load:
    """Run the function. Reply: its result."""

    recorder: Recorder | None


@dataclass(frozen=True, slots=True)
class Flush:
    """Flush a session, as it was given. No reply."""

    session: Any


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a load that is under way. No reply."""

    flight: Flight
    patience: float


@dataclass(frozen=True, slots=True)
class Background:
    """Take other steps in the background, with loads of their own. No reply."""

    steps: Any


Step: TypeAlias = Operation | Load | Flush | Wait | Pause | Background
Steps: TypeAlias = Generator[Step, Any, Any]


class Seen(NamedTuple):
    """A read that was made before the rest of a lookup.

    Attributes:
        stamps: the stamps that were asked for.
        reply: the store's answer, or the error it raised.
    """

    stamps: Sequence[bytes]
    reply: StoreSnapshot | StoreError


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
        pack: the bytes of a result.
        unpack: the result of bytes.
        counters: where it is counted.
        stale: what of an old result may be served.
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
    stale: Staleness = Staleness()  # noqa: RUF009 - frozen
    keep: Callable[[CallHit, Any], None] | None = None
    seen: Seen | None = None

    def count(self, what: str) -> None:
        """Count in all places."""
        for counters in self.counters:
            counters.count(what)

    def bypass(self, reason: str) -> None:
        """Count a bypass in all places."""
        for counters in self.counters:
            counters.bypass(reason)


class Calls:
    """Answers the calls of one cache.

    Args:
        core: the cache.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._flights = Flights()
        self.quick = QuickHits()
        self._memo: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

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
        reason = call.situation.reason()
        if reason is not None:
            call.bypass(reason)
            return (yield Load(None))
        written = call.situation.written()
        if not serve or not call.situation.may_serve():
            return (yield from self._load(call, CallMiss()))
        return (yield from self._serve(call, written))

    def _serve(self, call: Call, written: set[bytes]) -> Steps:
        """Look up, and wait for another's load once before loading."""
        waited, seen = False, call.seen
        while True:
            found = yield from self._lookup(call, seen)
            seen = None
            if found is None:
                return (yield Load(None))
            if isinstance(found, CallHit):
                if not written.isdisjoint(found.tokens):
                    call.bypass("own writes")
                    return (yield Load(None))
                value = self._value(call, found)
                if value is not _NONE:
                    return value
                found = CallMiss()
            if written or active() is not None:
                # What was written here, or becomes part of another result, is never served old.
                found = replace(found, stale=None)
            elif call.situation.is_empty:
                value = self._stale_value(call, found, call.stale.while_revalidate)
                if value is not _NONE:
                    yield from self._revalidate(call)
                    return value
            if waited or written or active() is not None:
                call.count("misses")
                return (yield from self._load(call, found))
            loop = _running_loop()
            flight, mine = self._flights.join(call.entry, loop)
            if mine:
                return (yield from self._lead(call, found, loop))
            yield Wait(flight, PATIENCE_WITH_CONNECTION if call.situation.has_connection() else PATIENCE)
            waited = True

    def _value(self, call: Call, found: CallHit) -> Any:
        """Return the value of a hit, or :data:`_NONE` if its bytes mean nothing."""
        try:
            value = call.unpack(found.body)
        except CorruptEntry:
            call.count("corrupt")
            return _NONE
        note(self._core, found.tokens)
        for counters in call.counters:
            counters.hit(found.load_time)
        if call.keep is not None:
            call.keep(found, value)
        return value

    # ---------------------------------------------------------------------------------------------- old results

    def _expired(self, call: Call, found: CallHit) -> bool:
        """Whether an entry is there only to be served old."""
        return bool(call.stale.longest) and found.ends_at <= self._core.wall_clock()

    def _stale_value(self, call: Call, missed: CallMiss, seconds: float) -> Any:
        """Return an old result that may be served for so many seconds, or :data:`_NONE`."""
        old = missed.stale
        if old is None or not seconds:
            return _NONE
        now = self._core.wall_clock()
        # When it was loaded, or earlier: a time to live may have been shortened at random.
        loaded_at = old.ends_at - max(call.ttl, call.ttl_empty or 0.0)
        if now - (old.ends_at if missed.unchanged else loaded_at) > seconds:
            return _NONE
        try:
            value = call.unpack(old.body)
        except CorruptEntry:
            return _NONE
        call.count("stale_hits")
        return value

    def _revalidate(self, call: Call) -> Generator[Step, Any, None]:
        """Have a new result loaded in the background, unless somebody does."""
        loop = _running_loop()
        _, mine = self._flights.join(call.entry, loop)
        if mine:
            yield Background(self._load_anew(call, loop))

    def _load_anew(self, call: Call, loop: asyncio.AbstractEventLoop | None) -> Steps:
        holder = fresh_token()
        try:
            if not self._core.leases:
                return (yield from self._load(call, CallMiss()))
            try:
                owner = yield Lease(call.entry, holder, self._core.config.lease)
            except StoreError:
                call.count("store_errors")
                return None
            if owner == holder:
                yield from self._load(call, CallMiss())
                yield from self._give_back(call, holder)
            return None
        finally:
            self._flights.land(call.entry, loop)

    # ---------------------------------------------------------------------------------------------- one loader

    def _lead(self, call: Call, missed: CallMiss, loop: asyncio.AbstractEventLoop | None) -> Steps:
        """Load for this process, and let those go on who have come to wait for it."""
        try:
            if self._core.leases:
                return (yield from self._in_turn(call, missed))
            call.count("misses")
            return (yield from self._load(call, missed))
        finally:
            self._flights.land(call.entry, loop)

    def _in_turn(self, call: Call, missed: CallMiss) -> Steps:
        """Load for the fleet, or take what another process has loaded."""
        holder = fresh_token()
        turn = yield from self._take_turn(call, holder)
        try:
            if isinstance(turn.found, CallHit):
                value = self._value(call, turn.found)
                if value is not _NONE:
                    return value
            elif turn.found is not None:
                missed = turn.found
            call.count("misses")
            return (yield from self._load(call, missed))
        except GeneratorExit:
            turn = Turn(leased=False)  # nobody is left to do anything: the lease ends by itself
            raise
        finally:
            if turn.leased:
                yield from self._give_back(call, holder)

    def _take_turn(self, call: Call, holder: bytes) -> Generator[Step, Any, Turn]:
        patience = PATIENCE_WITH_CONNECTION if call.situation.has_connection() else PATIENCE
        try:
            return (
                yield from take_turn(
                    call.entry,
                    lambda: self._lookup(call, None),
                    holder=holder,
                    ttl=self._core.config.lease,
                    patience=patience,
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

    # --------------------------------------------------------------------------------------------------- steps

    def _lookup(self, call: Call, seen: Seen | None) -> Generator[Step, Any, CallHit | CallMiss | None]:
        """Return what is stored, or ``None`` if the store cannot be used."""
        known = seen.stamps if seen is not None else self._memo.get(call.entry) or call.required
        flow: Flow[CallHit | CallMiss] = lookup_call(call.entry, known, call.required, form=self._core.form)
        try:
            yield from self._replay_journal()
            found = yield from (self._core.looking_up(flow) if seen is None else _resumed(flow, seen.reply))
        except StoreError:
            call.count("store_errors")
            return None
        if isinstance(found, CallHit):
            self._remember(call.entry, tuple(found.tokens))
            if self._expired(call, found):
                return CallMiss(found.tokens, stale=found.stored, unchanged=True)
        elif found.corrupt:
            call.count("corrupt")
        return found

    def _replay_journal(self) -> Generator[Step, Any, None]:
        journal = self._core.journal
        stamps = journal.pending()
        if stamps:
            yield from invalidate(list(stamps))
            journal.done(stamps)

    def _remember(self, entry: bytes, stamps: tuple[bytes, ...]) -> None:
        self._memo[entry] = stamps
        if len(self._memo) > MEMO_LIMIT:
            try:
                self._memo.popitem(last=False)
            except KeyError:  # another thread was quicker
                return

    def _load(self, call: Call, missed: CallMiss) -> Steps:
        """Run the function, recorded, and store what it returns."""
        recorder = Recorder(self._core, active(), missed.captured)
        yield from self._capture(call, recorder)
        started = self._core.clock()
        try:
            value = yield Load(recorder)
        except call.stale.errors:
            old = self._stale_value(call, missed, call.stale.if_error)
            if old is _NONE:
                raise
            return old
        load_time = self._core.clock() - started
        if recorder.reason is not None:
            call.bypass(recorder.reason)
            return value
        yield from self._fill(call, recorder.tokens, value, load_time)
        return value

    def _capture(self, call: Call, recorder: Recorder) -> Generator[Step, Any, None]:
        """Capture what every result of the call stands on."""
        missing = recorder.adopt(call.required)
        if not missing:
            note(self._core, {stamp: recorder.tokens[stamp] for stamp in call.required})
            return
        try:
            yield from self._replay_journal()
            tokens = yield from capture(missing)
        except StoreError:
            call.count("store_errors")
            tokens = None
        if tokens is None:
            recorder.refuse("a stamp is held or the store is down")
            for parent in _parents(recorder):
                parent.refuse("a stamp is held or the store is down")
            return
        recorder.add(tokens)
        note(self._core, {stamp: recorder.tokens[stamp] for stamp in call.required})

    def _fill(self, call: Call, tokens: dict[bytes, bytes], value: Any, load_time: float) -> Generator[Step, Any, None]:
        try:
            body = call.pack(value)
        except UncacheableValue as exc:
            call.bypass(exc.reason)
            return
        entry = call.entry_now()
        ttl = call.ttl_empty if call.ttl_empty is not None and _is_empty(value) else call.ttl
        try:
            ticket = call_ticket(entry, tokens)
            seconds = jittered(ttl, call.jitter)
            yield from self._core.filling(ticket, body, ttl=seconds, load_time=load_time, linger=call.stale.longest)
        except StoreError:
            call.count("store_errors")
            return
        self._remember(entry, tuple(tokens))
        call.count("fills")


def _resumed(flow: Flow[T], reply: StoreSnapshot | StoreError) -> Flow[T]:
    """Go on with a flow whose first operation has been performed."""
    operation = next(flow)
    try:
        operation = flow.throw(reply) if isinstance(reply, StoreError) else flow.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    while True:
        try:
            operation = flow.send((yield operation))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _parents(recorder: Recorder) -> Generator[Recorder]:
    parent = recorder.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple | set | frozenset | dict) and not value)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# ---------------------------------------------------------------------------------------------------- driving


def drive(core: Core, steps: Steps, load: Callable[[], Any]) -> Any:
    """Take the steps of a synchronous call."""

    def step(operation: Any) -> Any:
        match operation:
            case Load(recorder):
                with recording(recorder):
                    return load()
            case Flush(session):
                return session.flush()
            case Wait(flight, patience):
                return flight.wait(patience)
            case Pause(seconds):
                return time.sleep(seconds)
            case Background(others):
                return threading.Thread(target=_quietly, args=(core, others, load), daemon=True).start()
            case _:
                return perform(core.store, operation, None)

    return run(steps, step)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def _quietly(core: Core, steps: Steps, load: Callable[[], Any]) -> None:
    """Take steps that nobody waits for. What fails will be tried again by the next caller, who is told."""
    with suppress(Exception):
        drive(core, steps, load)


async def _quietly_async(core: Core, steps: Steps, load: Callable[[], Awaitable[Any]]) -> None:
    with suppress(Exception):
        await drive_async(core, steps, load)


async def drive_async(core: Core, steps: Steps, load: Callable[[], Awaitable[Any]]) -> Any:
    """Take the steps of an asynchronous call."""

    async def step(operation: Any) -> Any:
        match operation:
            case Load(recorder):
                with recording(recorder):
                    return await load()
            case Flush(session):
                return await session.flush()
            case Wait(flight, patience):
                return await flight.wait_async(patience)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Background(others):
                task = asyncio.ensure_future(_quietly_async(core, others, load))
                core.background.add(task)
                return task.add_done_callback(core.background.discard)
            case _:
                reply = perform(core.store, operation, None)
                return await reply if hasattr(reply, "__await__") else reply

    return await run_async(steps, step)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
