"""The contract of batches, for stores that have them: :class:`rowstamp.store.Batching` in tests."""

from __future__ import annotations

from typing import cast

import pytest

from rowstamp.store import Batching, Store
from rowstamp.testing.store_harness import HELD, MISSING, FakeClock, StoreHarness, digest, token

__all__ = ["BatchContract"]

E, F, G = digest("entry"), digest("another entry"), digest("a third entry")
A, B, C = digest("stamp a"), digest("stamp b"), digest("stamp c")
ANN = digest("writer ann")


class BatchContract(StoreHarness):
    """Several entries in one round trip. Skipped unless ``batches`` is set."""

    @pytest.fixture
    def batching(self, store: Store) -> Batching:
        """The store, as one that has batches."""
        if not self.batches:
            pytest.skip("this store has no batches")
        return cast("Batching", store)

    def test_several_entries_are_read_with_their_stamps(self, batching: Batching, store: Store) -> None:
        """In the order in which they were asked for, whatever is missing."""
        store.mint({A: digest("a1")})
        store.hold([B], ANN, self.seconds(100))
        store.put(E, b"e", self.seconds(100))
        store.put(G, b"g", self.seconds(100))
        found = batching.read_many([E, F, G], [A, B, C])
        assert found == ((b"e", None, b"g"), (token("a1"), HELD, MISSING))
        assert batching.read_many([], []) == ((), ())

    def test_several_entries_are_put_and_stamps_touched(self, batching: Batching, store: Store) -> None:
        """A held stamp stays held; other stamps are only read."""
        store.hold([B], ANN, self.seconds(100))
        store.mint({C: digest("c1")})
        states = batching.put_many(
            {A: digest("a2"), B: digest("b2")}, [(E, b"e", self.seconds(100)), (F, b"f", self.seconds(100))], [C, B]
        )
        assert states == (token("c1"), HELD)
        assert batching.read_many([E, F], [A, B]) == ((b"e", b"f"), (token("a2"), HELD))
        assert batching.put_many({}, [], []) == ()

    def test_entries_that_are_put_together_end_each_by_itself(self, batching: Batching, clock: FakeClock) -> None:
        """Each has its own time to live."""
        batching.put_many({}, [(E, b"e", self.seconds(10)), (F, b"f", self.seconds(100))], [])
        self.pass_time(clock, 11)
        assert batching.read_many([E, F], []).entries == (None, b"f")
