"""The memory store: the contract of every store, and what only this one promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from rowstamp.errors import ConfigurationError
from rowstamp.model import StampState
from rowstamp.store import AsyncStore, Store
from rowstamp.stores import memory
from rowstamp.stores.memory import MemoryCounts, MemoryStore
from rowstamp.testing import FakeClock, StoreSuite
from rowstamp.testing.store_harness import digest

pytestmark = pytest.mark.once


class TestMemoryStore(StoreSuite):
    evicts = True
    leases = True
    compares = True
    wakes = True

    def make_store(self, clock: FakeClock) -> MemoryStore:
        return MemoryStore(clock=clock)

    def make_bounded_store(self, clock: FakeClock, max_bytes: int) -> MemoryStore:
        return MemoryStore(max_bytes, clock=clock)


KEYS = [digest(f"key {number}") for number in range(100)]
WRITER = digest("writer")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[MemoryStore]:
    store = MemoryStore(10_000, clock=clock)
    yield store
    store.check()


def kept(store: Store) -> list[int]:
    return [number for number, key in enumerate(KEYS) if store.read(key, ()).entry is not None]


def test_it_is_a_store_and_not_an_awaited_one(store: object) -> None:
    assert [isinstance(store, kind) for kind in (Store, AsyncStore)] == [True, False]


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_bound_of_nothing_is_refused(max_bytes: int) -> None:
    with pytest.raises(ConfigurationError, match=f"max_bytes={max_bytes} leaves the memory store no room"):
        MemoryStore(max_bytes)


def test_without_a_clock_it_takes_the_monotonic_one() -> None:
    store = MemoryStore()
    assert store._clock is time.monotonic
    store.put(KEYS[0], b"blob", 100)
    assert store.read(KEYS[0], ()).entry == b"blob"


def test_what_was_unused_longest_goes_first(store: MemoryStore) -> None:
    for key in KEYS[:8]:
        store.put(key, bytes(1000), 100)
    assert kept(store) == list(range(8))
    store.read(KEYS[0], ())
    store.put(KEYS[8], bytes(1000), 100)
    assert kept(store) == [0, 2, 3, 4, 5, 6, 7, 8]


def test_a_stamp_in_use_outlives_the_entries_beside_it(store: MemoryStore) -> None:
    stamp = digest("stamp")
    store.mint({stamp: digest("token")})
    for key in KEYS:
        store.put(key, bytes(1000), 100)
        store.read(key, [stamp])
    assert store.read(KEYS[0], [stamp]).stamps == (StampState(digest("token"), held=False),)


def test_stamps_that_nobody_reads_give_way(store: MemoryStore) -> None:
    store.mint({key: digest("token") for key in KEYS})
    for key in KEYS[:8]:
        store.put(key, bytes(1000), 100)
    assert kept(store) == list(range(8))


def test_holds_take_room_from_the_entries_and_give_it_back(store: MemoryStore) -> None:
    for key in KEYS[:8]:
        store.put(key, bytes(1000), 100)
    store.hold([digest("one"), digest("two"), digest("three")], WRITER, 100)
    assert kept(store) == [1, 2, 3, 4, 5, 6, 7]
    assert store.counts().bytes <= 10_000
    store.release({digest("one"): b"1", digest("two"): b"2", digest("three"): b"3"}, WRITER)
    store.put(KEYS[0], bytes(200), 100)
    assert kept(store) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_replaced_entry_frees_its_room_first(store: MemoryStore) -> None:
    store.put(KEYS[1], bytes(1000), 100)
    store.put(KEYS[0], bytes(8000), 100)
    store.put(KEYS[0], bytes(8000), 100)
    assert kept(store) == [0, 1]


def test_a_blob_of_just_the_bound_is_kept_and_one_more_byte_is_not(store: MemoryStore) -> None:
    store.put(KEYS[0], b"", 100)
    most = 10_000 - store.counts().bytes
    store.put(KEYS[0], bytes(most), 100)
    assert store.counts() == MemoryCounts(entries=1, stamps=0, bytes=10_000)
    store.put(KEYS[0], bytes(most + 1), 100)
    assert store.counts() == MemoryCounts(entries=0, stamps=0, bytes=0)


def test_a_store_without_room_for_anything_keeps_nothing_and_holds_all_the_same(clock: FakeClock) -> None:
    store = MemoryStore(1, clock=clock)
    store.put(KEYS[0], b"blob", 100)
    minted = store.mint({KEYS[0]: digest("token")})
    assert minted == (StampState(digest("token"), held=False),)
    store.hold([KEYS[1]], WRITER, 100)
    assert store.read(KEYS[0], KEYS[:2]) == (None, (StampState(None, held=False), StampState(None, held=True)))
    store.check()


def test_an_expired_entry_frees_its_room_when_it_is_looked_at(store: MemoryStore, clock: FakeClock) -> None:
    store.put(KEYS[0], b"blob", 10)
    clock.advance(10)
    assert store.counts().entries == 1
    assert store.read(KEYS[0], ()).entry is None
    assert store.counts() == MemoryCounts(entries=0, stamps=0, bytes=0)


def test_counts_follow_what_is_kept(store: MemoryStore) -> None:
    store.put(KEYS[0], b"blob", 10)
    store.mint({KEYS[0]: digest("token"), KEYS[1]: digest("token")})
    store.hold([KEYS[1], KEYS[2]], WRITER, 10)
    counts = store.counts()
    assert (counts.entries, counts.stamps) == (1, 3)
    store.clear()
    assert store.counts()[:2] == (0, 2)
    store.release({KEYS[1]: digest("new"), KEYS[2]: digest("new")}, WRITER)
    store.clear()
    assert store.counts() == MemoryCounts(entries=0, stamps=0, bytes=0)


def test_holds_of_dead_writers_that_nobody_looks_at_do_not_pile_up(store: MemoryStore, clock: FakeClock) -> None:
    for number in range(2000):
        store.hold([digest(f"stamp {number}")], digest(f"dead {number}"), 10)
        clock.advance(1)
    assert len(store._held) < 200


def test_many_live_holds_are_not_swept_again_and_again(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)
    for number in range(1000):
        store.hold([digest(f"stamp {number}")], WRITER, 10)
    assert store.counts().stamps == 1000
    assert store._sweep_at >= 1000


def test_closing_gives_the_memory_back_and_leaves_the_holds(store: MemoryStore) -> None:
    store.put(KEYS[0], b"blob", 10)
    store.hold([KEYS[1]], WRITER, 10)
    store.close()
    assert store.counts()[:2] == (0, 1)
    assert store.release({KEYS[1]: digest("new")}, WRITER) == (True,)


class Intruder(bytes):
    """A name that calls into the store when its hash is asked for the n-th time.

    So it stands for a garbage collection that starts inside an operation, and ends an abandoned transaction.
    """

    left: int
    action: Callable[[], object]

    def __new__(cls, name: bytes, nth: int, action: Callable[[], object]) -> Self:
        self = super().__new__(cls, name)
        self.left, self.action = nth, action
        return self

    def __hash__(self) -> int:
        self.left -= 1
        if self.left == 0:
            self.action()
        return super().__hash__()


@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("by", ["stamp", "writer"])
def test_a_release_from_within_a_hold_loses_no_hold(store: MemoryStore, by: str, nth: int) -> None:
    stamp, other = digest("stamp"), digest("other writer")
    store.hold([stamp], other, 100)

    def release() -> None:
        store.release({stamp: digest("other's")}, other)

    if by == "stamp":
        store.hold([Intruder(stamp, nth, release)], WRITER, 100)
    else:
        store.hold([stamp], Intruder(WRITER, nth, release), 100)
    assert store.read(KEYS[0], [stamp]).stamps == (StampState(None, held=True),)
    store.check()
    assert store.release({stamp: digest("new")}, WRITER) == (True,)


@pytest.mark.parametrize("nth", range(1, 4))
def test_a_release_from_within_a_read_is_seen_or_not(store: MemoryStore, nth: int) -> None:
    stamp = digest("stamp")
    store.hold([stamp], WRITER, 100)
    asked = Intruder(stamp, nth, lambda: store.release({stamp: digest("new")}, WRITER))
    (state,) = store.read(KEYS[0], [asked]).stamps
    assert state in {StampState(None, held=True), StampState(digest("new"), held=False)}


def _hold_what_has_a_token(store: MemoryStore) -> None:
    store._held[KEYS[1]] = {WRITER: 2000.0}
    store._holds += 1


def _hold_by_nobody(store: MemoryStore) -> None:
    store._held[KEYS[2]] = {}


def _miscount_holds(store: MemoryStore) -> None:
    store._holds += 1


def _miscount_entries(store: MemoryStore) -> None:
    store._entries += 1


def _go_beyond_the_bound(store: MemoryStore) -> None:
    store._max_bytes = 100


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_hold_what_has_a_token, "is held and could be evicted"),
        (_hold_by_nobody, "is held by nobody"),
        (_miscount_holds, "holds are miscounted"),
        (_miscount_entries, "1 entries are counted as 2"),
        (_go_beyond_the_bound, "are allowed"),
    ],
)
def test_check_notices(damage: Callable[[MemoryStore], None], complaint: str) -> None:
    store = MemoryStore()
    store.put(KEYS[0], b"blob", 100)
    store.mint({KEYS[1]: digest("token")})
    store.check()
    damage(store)
    with pytest.raises(AssertionError, match=complaint):
        store.check()


def test_check_notices_a_library_that_weighs_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.put(KEYS[0], b"blob", 100)
    monkeypatch.setattr(memory, "_ENTRY_OVERHEAD", 0)
    with pytest.raises(AssertionError, match="bytes are counted as"):
        store.check()


def test_an_item_in_use_is_told_to_the_order_of_replacement_now_and_then(clock: FakeClock) -> None:
    """Else what is hit all the time would be the first to go."""
    store = MemoryStore(clock=clock)
    store.put(KEYS[0], b"blob", 100)
    moment = store.unchanged(KEYS[0], b"blob", [], [])
    assert moment is not None
    clock.advance(memory._UNTOLD_SECONDS)
    assert not store.quiet_since(moment)
