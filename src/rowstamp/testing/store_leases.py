"""The contract of leases, for stores that have them: :class:`rowstamp.store.Leasing` in tests."""

from __future__ import annotations

from typing import cast

import pytest

from rowstamp.store import Leasing, Store
from rowstamp.testing.store_harness import HELD, FakeClock, StoreHarness, digest, token

__all__ = ["LeaseContract"]

E, F = digest("entry"), digest("another entry")
A = digest("stamp a")
ANN, BOB = digest("loader ann"), digest("loader bob")


class LeaseContract(StoreHarness):
    """Leases: who loads an entry. Skipped unless ``leases`` is set."""

    @pytest.fixture
    def leasing(self, store: Store) -> Leasing:
        """The store, as one that has leases."""
        if not self.leases:
            pytest.skip("this store has no leases")
        return cast("Leasing", store)

    def test_the_first_who_asks_has_the_lease(self, leasing: Leasing) -> None:
        """Whoever comes later is told who has it."""
        assert leasing.lease(E, ANN, self.seconds(100)) == ANN
        assert leasing.lease(E, BOB, self.seconds(100)) == ANN

    def test_who_has_it_may_ask_again(self, leasing: Leasing) -> None:
        """The answer is the same, and it ends with its first time."""
        leasing.lease(E, ANN, self.seconds(100))
        assert leasing.lease(E, ANN, self.seconds(100)) == ANN

    def test_each_entry_has_a_lease_of_its_own(self, leasing: Leasing) -> None:
        """One loader does not stand in the way of another's entry."""
        leasing.lease(E, ANN, self.seconds(100))
        assert leasing.lease(F, BOB, self.seconds(100)) == BOB

    def test_a_lease_that_was_given_back_is_free(self, leasing: Leasing) -> None:
        """The next who asks has it."""
        leasing.lease(E, ANN, self.seconds(100))
        leasing.unlease(E, ANN)
        assert leasing.lease(E, BOB, self.seconds(100)) == BOB

    def test_nobody_gives_back_anothers_lease(self, leasing: Leasing) -> None:
        """One who has outlived its own must not end the next one's."""
        leasing.lease(E, ANN, self.seconds(100))
        leasing.unlease(E, BOB)
        assert leasing.lease(E, BOB, self.seconds(100)) == ANN

    def test_what_nobody_has_can_be_given_back(self, leasing: Leasing) -> None:
        """It is no error."""
        leasing.unlease(E, ANN)

    def test_a_dead_loaders_lease_ends(self, leasing: Leasing, clock: FakeClock) -> None:
        """It is there before its time is over, and not after."""
        leasing.lease(E, ANN, self.seconds(10))
        self.pass_time(clock, 8)
        assert leasing.lease(E, BOB, self.seconds(10)) == ANN
        self.pass_time(clock, 3)
        assert leasing.lease(E, BOB, self.seconds(10)) == BOB

    def test_a_lease_is_no_entry_and_no_stamp(self, leasing: Leasing, store: Store) -> None:
        """What is stored under the same key is another thing."""
        leasing.lease(E, ANN, self.seconds(100))
        leasing.lease(A, ANN, self.seconds(100))
        assert store.read(E, [E]).entry is None
        store.mint({A: digest("a1")})
        store.put(E, b"blob", self.seconds(100))
        assert store.read(E, [A]) == (b"blob", (token("a1"),))
        store.hold([A], BOB, self.seconds(100))
        store.delete(E)
        assert leasing.lease(E, BOB, self.seconds(100)) == ANN
        leasing.unlease(A, ANN)
        assert store.read(E, [A]) == (None, (HELD,))
