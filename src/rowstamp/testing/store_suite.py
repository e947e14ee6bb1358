"""The store contract, executable: what :mod:`rowstamp.store` says in words, one test a sentence.

A store is tested by a subclass::

    class TestMemoryStore(StoreSuite):
        evicts = True

        def make_store(self, clock):
            return MemoryStore(clock=clock)

        def make_bounded_store(self, clock, max_bytes):
            return MemoryStore(max_bytes, clock=clock)

Stores that block and stores that are awaited run the same text (see :func:`~rowstamp.testing.store_harness.drive`).
Time is the store's own: see ``fake_clock`` and ``unit`` of :class:`~rowstamp.testing.store_harness.StoreHarness`.
"""

from __future__ import annotations

import pytest

from rowstamp.model import StampState
from rowstamp.store import Store
from rowstamp.testing.store_batches import BatchContract
from rowstamp.testing.store_comparing import ComparingContract
from rowstamp.testing.store_flows import FlowContract, PressureContract
from rowstamp.testing.store_harness import HELD, MISSING, FakeClock, StoreHarness, digest, drive, token
from rowstamp.testing.store_leases import LeaseContract

__all__ = ["StoreSuite"]

E = digest("entry")
A, B, C = digest("stamp a"), digest("stamp b"), digest("stamp c")
ANN, BOB = digest("writer ann"), digest("writer bob")
TOKENS = {A: digest("a1"), B: digest("b1")}


def states(store: Store, *stamps: bytes) -> tuple[StampState, ...]:
    """Return the states of some stamps."""
    return store.read(None, stamps).stamps


class EntryContract(StoreHarness):
    """Entries: opaque bytes under a key, with a time to live."""

    def test_what_was_never_put_is_not_there(self, store: Store) -> None:
        """A new store has no entry and no stamp."""
        assert store.read(E, [A, B]) == (None, (MISSING, MISSING))

    def test_nothing_asked_for_nothing_answered(self, store: Store) -> None:
        """Every operation takes an empty sequence or mapping."""
        assert store.read(E, ()) == (None, ())
        assert store.mint({}) == ()
        assert store.release({}, ANN) == ()
        store.hold((), ANN, self.seconds(10))
        store.touch({})

    def test_an_entry_is_read_as_it_was_put(self, store: Store) -> None:
        """What was put is read, and with it the stamps."""
        store.mint(TOKENS)
        store.put(E, b"blob", self.seconds(100))
        assert store.read(E, [A, B]) == (b"blob", (token("a1"), token("b1")))

    @pytest.mark.parametrize("blob", [b"", b"\0", bytes(range(256)), b"\r\n$-1\r\n", "ä".encode("latin-1")])
    def test_a_blob_is_any_bytes(self, store: Store, blob: bytes) -> None:
        """Blobs are not interpreted, and an empty one is not a missing one."""
        store.put(E, blob, self.seconds(100))
        assert store.read(E, ()).entry == blob

    def test_a_blob_of_a_megabyte_is_read_as_it_was_put(self, store: Store) -> None:
        """Large blobs are kept whole."""
        blob = bytes(range(256)) * 4096
        store.put(E, blob, self.seconds(100))
        assert store.read(E, ()).entry == blob

    def test_stamps_are_read_without_an_entry(self, store: Store) -> None:
        """Without an entry's key no entry is read, whatever there is, and the stamps are read all the same."""
        store.mint(TOKENS)
        for key in (E, bytes(16)):
            store.put(key, b"blob", self.seconds(100))
        assert store.read(None, [A, B, C]) == (None, (token("a1"), token("b1"), MISSING))
        assert store.read(None, ()) == (None, ())

    def test_a_second_put_replaces_the_first(self, store: Store) -> None:
        """An entry has one blob, the last one put."""
        store.put(E, b"a long first blob", self.seconds(100))
        store.put(E, b"second", self.seconds(100))
        assert store.read(E, ()).entry == b"second"

    def test_an_entry_ends_with_its_time_to_live(self, store: Store, clock: FakeClock) -> None:
        """An entry is there before its time is over, and not after."""
        store.put(E, b"blob", self.seconds(10))
        self.pass_time(clock, 8)
        assert store.read(E, ()).entry == b"blob"
        self.pass_time(clock, 3)
        assert store.read(E, ()).entry is None

    def test_each_entry_has_its_own_time_to_live(self, store: Store, clock: FakeClock) -> None:
        """The end of one entry is not that of another, whichever was put first."""
        store.put(E, b"long", self.seconds(60))
        store.put(A, b"short", self.seconds(5))
        self.pass_time(clock, 10)
        assert store.read(A, ()).entry is None
        assert store.read(E, ()).entry == b"long"

    def test_a_second_put_begins_a_new_time_to_live(self, store: Store, clock: FakeClock) -> None:
        """The time to live is that of the last put, longer or shorter."""
        store.put(E, b"first", self.seconds(5))
        store.put(A, b"first", self.seconds(60))
        store.put(E, b"second", self.seconds(60))
        store.put(A, b"second", self.seconds(5))
        self.pass_time(clock, 10)
        assert store.read(E, ()).entry == b"second"
        assert store.read(A, ()).entry is None

    def test_a_deleted_entry_is_gone(self, store: Store) -> None:
        """Delete forgets that entry and no other."""
        store.put(E, b"blob", self.seconds(100))
        store.put(A, b"other", self.seconds(100))
        store.delete(E)
        assert store.read(E, ()).entry is None
        assert store.read(A, ()).entry == b"other"

    def test_what_is_not_there_can_be_deleted(self, store: Store) -> None:
        """Deleting nothing is no error."""
        store.delete(E)

    def test_keys_are_any_bytes(self, store: Store) -> None:
        """No byte of a key or name means anything, and keys that differ in one bit are two."""
        keys = [bytes([first]) + bytes(14) + bytes([last]) for first in range(256) for last in (first, first ^ 1)]
        for number, key in enumerate(keys):
            store.put(key, b"%d" % number, self.seconds(100))
        store.mint({key: digest(f"token {number}") for number, key in enumerate(keys)})
        assert [store.read(key, ()).entry for key in keys] == [b"%d" % number for number in range(len(keys))]
        assert states(store, *keys) == tuple(token(f"token {number}") for number in range(len(keys)))

    def test_an_entry_and_a_stamp_may_have_one_name(self, store: Store) -> None:
        """Entries and stamps are two kinds of things, whatever they are called."""
        store.put(A, b"blob", self.seconds(100))
        store.mint(TOKENS)
        store.hold([B], ANN, self.seconds(100))
        store.put(B, b"held", self.seconds(100))
        assert store.read(A, [A]) == (b"blob", (token("a1"),))
        assert store.read(B, [B]) == (b"held", (HELD,))
        store.delete(A)
        assert states(store, A, B) == (token("a1"), HELD)


class StampContract(StoreHarness):
    """Stamps: missing, or a token."""

    def test_a_missing_stamp_gets_the_token_offered(self, store: Store) -> None:
        """Mint makes missing stamps present, and answers with the state each has now."""
        assert store.mint(TOKENS) == (token("a1"), token("b1"))
        assert states(store, A, B, C) == (token("a1"), token("b1"), MISSING)

    def test_a_present_stamp_keeps_its_token(self, store: Store) -> None:
        """Mint changes no token; the answer says which one counts."""
        store.mint({A: digest("a1")})
        assert store.mint({A: digest("a2"), B: digest("b2")}) == (token("a1"), token("b2"))
        assert states(store, A, B) == (token("a1"), token("b2"))

    def test_a_held_stamp_takes_no_token(self, store: Store) -> None:
        """Mint leaves a held stamp held, whether it had a token before or not."""
        store.mint({A: digest("a1")})
        store.hold([A, B], ANN, self.seconds(100))
        assert store.mint({C: digest("c2"), A: digest("a2"), B: digest("b2")}) == (token("c2"), HELD, HELD)
        assert states(store, A, B) == (HELD, HELD)

    def test_states_come_in_the_order_asked(self, store: Store) -> None:
        """One state for each stamp asked for, in that order, also where one is asked for twice."""
        store.mint(TOKENS)
        store.hold([C], ANN, self.seconds(100))
        assert states(store, B, C, A, B, digest("?"), C) == (
            token("b1"), HELD, token("a1"), token("b1"), MISSING, HELD,
        )  # fmt: skip

    def test_a_thousand_stamps_are_read_at_once(self, store: Store) -> None:
        """A read has no limit that a wide statement would meet."""
        names = [digest(f"stamp {number}") for number in range(1000)]
        store.mint({name: name[::-1] for name in names[::3]})
        store.hold(names[1::3], ANN, self.seconds(100))
        expected = [
            (StampState(name[::-1], held=False), HELD, MISSING)[number % 3] for number, name in enumerate(names)
        ]
        assert list(states(store, *names)) == expected
        assert store.release({name: name[::-1] for name in names[1::3]}, ANN) == (True,) * 333

    def test_a_touched_stamp_has_the_new_token(self, store: Store) -> None:
        """Touch changes the token of each stamp it names, and of no other."""
        store.mint(TOKENS)
        store.touch({A: digest("a2")})
        assert states(store, A, B) == (token("a2"), token("b1"))

    def test_a_touched_stamp_that_was_missing_is_present(self, store: Store) -> None:
        """Touch gives a missing stamp the token as well, so a token that was lost, and may come back, counts no more."""
        store.touch({A: digest("a2")})
        assert store.mint({A: digest("a1")}) == (token("a2"),)

    def test_a_touched_stamp_that_is_held_stays_held(self, store: Store) -> None:
        """Touch ends no hold."""
        store.mint(TOKENS)
        store.hold([A], ANN, self.seconds(100))
        store.touch({A: digest("a2"), B: digest("b2")})
        assert states(store, A, B) == (HELD, token("b2"))

    def test_stamps_outlive_entries(self, store: Store, clock: FakeClock) -> None:
        """The end of an entry changes no stamp."""
        store.mint(TOKENS)
        store.put(E, b"blob", self.seconds(5))
        self.pass_time(clock, 10)
        assert store.read(E, [A]) == (None, (token("a1"),))

    def test_clear_makes_every_entry_unusable(self, store: Store) -> None:
        """After clear an entry is gone, or the token it was made under is."""
        store.mint(TOKENS)
        store.put(E, b"blob", self.seconds(100))
        store.clear()
        assert store.read(E, [A, B]) != (b"blob", (token("a1"), token("b1")))

    def test_clear_makes_loads_in_flight_unusable(self, store: Store) -> None:
        """What was captured before clear validates nothing that is put after it."""
        store.mint(TOKENS)
        store.clear()
        store.put(E, b"blob", self.seconds(100))
        assert store.read(E, [A, B]) != (b"blob", (token("a1"), token("b1")))

    def test_clear_leaves_held_stamps_held(self, store: Store) -> None:
        """A writer between hold and release is not forgotten."""
        store.mint(TOKENS)
        store.hold([A], ANN, self.seconds(100))
        store.clear()
        assert states(store, A) == (HELD,)
        assert store.release({A: digest("a2")}, ANN) == (True,)
        assert states(store, A) == (token("a2"),)

    def test_a_store_can_be_closed_twice(self, clock: FakeClock) -> None:
        """Closing what is closed is no error."""
        with drive(self.make_store(clock), check=False) as store:
            store.close()
            store.close()


class HoldContract(StoreHarness):
    """Holds: the set of writers between just before COMMIT and just after."""

    def test_a_hold_takes_the_token_away(self, store: Store) -> None:
        """A held stamp has no token, and only the stamps named are held."""
        store.mint(TOKENS)
        store.hold([A], ANN, self.seconds(100))
        assert states(store, A, B) == (HELD, token("b1"))

    def test_a_missing_stamp_can_be_held(self, store: Store) -> None:
        """A writer need not know whether anybody has read."""
        store.hold([A], ANN, self.seconds(100))
        assert states(store, A) == (HELD,)

    def test_a_stamp_named_twice_is_held_once(self, store: Store) -> None:
        """The writers of a stamp are a set."""
        store.hold([A, A], ANN, self.seconds(100))
        assert store.release({A: digest("a2")}, ANN) == (True,)
        assert states(store, A) == (token("a2"),)

    def test_a_release_gives_the_new_token(self, store: Store) -> None:
        """The last writer to leave puts the token given."""
        store.mint(TOKENS)
        store.hold([A, B], ANN, self.seconds(100))
        assert store.release({A: digest("a2"), B: digest("b2")}, ANN) == (True, True)
        assert states(store, A, B) == (token("a2"), token("b2"))

    def test_the_first_of_two_releases_ends_only_its_own_hold(self, store: Store) -> None:
        """A stamp is held until the last of its writers has left; the token is then the last one's."""
        store.hold([A], ANN, self.seconds(100))
        store.hold([A], BOB, self.seconds(100))
        assert store.release({A: digest("ann's")}, ANN) == (True,)
        assert states(store, A) == (HELD,)
        assert store.release({A: digest("bob's")}, BOB) == (True,)
        assert states(store, A) == (token("bob's"),)

    def test_a_release_without_a_hold_says_so_and_gives_the_token(self, store: Store) -> None:
        """The hold may have been lost and entries filled since, so the token changes all the same."""
        store.mint({A: digest("a1")})
        assert store.release({A: digest("a2"), B: digest("b2")}, ANN) == (False, False)
        assert states(store, A, B) == (token("a2"), token("b2"))

    def test_a_release_answers_for_each_stamp(self, store: Store) -> None:
        """The answers are in the order of the tokens given."""
        store.hold([B], ANN, self.seconds(100))
        assert store.release({A: digest("a2"), B: digest("b2"), C: digest("c2")}, ANN) == (False, True, False)

    def test_a_release_by_a_stranger_leaves_the_stamp_held(self, store: Store) -> None:
        """Nobody ends the hold of another."""
        store.hold([A], ANN, self.seconds(100))
        assert store.release({A: digest("a2")}, BOB) == (False,)
        assert states(store, A) == (HELD,)

    def test_a_second_release_says_that_the_hold_is_gone(self, store: Store) -> None:
        """A release that is tried again changes the token once more."""
        store.hold([A], ANN, self.seconds(100))
        store.release({A: digest("a2")}, ANN)
        assert store.release({A: digest("a3")}, ANN) == (False,)
        assert states(store, A) == (token("a3"),)

    def test_a_released_stamp_can_be_held_again(self, store: Store) -> None:
        """Nothing of a hold stays behind."""
        store.hold([A], ANN, self.seconds(100))
        store.release({A: digest("a2")}, ANN)
        store.hold([A], BOB, self.seconds(100))
        assert states(store, A) == (HELD,)
        assert store.release({A: digest("a3")}, BOB) == (True,)
        assert states(store, A) == (token("a3"),)

    def test_an_expired_hold_leaves_the_stamp_missing(self, store: Store, clock: FakeClock) -> None:
        """The token from before the hold never comes back: the writer may have committed."""
        store.mint({A: digest("a1")})
        store.hold([A], ANN, self.seconds(10))
        self.pass_time(clock, 8)
        assert states(store, A) == (HELD,)
        self.pass_time(clock, 3)
        assert states(store, A) == (MISSING,)

    def test_a_stamp_whose_hold_expired_can_be_minted(self, store: Store, clock: FakeClock) -> None:
        """After a crash of its writer a stamp is as good as new."""
        store.mint({A: digest("a1")})
        store.hold([A], ANN, self.seconds(5))
        self.pass_time(clock, 10)
        assert store.mint({A: digest("a2")}) == (token("a2"),)
        assert states(store, A) == (token("a2"),)

    def test_a_stamp_whose_hold_expired_can_be_touched(self, store: Store, clock: FakeClock) -> None:
        """An expired hold stands in the way of nobody."""
        store.hold([A], ANN, self.seconds(5))
        self.pass_time(clock, 10)
        store.touch({A: digest("a2")})
        assert states(store, A) == (token("a2"),)

    def test_an_expired_hold_ends_alone(self, store: Store, clock: FakeClock) -> None:
        """Each writer's hold has its own end, whichever came first."""
        store.hold([A], ANN, self.seconds(5))
        store.hold([A], BOB, self.seconds(60))
        store.hold([B], BOB, self.seconds(60))
        store.hold([B], ANN, self.seconds(5))
        self.pass_time(clock, 10)
        assert states(store, A, B) == (HELD, HELD)
        assert store.mint(TOKENS) == (HELD, HELD)
        store.touch(TOKENS)
        assert states(store, A, B) == (HELD, HELD)
        self.pass_time(clock, 60)
        assert states(store, A, B) == (MISSING, MISSING)

    def test_the_release_of_an_expired_hold_says_so_and_gives_the_token(self, store: Store, clock: FakeClock) -> None:
        """A commit that outlived its hold still makes unusable what was filled meanwhile."""
        store.hold([A], ANN, self.seconds(5))
        self.pass_time(clock, 10)
        store.mint({A: digest("a1")})
        assert store.release({A: digest("a2")}, ANN) == (False,)
        assert states(store, A) == (token("a2"),)

    def test_the_release_of_an_expired_hold_leaves_that_of_another(self, store: Store, clock: FakeClock) -> None:
        """One who comes late gives no token while somebody else holds."""
        store.hold([A], ANN, self.seconds(5))
        store.hold([A], BOB, self.seconds(60))
        self.pass_time(clock, 10)
        assert store.release({A: digest("ann's")}, ANN) == (False,)
        assert states(store, A) == (HELD,)
        assert store.release({A: digest("bob's")}, BOB) == (True,)
        assert states(store, A) == (token("bob's"),)

    def test_a_live_release_leaves_nothing_of_an_expired_hold(self, store: Store, clock: FakeClock) -> None:
        """The last live writer to leave puts the token, even if a dead one never left."""
        store.hold([A], ANN, self.seconds(5))
        store.hold([A], BOB, self.seconds(60))
        self.pass_time(clock, 10)
        assert store.release({A: digest("bob's")}, BOB) == (True,)
        assert states(store, A) == (token("bob's"),)

    def test_a_hold_taken_again_is_renewed(self, store: Store, clock: FakeClock) -> None:
        """Holding again begins a new time, and one release ends it."""
        store.hold([A], ANN, self.seconds(10))
        self.pass_time(clock, 8)
        store.hold([A], ANN, self.seconds(10))
        self.pass_time(clock, 8)
        assert states(store, A) == (HELD,)
        assert store.release({A: digest("a2")}, ANN) == (True,)
        assert states(store, A) == (token("a2"),)

    def test_a_hold_taken_after_another_expired_is_held(self, store: Store, clock: FakeClock) -> None:
        """An expired hold takes nothing of a later one with it."""
        store.hold([A], ANN, self.seconds(5))
        self.pass_time(clock, 10)
        store.hold([A], BOB, self.seconds(60))
        assert states(store, A) == (HELD,)
        assert store.release({A: digest("a2")}, BOB) == (True,)
        assert states(store, A) == (token("a2"),)

    def test_a_hold_outlives_the_shorter_life_of_entries(self, store: Store, clock: FakeClock) -> None:
        """No time to live but its own ends a hold."""
        store.put(A, b"blob", self.seconds(5))
        store.hold([A], ANN, self.seconds(60))
        self.pass_time(clock, 20)
        assert states(store, A) == (HELD,)


class StoreSuite(
    EntryContract,
    StampContract,
    HoldContract,
    FlowContract,
    PressureContract,
    LeaseContract,
    BatchContract,
    ComparingContract,
):
    """The whole contract: subclass it for each store, under a name that pytest collects."""
