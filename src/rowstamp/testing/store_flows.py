"""The store contract under use: whole flows of the protocol, eviction, threads, and any sequence of operations."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from rowstamp.model import StampState
from rowstamp.protocol import Committed, Flow, Hit, Miss, Ticket, commit, fill, invalidate, lookup
from rowstamp.store import Store
from rowstamp.testing.store_harness import HELD, MISSING, FakeClock, StoreHarness, digest, run_flow
from rowstamp.testing.store_machine import run_state_machine, store_state_machine

__all__ = ["FlowContract", "PressureContract"]

E = digest("entry")
A, B = digest("stamp a"), digest("stamp b")
ANN = digest("writer ann")

_THREADS = 4
_ROUNDS = 600


def ticket_of(outcome: Hit | Miss) -> Ticket:
    """Return the ticket of a miss that may be filled."""
    assert isinstance(outcome, Miss)
    assert outcome.ticket is not None
    return outcome.ticket


def served(outcome: Hit | Miss) -> tuple[bytes, float]:
    """Return the body and the load time of a hit."""
    assert isinstance(outcome, Hit)
    return outcome.body, outcome.load_time


class _Counter:
    """A database of one number, whose commits are atomic."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.value += 1


class FlowContract(StoreHarness):
    """The stamp protocol on this store, as :mod:`rowstamp.drivers` runs it."""

    def filled(self, store: Store, body: bytes = b"body") -> None:
        """Fill the entry, which depends on both stamps."""
        run_flow(store, fill(ticket_of(run_flow(store, lookup(E, [A, B]))), body, ttl=self.seconds(100)))

    def test_a_miss_that_was_filled_is_a_hit(self, store: Store) -> None:
        """Lookup, fill, lookup: the body and its load time are there."""
        ticket = ticket_of(run_flow(store, lookup(E, [A, B])))
        run_flow(store, fill(ticket, b"body", ttl=self.seconds(100), load_time=0.25))
        assert served(run_flow(store, lookup(E, [A, B]))) == (b"body", 0.25)

    def test_a_commit_makes_the_entry_unusable(self, store: Store) -> None:
        """What was filled before a commit that touches one of its stamps is no hit after it."""
        self.filled(store)
        assert run_flow(store, self.commit_of([B]), commit=lambda: None) == Committed(late=0)
        assert isinstance(run_flow(store, lookup(E, [A, B])), Miss)

    def test_a_commit_of_other_stamps_leaves_the_entry(self, store: Store) -> None:
        """What a commit did not touch stays a hit."""
        self.filled(store)
        run_flow(store, self.commit_of([digest("stamp c")]), commit=lambda: None)
        assert isinstance(run_flow(store, lookup(E, [A, B])), Hit)

    def test_a_fill_that_a_commit_overtook_is_no_hit(self, store: Store) -> None:
        """The rows were read before the commit and stored after it: the recipe's race."""
        ticket = ticket_of(run_flow(store, lookup(E, [A, B])))
        run_flow(store, self.commit_of([A]), commit=lambda: None)
        run_flow(store, fill(ticket, b"old", ttl=self.seconds(100)))
        assert isinstance(run_flow(store, lookup(E, [A, B])), Miss)

    def test_during_a_commit_nothing_is_served_nor_filled(self, store: Store) -> None:
        """Between hold and release a lookup misses without a ticket."""
        self.filled(store)
        seen: list[Hit | Miss] = []
        run_flow(store, self.commit_of([A]), commit=lambda: seen.append(run_flow(store, lookup(E, [A, B]))))
        assert seen == [Miss(None)]

    def test_a_failed_commit_makes_the_entry_unusable(self, store: Store) -> None:
        """A COMMIT that raised may have reached the database; its stamps are released with new tokens."""

        def fail() -> None:
            raise ConnectionResetError

        self.filled(store)
        with pytest.raises(ConnectionResetError):
            run_flow(store, self.commit_of([A]), commit=fail)
        ticket_of(run_flow(store, lookup(E, [A, B])))

    def test_a_commit_that_outlived_its_hold_is_late(self, store: Store, clock: FakeClock) -> None:
        """What was filled after the hold expired and before the release is unusable, and the flow says so."""

        def slow() -> None:
            self.pass_time(clock, 20)
            self.filled(store, b"read before the commit was visible")

        flow = commit([A, B], writer=ANN, hold_ttl=self.seconds(10), refused=lambda _exc: True)
        assert run_flow(store, flow, commit=slow) == Committed(late=2)
        assert isinstance(run_flow(store, lookup(E, [A, B])), Miss)

    def test_a_crashed_writer_leaves_nothing_valid(self, store: Store, clock: FakeClock) -> None:
        """A writer that died between hold and release ends as a miss that can be filled."""
        self.filled(store)
        store.hold([A], ANN, self.seconds(10))
        self.pass_time(clock, 20)
        ticket_of(run_flow(store, lookup(E, [A, B])))

    def test_an_invalidation_makes_the_entry_unusable(self, store: Store) -> None:
        """Touching a stamp by hand does what a commit does."""
        self.filled(store)
        run_flow(store, invalidate([A]))
        assert isinstance(run_flow(store, lookup(E, [A, B])), Miss)

    def test_clear_makes_loads_in_flight_a_miss(self, store: Store) -> None:
        """A fill with a ticket from before clear is no hit after it."""
        ticket = ticket_of(run_flow(store, lookup(E, [A, B])))
        store.clear()
        run_flow(store, fill(ticket, b"old", ttl=self.seconds(100)))
        assert isinstance(run_flow(store, lookup(E, [A, B])), Miss)

    def test_a_corrupt_blob_is_a_miss_and_is_overwritten(self, store: Store) -> None:
        """Bytes that are no entry are counted as such, and the next fill repairs them."""
        store.put(E, b"these bytes are no entry", self.seconds(100))
        outcome = run_flow(store, lookup(E, [A, B]))
        assert isinstance(outcome, Miss)
        assert outcome.corrupt
        run_flow(store, fill(ticket_of(outcome), b"body", ttl=self.seconds(100)))
        assert served(run_flow(store, lookup(E, [A, B]))) == (b"body", 0.0)

    def test_another_keys_entry_is_a_miss(self, store: Store) -> None:
        """A blob that has come under a wrong key is not that key's value."""
        self.filled(store)
        blob = store.read(E, ()).entry
        assert blob is not None
        store.put(digest("another entry"), blob, self.seconds(100))
        outcome = run_flow(store, lookup(digest("another entry"), [A, B]))
        assert isinstance(outcome, Miss)
        assert outcome.corrupt

    def commit_of(self, stamps: list[bytes]) -> Flow[Committed]:
        """Return the flow of a write transaction that touched the stamps."""
        return commit(stamps, writer=ANN, hold_ttl=self.seconds(100), refused=lambda _exc: True)


class PressureContract(StoreHarness):
    """The contract when the store is full, when threads meet in it, and after any sequence of operations."""

    def test_what_is_kept_stays_within_the_bound(self, bounded: Store) -> None:
        """Far more entries than fit leave at most what fits, and each one left is whole."""
        blobs = {digest(f"entry {number}"): b"%04d" % number * 250 for number in range(300)}
        for entry, blob in blobs.items():
            bounded.put(entry, blob, self.seconds(100))
            bounded.check()
        kept = {entry: bounded.read(entry, ()).entry for entry in blobs}
        assert all(blob in {None, blobs[entry]} for entry, blob in kept.items())
        assert sum(len(blob) for blob in kept.values() if blob is not None) <= self.bounded_bytes

    def test_held_stamps_survive_eviction(self, bounded: Store) -> None:
        """Entries and stamps in any number push no held stamp out, and its release gives the new token."""
        held = [digest(f"held {number}") for number in range(10)]
        bounded.mint({stamp: digest("before") for stamp in held})
        bounded.hold(held, ANN, self.seconds(100))
        self.press(bounded)
        assert bounded.read(E, held).stamps == (HELD,) * len(held)
        assert bounded.release({stamp: digest("after") for stamp in held}, ANN) == (True,) * len(held)
        assert set(bounded.read(E, held).stamps) <= {StampState(digest("after"), held=False), MISSING}

    def test_an_evicted_stamp_is_missing(self, bounded: Store) -> None:
        """A stamp under pressure has its token or none, never another one."""
        stamps = {digest(f"stamp {number}"): digest(f"token {number}") for number in range(1000)}
        bounded.mint(stamps)
        self.press(bounded)
        states = bounded.read(E, list(stamps)).stamps
        assert all(
            state in {StampState(before, held=False), MISSING}
            for state, before in zip(states, stamps.values(), strict=True)
        )

    def test_an_entry_under_pressure_is_a_hit_or_a_miss(self, bounded: Store) -> None:
        """Whatever has been lost of an entry and its stamps, it can be filled again."""
        run_flow(bounded, fill(ticket_of(run_flow(bounded, lookup(E, [A, B]))), b"body", ttl=self.seconds(100)))
        self.press(bounded)
        outcome = run_flow(bounded, lookup(E, [A, B]))
        if isinstance(outcome, Miss):
            run_flow(bounded, fill(ticket_of(outcome), b"body", ttl=self.seconds(100)))
            outcome = run_flow(bounded, lookup(E, [A, B]))
        assert served(outcome) == (b"body", 0.0)

    def test_a_blob_that_is_too_large_is_dropped(self, bounded: Store) -> None:
        """It is no error, pushes nothing held out, and what was there before does not come back in its place."""
        bounded.put(E, b"before", self.seconds(100))
        bounded.hold([A], ANN, self.seconds(100))
        bounded.put(E, bytes(self.too_large), self.seconds(100))
        assert bounded.read(E, [A]) == (None, (HELD,))

    def test_more_holds_than_fit_are_all_held(self, bounded: Store) -> None:
        """A transaction that wrote more than the store can keep is still not served stale."""
        stamps = [digest(f"held {number}") for number in range(self.bounded_bytes // 32)]
        bounded.hold(stamps, ANN, self.seconds(100))
        bounded.mint({A: digest("a1")})
        bounded.put(E, b"blob", self.seconds(100))
        bounded.check()
        assert set(bounded.read(E, stamps).stamps) == {HELD}
        assert all(bounded.release({stamp: digest("after") for stamp in stamps}, ANN))

    def press(self, store: Store) -> None:
        """Put far more into the store than fits."""
        for number in range(500):
            store.put(digest(f"pressing entry {number}"), bytes(1000), self.seconds(100))
            store.mint({digest(f"pressing stamp {number}"): digest("any")})

    def test_threads_leave_the_store_consistent(self, store: Store) -> None:
        """Any operations from several threads at once raise nothing and break no bookkeeping."""
        self.in_threads(lambda thread: self.hammer(store, random.Random(thread)))

    def test_threads_leave_a_full_store_consistent(self, bounded: Store) -> None:
        """The same while everything is being evicted."""
        self.in_threads(lambda thread: self.hammer(bounded, random.Random(thread)))

    def hammer(self, store: Store, rng: random.Random) -> None:
        """Ask for random operations on few names; ``store.check()`` is one of them."""
        names = [digest(f"name {number}") for number in range(12)]
        for _ in range(_ROUNDS):
            some = rng.sample(names, rng.randrange(1, 6))
            tokens = {name: rng.randbytes(16) for name in some}
            writer = digest(f"writer {rng.randrange(4)}")
            operations: tuple[Callable[[], object], ...] = (
                partial(store.read, some[0], some),
                partial(store.mint, tokens),
                partial(store.put, some[0], rng.randbytes(rng.randrange(20_000)), self.seconds(100)),
                partial(store.delete, some[0]),
                partial(store.hold, some, writer, self.seconds(100)),
                partial(store.release, tokens, writer),
                partial(store.touch, tokens),
                store.check,
            )
            rng.choice(operations)()

    def test_no_hit_is_stale_while_threads_write(self, store: Store) -> None:
        """Threads that commit and threads that read through the cache: a hit is never older than its read's begin."""
        database = _Counter()

        def write(thread: int) -> None:
            for number in range(_ROUNDS):
                flow = commit(
                    [A, B],
                    writer=digest(f"writer {thread}.{number}"),
                    hold_ttl=self.seconds(100),
                    refused=lambda _exc: True,
                )
                assert run_flow(store, flow, commit=database.add) == Committed(late=0)

        def read() -> None:
            for _ in range(_ROUNDS):
                committed = database.value
                outcome = run_flow(store, lookup(E, [A]))
                if isinstance(outcome, Hit):
                    assert int(outcome.body) >= committed
                elif outcome.ticket is not None:
                    run_flow(store, fill(outcome.ticket, b"%d" % database.value, ttl=self.seconds(100)))

        self.in_threads(lambda thread: write(thread) if thread % 2 else read())
        assert database.value == _THREADS // 2 * _ROUNDS

    def in_threads(self, work: Callable[[int], None]) -> None:
        """Run the work in several threads that begin together, and raise what any of them raised."""
        begin = threading.Barrier(_THREADS)
        interval = sys.getswitchinterval()

        def together(thread: int) -> None:
            begin.wait()
            work(thread)

        # Python lets a thread run for 5 ms, as long as the whole test: threads would follow each other, not meet.
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                for future in [pool.submit(together, thread) for thread in range(_THREADS)]:
                    future.result()
        finally:
            sys.setswitchinterval(interval)

    def test_any_sequence_of_operations_agrees_with_the_model(self) -> None:
        """After any operations in any order the store answers as a few dictionaries do."""
        machine = store_state_machine(self.make_store, time=self.fake_clock, unit=self.unit)
        run_state_machine(machine, examples=self.sequences)

    def test_any_sequence_of_operations_on_a_full_store_agrees_with_the_model(self) -> None:
        """The same for a full store, which may lose what it need not keep, and nothing else."""
        if not self.evicts:
            pytest.skip("this store keeps to no bound by itself")
        run_state_machine(
            store_state_machine(
                lambda clock: self.make_bounded_store(clock, self.bounded_bytes),
                time=self.fake_clock,
                unit=self.unit,
                lossy=True,
                largest=self.bounded_bytes,
            )
        )
