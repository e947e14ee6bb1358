"""Cached functions under the exploring scheduler: their parts are loaded one after the other, each under its own captures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rowstamp.entry import unpack_entry
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.protocol import Flow, Read, SnapshotView
from rowstamp.protocol_calls import CallHit, CallMiss, call_ticket, capture, lookup_call, still_holds
from rowstamp.testing.actors import Script, Served, Stage
from rowstamp.testing.model_database import ReceiveRows, TakeSnapshot, Versions, body_of, versions_of
from rowstamp.testing.model_store import entry_key, stamp_name, tokens_of
from rowstamp.testing.scheduler import ALL_ANSWERS, Config, Exploration, Flows, Invalidator, Reader, Writer, explore

pytestmark = pytest.mark.once

Minter = Callable[[], bytes]
Pairs = tuple[tuple[bytes, bytes], ...]
Report = Callable[[Exploration], Exploration]


class Calls(Flows):
    """A reader is a cached function: it loads one row after the other, and knows its stamps only as it goes."""

    known: tuple[int, ...] = ()

    def read(self, mint: Minter, entry: int, rows: tuple[int, ...], view: SnapshotView) -> Script:
        """Look up; the function's dependencies are those that the entry names."""
        known = tuple(map(stamp_name, self.known))
        outcome = yield from self.lookup_call(entry_key(entry), known)
        if isinstance(outcome, CallHit):
            return Served(versions_of(outcome.body))
        return Stage("part", (entry, rows, (), tuple(outcome.captured.items()), ()))

    def lookup_call(self, entry: bytes, known: Sequence[bytes]) -> Flow[CallHit | CallMiss]:
        return lookup_call(entry, known, ())

    def part(
        self, mint: Minter, entry: int, rows: tuple[int, ...], tokens: Pairs | None, captured: Pairs, versions: Versions
    ) -> Script:
        """One statement: capture what it depends on, then load."""
        row = rows[len(versions)]
        tokens = yield from self.captured(mint, row, tokens, captured)
        loaded: Versions = yield TakeSnapshot((row,))
        yield ReceiveRows()
        return self.after_part(entry, rows, tokens, captured, (*versions, *loaded))

    def captured(self, mint: Minter, row: int, tokens: Pairs | None, captured: Pairs) -> Flow[Pairs | None]:
        """Return the tokens with those of one more row, as `Recorder` keeps them."""
        stamp = stamp_name(row)
        if tokens is None or stamp in dict(tokens):
            return tokens
        if stamp in dict(captured):
            return (*tokens, (stamp, dict(captured)[stamp]))
        found = yield from capture([stamp], mint=mint)
        return None if found is None else (*tokens, *found.items())

    def after_part(
        self, entry: int, rows: tuple[int, ...], tokens: Pairs | None, captured: Pairs, versions: Versions
    ) -> Stage | None:
        if len(versions) < len(rows):
            return Stage("part", (entry, rows, tokens, captured, versions))
        return None if tokens is None else Stage("store", (entry, tokens, versions))

    def store(self, mint: Minter, entry: int, tokens: Pairs, versions: Versions) -> Script:
        """The fill, under the union of what the parts have captured."""
        yield from self.fill(call_ticket(entry_key(entry), dict(tokens)), body_of(versions))
        return None


class RememberingCalls(Calls):
    """The stamps are remembered from the last time, so that the lookup reads them together with the entry."""

    known = (0, 1)


class QuickCalls(RememberingCalls):
    """A call that was a hit before: the entry and its stamps are read again, and compared with what they were."""

    def read(self, mint: Minter, entry: int, rows: tuple[int, ...], view: SnapshotView) -> Script:
        first = yield from super().read(mint, entry, rows, view)
        if not isinstance(first, Served):
            return first
        outcome = yield from self.lookup_call(entry_key(entry), tuple(map(stamp_name, self.known)))
        if isinstance(outcome, CallHit):
            snapshot: StoreSnapshot = yield Read(entry_key(entry), tuple(outcome.tokens))
            if self.holds(outcome, snapshot):
                return Served(versions_of(outcome.body))
        return Stage("part", (entry, rows, (), (), ()))

    def holds(self, outcome: CallHit, snapshot: StoreSnapshot) -> bool:
        return still_holds(outcome.blob, list(outcome.tokens.values()), snapshot)


class HoldsByTheEntryAlone(QuickCalls):
    """Wrong: what was a hit is one as long as the entry is there."""

    def holds(self, outcome: CallHit, snapshot: StoreSnapshot) -> bool:
        return snapshot.entry == outcome.blob


class CapturesAfterTheLoad(Calls):
    """Wrong: a part is loaded before its stamps are captured."""

    def part(
        self, mint: Minter, entry: int, rows: tuple[int, ...], tokens: Pairs | None, captured: Pairs, versions: Versions
    ) -> Script:
        row = rows[len(versions)]
        loaded: Versions = yield TakeSnapshot((row,))
        yield ReceiveRows()
        tokens = yield from self.captured(mint, row, tokens, captured)
        return self.after_part(entry, rows, tokens, captured, (*versions, *loaded))


class CapturesAllAtTheEnd(Calls):
    """Wrong: the dependencies are captured once they are all known, before the result is stored."""

    def captured(self, mint: Minter, row: int, tokens: Pairs | None, captured: Pairs) -> Flow[Pairs | None]:
        yield from ()
        return tokens

    def store(self, mint: Minter, entry: int, tokens: Pairs, versions: Versions) -> Script:
        found = yield from capture(tuple(map(stamp_name, range(len(versions)))), mint=mint)
        if found is not None:
            yield from self.fill(call_ticket(entry_key(entry), found), body_of(versions))
        return None


class ChecksWhatItRemembersOnly(Calls):
    """Wrong: an entry is valid if the stamps remembered of it are, whatever else it names."""

    def lookup_call(self, entry: bytes, known: Sequence[bytes]) -> Flow[CallHit | CallMiss]:
        flow = lookup_call(entry, [stamp_name(0)], ())
        reply: StoreSnapshot = yield next(flow)
        try:
            second = flow.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        # Whatever the second read says is taken for unchanged.
        assert isinstance(second, Read)
        assert reply.entry is not None
        stored = unpack_entry(entry, reply.entry)
        states = tuple(StampState(tokens_of(stored)[stamp], held=False) for stamp in second.stamps)
        try:
            flow.send(StoreSnapshot(None, states))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        raise AssertionError


TWO_PARTS = Config(
    name="calls of two parts: 1 writer of {0,1} × 2 readers of {0,1}, crash anywhere, lost answers, expiry, eviction",
    entries=((0, 1),),
    writers=(Writer((0, 1)),),
    readers=(Reader(), Reader()),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=1,
)
TWO_WRITERS = Config(
    name="calls of two parts: 2 writers of {0} and {0,1} × 1 reader of {0,1}, crash anywhere, lost answers, expiry",
    entries=((0, 1),),
    writers=(Writer((0,)), Writer((0, 1))),
    readers=(Reader((0, 0)),),
    crashes=True,
    answers=ALL_ANSWERS,
)
PIECEWISE = Config(
    name="calls of two parts: 1 writer of {0,1}, 1 invalidation of {1} × 1 reader, store atomic for one stamp only, crash",
    entries=((0, 1),),
    writers=(Writer((0, 1)),),
    invalidators=(Invalidator((1,)),),
    readers=(Reader((0, 0)),),
    crashes=True,
    atomic=False,
)
MIXED = Config(
    name="calls of {0,1} and of {1}: 1 writer × readers that call both, crash anywhere, expiry",
    entries=((0, 1), (1,)),
    writers=(Writer((0, 1)),),
    readers=(Reader((0,)), Reader((1, 0))),
    crashes=True,
)


SECOND_PART = Config(
    name="calls of two parts, of which the second is written",
    entries=((0, 1),),
    writers=(Writer((1,)),),
    readers=(Reader((0, 0)),),
)


@pytest.mark.parametrize("flows", [Calls(), RememberingCalls()], ids=lambda flows: type(flows).__name__)
@pytest.mark.parametrize(
    "config",
    [pytest.param(TWO_PARTS, marks=pytest.mark.deep), TWO_WRITERS, PIECEWISE, MIXED],
    ids=lambda config: config.name,
)
def test_every_interleaving_of_calls(config: Config, flows: Flows, report: Report) -> None:
    result = report(explore(config, flows=flows))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits
    assert result.rests


@pytest.mark.parametrize("config", [SECOND_PART, PIECEWISE, TWO_WRITERS], ids=lambda config: config.name)
def test_every_interleaving_of_calls_that_were_hits_before(config: Config, report: Report) -> None:
    result = report(explore(config, flows=QuickCalls()))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


@pytest.mark.parametrize(
    "flows",
    [CapturesAfterTheLoad(), CapturesAllAtTheEnd(), ChecksWhatItRemembersOnly(), HoldsByTheEntryAlone()],
    ids=lambda flows: type(flows).__name__,
)
def test_a_weaker_protocol_of_calls_is_noticed(flows: Flows) -> None:
    assert explore(SECOND_PART, flows=flows).counterexample is not None
