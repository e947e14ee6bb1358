"""The near cache: what it saves, and that it serves nothing that its stamps do not allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowstamp.drivers import perform, run
from rowstamp.errors import StoreError
from rowstamp.mirror import Fetched, Mirror
from rowstamp.near import LONGEST_SECONDS, NearCache
from rowstamp.protocol import Flow, Hit, Miss, Put, Read, Ticket, fill, lookup
from rowstamp.protocol_calls import CallHit, CallMiss, call_ticket, lookup_call
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock
from rowstamp.testing.store_harness import digest

pytestmark = pytest.mark.once

E, F = digest("entry"), digest("another entry")
A, B, C = digest("a"), digest("b"), digest("c")
ANN = digest("writer")


class Bench:
    """A store with a near cache before it, and a record of what the store was asked."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.counted: list[str] = []
        self.near = NearCache(max_bytes, clock=self.clock, wall_clock=self.clock, count=self.counted.append)
        self.asked: list[object] = []

    def run(self, flow: Flow[Any]) -> Any:
        def step(operation: Any) -> Any:
            self.asked.append(operation)
            return perform(self.store, operation, None)

        return run(flow, step)

    def lookup(self, entry: bytes = E, stamps: tuple[bytes, ...] = (A, B)) -> Hit | Miss:
        self.asked.clear()
        outcome: Hit | Miss = self.run(self.near.through(lookup(entry, stamps)))
        return outcome

    def lookup_call(self, known: tuple[bytes, ...], required: tuple[bytes, ...] = ()) -> CallHit | CallMiss:
        self.asked.clear()
        outcome: CallHit | CallMiss = self.run(self.near.through(lookup_call(E, known, required)))
        return outcome

    def store_entry(self, body: bytes = b"body", entry: bytes = E, ttl: float = 100) -> None:
        """Fill an entry as another process would."""
        outcome = run(lookup(entry, (A, B), serve=False), lambda operation: perform(self.store, operation, None))
        assert isinstance(outcome, Miss)
        assert outcome.ticket is not None
        self.fill(outcome.ticket, body, ttl)

    def fill(self, ticket: Ticket, body: bytes, ttl: float = 100) -> None:
        self.run(fill(ticket, body, ttl=ttl, ends_at=self.clock() + ttl))

    @property
    def reads(self) -> list[bytes | None]:
        """The entries that the store was asked for since the lookup began."""
        return [operation.entry for operation in self.asked if isinstance(operation, Read)]


@pytest.fixture
def bench() -> Any:
    bench = Bench()
    yield bench
    bench.near.check()


def body_of(outcome: object) -> bytes:
    assert isinstance(outcome, Hit)
    return outcome.body


def test_the_second_hit_reads_the_stamps_alone(bench: Bench) -> None:
    bench.store_entry()
    assert body_of(bench.lookup()) == b"body"
    assert bench.reads == [E]
    assert body_of(bench.lookup()) == b"body"
    assert bench.reads == [None]
    assert bench.counted == ["near_hits"]


def test_a_held_stamp_is_a_miss_in_one_round_trip(bench: Bench) -> None:
    bench.store_entry()
    bench.lookup()
    bench.store.hold([B], ANN, 10)
    assert bench.lookup() == Miss(None)
    assert bench.reads == [None]


def test_a_missing_stamp_is_a_miss_without_a_second_read(bench: Bench) -> None:
    bench.store_entry()
    bench.lookup()
    bench.store.hold([B], ANN, 10)
    bench.clock.advance(11)
    outcome = bench.lookup()
    assert isinstance(outcome, Miss)
    assert outcome.ticket is not None
    assert bench.reads == [None]


def test_a_changed_stamp_ends_the_copy(bench: Bench) -> None:
    bench.store_entry()
    bench.lookup()
    bench.store.touch({A: digest("a2")})
    assert isinstance(bench.lookup(), Miss)
    assert bench.reads == [None, E]
    assert len(bench.near) == 0


def test_what_another_process_stored_anew_is_found(bench: Bench) -> None:
    bench.store_entry(b"old")
    bench.lookup()
    bench.store.touch({A: digest("a2")})
    bench.store_entry(b"new")
    assert body_of(bench.lookup()) == b"new"
    assert bench.reads == [None, E]
    assert body_of(bench.lookup()) == b"new"
    assert bench.reads == [None]


def test_a_copy_survives_the_loss_of_the_entry_in_the_store(bench: Bench) -> None:
    bench.store_entry()
    bench.lookup()
    bench.store.delete(E)
    assert body_of(bench.lookup()) == b"body"


def test_a_reader_of_other_stamps_is_not_served(bench: Bench) -> None:
    bench.store_entry()
    bench.store.mint({C: digest("c1")})
    bench.lookup()
    assert isinstance(bench.lookup(stamps=(A, B, C)), Miss)


def test_a_copy_ends_with_its_entry(bench: Bench) -> None:
    bench.store_entry(ttl=10)
    bench.lookup()
    bench.clock.advance(9)
    bench.lookup()
    assert bench.reads == [None]
    bench.clock.advance(1)
    assert isinstance(bench.lookup(), Miss)
    assert bench.reads == [E]


def test_a_copy_is_read_again_after_a_while(bench: Bench) -> None:
    """So that clocks that disagree cannot prolong an entry by much."""
    bench.store_entry(ttl=10_000)
    bench.lookup()
    bench.clock.advance(LONGEST_SECONDS)
    bench.lookup()
    assert bench.reads == [E]


def test_a_call_is_served_whose_stamps_are_known(bench: Bench) -> None:
    bench.store.mint({A: digest("a1"), B: digest("b1")})
    bench.fill(call_ticket(E, {A: digest("a1"), B: digest("b1")}), b"value")
    assert body_of(bench.lookup_call((A, B), (A,))) == b"value"
    assert bench.reads == [E]
    assert body_of(bench.lookup_call((A, B), (A,))) == b"value"
    assert bench.reads == [None]


def test_a_call_is_served_whose_stamps_are_not_remembered(bench: Bench) -> None:
    bench.store.mint({A: digest("a1"), B: digest("b1")})
    bench.fill(call_ticket(E, {A: digest("a1"), B: digest("b1")}), b"value")
    bench.lookup_call((A,), (A,))
    assert body_of(bench.lookup_call((A,), (A,))) == b"value"
    assert E not in bench.reads
    bench.store.touch({B: digest("b2")})
    assert isinstance(bench.lookup_call((A,), (A,)), CallMiss)


def test_what_is_decoded_is_shared(bench: Bench) -> None:
    bench.store_entry()
    outcome = bench.lookup()
    assert isinstance(outcome, Hit)
    decoded = ("rows",)
    bench.near.share(E, outcome.stored, decoded, 100)
    again = bench.lookup()
    assert isinstance(again, Hit)
    assert again.stored.decoded is decoded
    assert again.body == b""


def test_what_was_decoded_of_an_older_copy_is_not_taken_for_the_newer(bench: Bench) -> None:
    bench.store_entry(b"old")
    old = bench.lookup()
    assert isinstance(old, Hit)
    bench.store.touch({A: digest("a2")})
    bench.store_entry(b"new")
    bench.lookup()
    bench.near.share(E, old.stored, ("old rows",), 100)
    assert body_of(bench.lookup()) == b"new"


def test_a_store_that_is_down_is_an_error_here_too(bench: Bench) -> None:
    bench.store_entry()
    bench.lookup()

    def fail(_: object) -> object:
        raise StoreError("down")

    with pytest.raises(StoreError):
        run(bench.near.through(lookup(E, (A, B))), fail)


def test_the_copies_stay_within_their_bound() -> None:
    bench = Bench(max_bytes=20_000)
    bench.store.mint({A: digest("a1"), B: digest("b1")})
    tokens = {A: digest("a1"), B: digest("b1")}
    entries = [digest(f"entry {number}") for number in range(100)]
    for entry in entries:
        bench.fill(Ticket(entry, tokens), b"x" * 1000)
        bench.lookup(entry)
        bench.lookup(entries[0])
        bench.near.check()
    assert 0 < len(bench.near) < 20
    assert bench.near.size <= 20_000
    bench.lookup(entries[0])
    assert bench.reads == [None], "what was used last went first"


def test_what_is_larger_than_the_bound_is_not_kept() -> None:
    bench = Bench(max_bytes=5000)
    bench.store_entry(b"x" * 10_000)
    assert isinstance(bench.lookup(), Hit)
    assert len(bench.near) == 0


def test_a_forked_process_starts_without_copies(bench: Bench) -> None:
    """Its lock may have been held by a thread that is not there any more."""
    bench.store_entry()
    bench.lookup()
    bench.near._lock.acquire()
    bench.near.after_fork()
    assert len(bench.near) == 0
    assert isinstance(bench.lookup(), Hit)


OPERATIONS = st.lists(
    st.sampled_from(["lookup", "fill", "touch a", "touch b", "hold", "release", "lose stamp", "lose entry", "wait"]),
    max_size=40,
)


@given(OPERATIONS)
def test_a_near_cache_answers_as_no_near_cache_would(operations: list[str]) -> None:
    """Whatever happens: a hit only where a strict reader without copies could have one, with what was stored under those tokens."""
    bench = Bench()
    tokens: dict[bytes, tuple[bytes, bytes]] = {}
    for number, operation in enumerate(operations):
        token = digest(f"token {number}")
        match operation:
            case "lookup":
                outcome = bench.lookup()
                states = bench.store.read(None, (A, B)).stamps
                if isinstance(outcome, Hit):
                    assert tokens[outcome.body] == tuple(state.token for state in states)
            case "fill":
                outcome = bench.run(lookup(E, (A, B), serve=False))
                if isinstance(outcome, Miss) and outcome.ticket is not None:
                    body = b"%d" % number
                    tokens[body] = (outcome.ticket.tokens[A], outcome.ticket.tokens[B])
                    bench.fill(outcome.ticket, body)
            case "touch a":
                bench.store.touch({A: token})
            case "touch b":
                bench.store.touch({B: token})
            case "hold":
                bench.store.hold([A, B], ANN, 5)
            case "release":
                bench.store.release({A: token, B: token}, ANN)
            case "lose stamp":
                bench.store.clear()
            case "lose entry":
                bench.store.delete(E)
            case _:
                bench.clock.advance(3)
        bench.near.check()


def test_a_bounded_hit_is_no_round_trip(bench: Bench) -> None:
    """As long as the mirror knows all stamps; else the stamps are read, and then it does."""
    mirror = Mirror(bench.clock)
    feed = mirror.joined(b"server")
    mirror.proved(feed, bench.clock())
    bench.store_entry()
    bench.lookup()
    states = bench.store.read(None, (A, B)).stamps
    fetch = mirror.begin()
    assert fetch is not None
    found = [Fetched(stamp, state, b"server") for stamp, state in zip((A, B), states, strict=True)]
    mirror.end(fetch, b"epoch", found)

    bench.asked.clear()
    assert body_of(bench.run(bench.near.through(lookup(E, (A, B)), mirror, 0.05))) == b"body"
    assert bench.asked == []
    assert bench.counted[-2:] == ["bounded_hits", "near_hits"]

    mirror.changed([B])
    assert body_of(bench.run(bench.near.through(lookup(E, (A, B)), mirror, 0.05))) == b"body"
    assert bench.reads == [None]


def test_a_token_that_is_known_here_but_newer_than_the_copy_is_no_hit(bench: Bench) -> None:
    mirror = Mirror(bench.clock)
    feed = mirror.joined(b"server")
    mirror.proved(feed, bench.clock())
    bench.store_entry()
    bench.lookup()
    bench.store.touch({A: digest("a2")})
    fetch = mirror.begin()
    assert fetch is not None
    states = bench.store.read(None, (A, B)).stamps
    found = [Fetched(stamp, state, b"server") for stamp, state in zip((A, B), states, strict=True)]
    mirror.end(fetch, b"epoch", found)
    assert isinstance(bench.run(bench.near.through(lookup(E, (A, B)), mirror, 0.05)), Miss)


def test_a_fill_is_no_business_of_a_lookup(bench: Bench) -> None:
    """Operations other than the read of an entry pass as they are."""
    outcome = bench.run(bench.near.through(lookup(E, (A, B))))
    assert isinstance(outcome, Miss)
    assert not any(isinstance(operation, Put) for operation in bench.asked)
