"""The contract of comparisons, for stores that make them: :class:`rowstamp.store.Comparing` in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

import pytest

from rowstamp.store import Comparing, Store
from rowstamp.testing.store_harness import FakeClock, StoreHarness, digest

__all__ = ["ComparingContract"]

E = digest("entry")
A, B = digest("stamp a"), digest("stamp b")
STAMPS: Final = [A, B]
TOKENS: Final = [digest("a1"), digest("b1")]
ANN = digest("writer ann")


def _held_for_a_while(harness: ComparingContract, store: Store, clock: FakeClock) -> None:
    store.hold([B], ANN, harness.seconds(5))
    harness.pass_time(clock, 7)


_Change = Callable[["ComparingContract", Store, FakeClock], object]

CHANGES: Final[Mapping[str, _Change]] = {
    "the entry is another": lambda self, store, _: store.put(E, b"other", self.seconds(100)),
    "the entry is gone": lambda _self, store, _: store.delete(E),
    "the entry has ended": lambda self, _store, clock: self.pass_time(clock, 12),
    "a stamp is touched": lambda _self, store, _: store.touch({B: digest("b2")}),
    "a stamp is held": lambda self, store, _: store.hold([B], ANN, self.seconds(5)),
    "a hold has been released": lambda _self, store, _: store.release({B: digest("b2")}, ANN),
    "a hold has ended": _held_for_a_while,
    "all is lost": lambda _self, store, _: store.clear(),
}


class ComparingContract(StoreHarness):
    """That nothing has changed. Skipped unless ``compares`` is set."""

    @pytest.fixture
    def comparing(self, store: Store) -> Comparing:
        """The store, as one that compares, with an entry of ten seconds and two stamps."""
        if not self.compares:
            pytest.skip("this store does not compare")
        store.mint(dict(zip(STAMPS, TOKENS, strict=True)))
        store.put(E, b"blob", self.seconds(10))
        return cast("Comparing", store)

    def test_what_is_unchanged_is_quiet_until_something_is_written(self, comparing: Comparing, store: Store) -> None:
        """A read changes nothing; and of what another entry makes unquiet, nothing has changed."""
        moment = comparing.unchanged(E, b"blob", STAMPS, TOKENS)
        assert moment is not None
        store.read(E, STAMPS)
        assert comparing.quiet_since(moment)
        store.put(A, b"another entry", self.seconds(100))
        store.delete(A)
        later = comparing.unchanged(E, b"blob", STAMPS, TOKENS)
        assert later is not None
        assert comparing.quiet_since(later)

    @pytest.mark.parametrize("change", CHANGES)
    def test_what_has_changed_is_neither_quiet_nor_unchanged(
        self, comparing: Comparing, store: Store, clock: FakeClock, change: str
    ) -> None:
        """Neither of the two may serve what a read would not; and what was quiet does not become so again."""
        moment = comparing.unchanged(E, b"blob", STAMPS, TOKENS)
        assert moment is not None
        CHANGES[change](self, store, clock)
        assert not comparing.quiet_since(moment)
        assert comparing.unchanged(E, b"blob", STAMPS, TOKENS) is None
        store.put(E, b"blob", self.seconds(100))
        store.mint(dict(zip(STAMPS, TOKENS, strict=True)))
        assert not comparing.quiet_since(moment)

    def test_another_blob_or_token_is_not_unchanged(self, comparing: Comparing) -> None:
        """Whatever is missing is not unchanged either."""
        assert comparing.unchanged(E, b"other", STAMPS, TOKENS) is None
        assert comparing.unchanged(A, b"blob", STAMPS, TOKENS) is None
        assert comparing.unchanged(E, b"blob", STAMPS, [TOKENS[0], digest("b2")]) is None
        assert comparing.unchanged(E, b"blob", [A, digest("stamp c")], TOKENS) is None
