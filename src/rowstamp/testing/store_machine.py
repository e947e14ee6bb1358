"""Any sequence of operations on a store, compared after each with a model made of dictionaries (Hypothesis)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from rowstamp.model import StampState, StoreSnapshot
from rowstamp.store import AsyncStore, Comparing, Moment, Store
from rowstamp.testing.store_harness import HELD, MISSING, FakeClock, digest, drive

__all__ = ["StoreModel", "run_state_machine", "store_state_machine"]

# Few names, so that operations meet; two of them belong to an entry and a stamp alike.
_ENTRIES: Final = [digest(f"name {number}") for number in range(3)]
_STAMPS: Final = [digest(f"name {number}") for number in range(1, 6)]
_WRITERS: Final = [digest(f"writer {number}") for number in range(3)]

# Lives end halfway between the moments at which anything happens: whether a thing that ends now has ended is left open.
_LIVES: Final = st.sampled_from([1.5, 6.5, 20.5, 60.5])
_SOME_STAMPS: Final = st.lists(st.sampled_from(_STAMPS), max_size=6)
_UNIQUE_STAMPS: Final = st.lists(st.sampled_from(_STAMPS), max_size=5, unique=True)


class StoreModel:
    """What a store must answer: the contract of :mod:`rowstamp.store` with nothing that makes it fast or bounded."""

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[bytes, tuple[bytes, float]] = {}
        self.tokens: dict[bytes, bytes] = {}
        self.holds: dict[bytes, dict[bytes, float]] = {}

    def entry(self, key: bytes) -> bytes | None:
        """The blob of an entry that has not ended."""
        blob, end = self.entries.get(key, (None, 0.0))
        return blob if self.now < end else None

    def writers(self, stamp: bytes) -> set[bytes]:
        """The writers whose holds have not ended."""
        return {writer for writer, end in self.holds.get(stamp, {}).items() if self.now < end}

    def state(self, stamp: bytes) -> StampState:
        """The state of a stamp."""
        if self.writers(stamp):
            return HELD
        token = self.tokens.get(stamp)
        return MISSING if token is None else StampState(token, held=False)

    def mint(self, stamp: bytes, token: bytes) -> StampState:
        """Give a missing stamp a token."""
        if self.state(stamp) == MISSING:
            self.tokens[stamp] = token
        return self.state(stamp)

    def hold(self, stamp: bytes, writer: bytes, ttl: float) -> None:
        """Add a writer; the token is gone for good."""
        self.holds.setdefault(stamp, {})[writer] = self.now + ttl
        self.tokens.pop(stamp, None)

    def release(self, stamp: bytes, token: bytes, writer: bytes) -> bool:
        """Remove a writer, and give the token if none is left."""
        was_held = writer in self.writers(stamp)
        self.holds.get(stamp, {}).pop(writer, None)
        self.touch(stamp, token)
        return was_held

    def touch(self, stamp: bytes, token: bytes) -> None:
        """Give the token if nobody holds."""
        if not self.writers(stamp):
            self.tokens[stamp] = token


def store_state_machine(
    make_store: Callable[[FakeClock], Store | AsyncStore],
    *,
    time: bool = True,
    unit: float = 1.0,
    lossy: bool = False,
    largest: int = 64,
) -> type[RuleBasedStateMachine]:
    """Return a state machine that drives a new store and compares it with :class:`StoreModel` after each step.

    Args:
        make_store: returns a new, empty store that takes its time from the clock, if it can.
        time: whether it can; if not, no time passes, and ``unit`` has to be long enough that nothing ends.
        unit: seconds of the store's time in one second of the machine.
        lossy: whether the store may lose entries and unheld stamps, as it may when it is full.
        largest: the size of the largest blob that is put, in bytes; three of its thirds must fill a lossy store.
    """
    sizes = st.sampled_from([0, 1, largest // 3, largest])

    class StoreMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.clock = FakeClock()
            self.model = StoreModel()
            self.minted = 0
            self.moments: list[tuple[Moment, bytes, list[bytes], StoreSnapshot]] = []
            self.resources = contextlib.ExitStack()
            self.store = self.resources.enter_context(drive(make_store(self.clock)))

        def teardown(self) -> None:
            self.resources.close()

        def look(self) -> None:
            """Note moments at which entries were seen, and compare earlier ones that the store calls quiet with what it reads now."""
            if not isinstance(self.store, Comparing):
                return
            for moment, entry, stamps, seen in self.moments:
                if self.store.quiet_since(moment):
                    assert self.store.read(entry, stamps) == seen
            self.moments = self.moments[-6:]
            for entry in _ENTRIES:
                states = zip(_STAMPS, self.store.read(entry, _STAMPS).stamps, strict=True)
                tokens = {stamp: state.token for stamp, state in states if state.token is not None}
                stamps = list(tokens)
                seen = self.store.read(entry, stamps)
                if seen.entry is not None:
                    now = self.store.unchanged(entry, seen.entry, stamps, list(tokens.values()))
                    assert now is not None
                    self.moments.append((now, entry, stamps, seen))

        def fresh(self, stamps: Sequence[bytes]) -> dict[bytes, bytes]:
            """A token that was never used for each stamp."""
            self.minted += len(stamps)
            return {stamp: digest(f"token {self.minted - place}") for place, stamp in enumerate(stamps)}

        def accept(self, stamp: bytes, state: StampState) -> None:
            """Compare a state with the model's, and let the model lose what the store was allowed to lose."""
            if lossy and state == MISSING and not self.model.writers(stamp):
                self.model.tokens.pop(stamp, None)
            assert state == self.model.state(stamp)

        @rule(entry=st.sampled_from(_ENTRIES), stamps=_SOME_STAMPS)
        def read(self, entry: bytes, stamps: list[bytes]) -> None:
            snapshot = self.store.read(entry, stamps)
            if lossy and snapshot.entry is None:
                self.model.entries.pop(entry, None)
            assert snapshot.entry == self.model.entry(entry)
            assert len(snapshot.stamps) == len(stamps)
            for stamp, state in zip(stamps, snapshot.stamps, strict=True):
                self.accept(stamp, state)

        @rule(
            entry=st.sampled_from(_ENTRIES),
            size=sizes,
            ttl=_LIVES,
        )
        def put(self, entry: bytes, size: int, ttl: float) -> None:
            self.minted += 1
            blob = digest(f"blob {self.minted}") + bytes(size)
            self.store.put(entry, blob, ttl * unit)
            self.model.entries[entry] = (blob, self.model.now + ttl)

        @precondition(lambda _: lossy)
        @rule()
        def press(self) -> None:
            for number in range(6):
                self.store.put(digest(f"filler {number}"), bytes(largest // 3), 60 * unit)

        @rule(entry=st.sampled_from(_ENTRIES))
        def delete(self, entry: bytes) -> None:
            self.store.delete(entry)
            self.model.entries.pop(entry, None)

        @rule(stamps=_UNIQUE_STAMPS)
        def mint(self, stamps: list[bytes]) -> None:
            tokens = self.fresh(stamps)
            states = self.store.mint(tokens)
            for (stamp, token), state in zip(tokens.items(), states, strict=True):
                if lossy and state.token == token:
                    self.model.tokens.pop(stamp, None)
                assert state == self.model.mint(stamp, token)

        @rule(stamps=_SOME_STAMPS, writer=st.sampled_from(_WRITERS), ttl=_LIVES)
        def hold(self, stamps: list[bytes], writer: bytes, ttl: float) -> None:
            self.store.hold(stamps, writer, ttl * unit)
            for stamp in stamps:
                self.model.hold(stamp, writer, ttl)

        @rule(stamps=_UNIQUE_STAMPS, writer=st.sampled_from(_WRITERS))
        def release(self, stamps: list[bytes], writer: bytes) -> None:
            tokens = self.fresh(stamps)
            was_held = self.store.release(tokens, writer)
            assert was_held == tuple(self.model.release(stamp, token, writer) for stamp, token in tokens.items())

        @rule(stamps=_UNIQUE_STAMPS)
        def touch(self, stamps: list[bytes]) -> None:
            tokens = self.fresh(stamps)
            self.store.touch(tokens)
            for stamp, token in tokens.items():
                self.model.touch(stamp, token)

        @rule()
        def clear(self) -> None:
            before = {entry: self.model.entry(entry) for entry in _ENTRIES}
            self.store.clear()
            self.cleared(before)

        def cleared(self, before: dict[bytes, bytes | None]) -> None:
            """Whether it drops entries, stamps or both is the store's choice: adopt it, if it is a choice of those."""
            states = self.store.read(_ENTRIES[0], _STAMPS).stamps
            kept = [entry for entry in _ENTRIES if self.store.read(entry, ()).entry is not None]
            lost = [stamp for stamp, state in zip(_STAMPS, states, strict=True) if state == MISSING]
            unheld = [stamp for stamp in _STAMPS if self.model.state(stamp).token is not None]
            assert not kept or set(unheld) <= set(lost)
            for entry in set(before) - set(kept):
                self.model.entries.pop(entry, None)
            for stamp in lost:
                self.model.tokens.pop(stamp, None)

        @precondition(lambda _: time)
        @rule(seconds=st.integers(1, 25))
        def pass_time(self, seconds: int) -> None:
            self.clock.advance(seconds * unit)
            self.model.now += seconds

        @invariant()
        def agrees(self) -> None:
            self.look()
            self.store.check()
            for entry in _ENTRIES:
                self.read(entry, _STAMPS)

    return StoreMachine


def run_state_machine(machine: type[RuleBasedStateMachine], *, examples: int = 60, steps: int = 40) -> None:
    """Run a state machine; what Hypothesis prints when it fails is the shortest sequence of operations it has found."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
