"""The contract of leases, for stores that have them: :class:`rowstamp.store.Leasing` in tests."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from rowstamp.store import Leasing, Store, Waking
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

    @pytest.fixture
    def waking(self, store: Store) -> Waking:
        """The store, as one that says when a lease is over."""
        if not self.wakes:
            pytest.skip("this store does not say when a lease is over")
        return cast("Waking", store)

    def test_who_waits_is_told_when_a_lease_is_given_back(self, waking: Waking, leasing: Leasing) -> None:
        """Not when the lease would end: these would be minutes, and the test has not so many."""
        told: list[int] = []

        def wait(name: int) -> None:
            waking.wait_unleased(E, self.seconds(1000))
            told.append(name)

        leasing.lease(E, ANN, self.seconds(1000))
        leasing.lease(F, ANN, self.seconds(1000))
        waiting = [threading.Thread(target=wait, args=(name,), daemon=True) for name in range(self.waiters)]
        for each in waiting:
            each.start()
        leasing.unlease(F, ANN)
        leasing.unlease(E, BOB)
        assert not told
        leasing.unlease(E, ANN)
        for each in waiting:
            each.join(60)
        assert sorted(told) == list(range(self.waiters))

    def test_for_a_lease_that_nobody_has_nobody_waits(self, waking: Waking, leasing: Leasing, clock: FakeClock) -> None:
        """Whether it never was, was given back, or has ended."""
        waking.wait_unleased(E, self.seconds(1000))
        leasing.lease(E, ANN, self.seconds(1000))
        leasing.unlease(E, ANN)
        waking.wait_unleased(E, self.seconds(1000))
        leasing.lease(E, ANN, self.seconds(10))
        self.pass_time(clock, 11)
        waking.wait_unleased(E, self.seconds(1000))

    def test_nobody_waits_longer_than_he_would(self, waking: Waking, leasing: Leasing) -> None:
        """Nor beyond the end of the lease, which is what a dead loader leaves."""
        leasing.lease(E, ANN, self.seconds(1000))
        waking.wait_unleased(E, 0.001)
        leasing.lease(F, ANN, 0.001)
        waking.wait_unleased(F, self.seconds(1000))
