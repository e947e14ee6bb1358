"""The checker notices every weakening, and shows a shortest schedule that anybody can replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from rowstamp.testing.scheduler import Config, Exploration, Flows, Property, StoreModel, explore, explore_random, replay
from tests.model import cases, seen, weakened

# Generous: the slowest takes seconds on an idle core, but the cores of a shared machine are not idle.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

FRESH, AT_REST, ONE_MOMENT = Property.FRESH, Property.AT_REST, Property.ONE_MOMENT


class Weakening(NamedTuple):
    config: Config
    violates: tuple[Property, ...]
    flows: Flows | None = None
    store: StoreModel | None = None

    @property
    def name(self) -> str:
        return type(self.store if self.flows is None else self.flows).__name__


BOTH = (FRESH, AT_REST)

WEAKENINGS = [
    Weakening(cases.BASE, BOTH, weakened.BumpAfterCommit()),
    Weakening(cases.BASE, BOTH, weakened.BumpBeforeCommit()),
    Weakening(cases.BASE, BOTH, weakened.BumpBeforeAndAfterCommit()),
    Weakening(cases.BASE, BOTH, weakened.ReleaseBeforeCommit()),
    Weakening(cases.IN_DOUBT, BOTH, weakened.ReleaseInDoubt()),
    # As long as a hold outlives its writer, an answer that is lost is no worse than a crash. It is when it does not.
    Weakening(cases.LAPSES, BOTH, weakened.ReleaseOnlyOnSuccess()),
    Weakening(cases.TWO_ENTRIES, BOTH, weakened.HoldFirstStampOnly()),
    Weakening(cases.BASE, BOTH, weakened.DeleteEntry(), weakened.DeletingStore()),
    Weakening(cases.BASE, BOTH, weakened.DeleteEntryTwice(), weakened.DeletingStore()),
    Weakening(cases.BASE, BOTH, weakened.CaptureAfterLoad()),
    Weakening(cases.BASE, BOTH, weakened.MissingIsFresh()),
    Weakening(cases.BASE, (FRESH,), weakened.HeldIsFresh()),
    Weakening(cases.TWO_ENTRIES, BOTH, weakened.AnyStampValidates()),
    Weakening(cases.OLD_SNAPSHOTS, BOTH, weakened.FillUnderOldSnapshot()),
    Weakening(cases.SNAPSHOT_OF_TWO, (ONE_MOMENT,), weakened.ServeAheadOfSnapshot()),
    Weakening(cases.SNAPSHOT_OF_TWO, (ONE_MOMENT,), weakened.ServeUnderSnapshot()),
    Weakening(cases.BASE, BOTH, store=weakened.OneOwnerPerHold()),
    Weakening(cases.BASE, BOTH, store=weakened.HoldsAreEvicted()),
    Weakening(cases.RESTARTS, BOTH, store=weakened.ServesRightAfterARestart()),
    Weakening(cases.RESTARTS, BOTH, store=weakened.FillsRightAfterARestart()),
    Weakening(cases.BASE, BOTH, store=weakened.ExpiryRestores()),
    Weakening(cases.BASE, BOTH, store=weakened.MintReplaces()),
    Weakening(cases.LAPSES, BOTH, store=weakened.ReleaseKeepsToken()),
    Weakening(seen.SEEN_PIECEWISE, BOTH, weakened.GuardIsNotReadAgain()),
    Weakening(seen.SEEN_PIECEWISE, BOTH, weakened.GuardIsReadFirst()),
    Weakening(seen.SEEN_PIECEWISE, (FRESH,), weakened.HeldRowsAreLeftOut()),
    Weakening(seen.SEEN_INVALIDATION, BOTH, weakened.RowsAreTouchedFirst()),
    Weakening(seen.SEEN_LAPSES, BOTH, weakened.LateCommitsReleaseOnly()),
    Weakening(seen.SEEN_LAPSES, (FRESH,), weakened.DoubtHoldsOnce()),
]


@pytest.mark.parametrize("weakening", WEAKENINGS, ids=lambda weakening: weakening.name)
def test_is_found(weakening: Weakening, record_property: Callable[[str, object], None]) -> None:
    config, violates, flows, store = weakening
    for violated in violates:
        result = explore(config, flows=flows, store=store, properties={violated})
        found = result.counterexample

        assert found is not None, f"{weakening.name}: {result}"
        assert found.property is violated
        text = f"{weakening.name} is found after {result.states:,} states: {found}"
        print(text)  # noqa: T201 - for `pytest -s`
        record_property("explored", text)
        again = replay(config, found.schedule, flows=flows, store=store, properties={violated})
        assert again.counterexample == found


def test_the_case_in_which_two_read_views_are_weakened_holds_otherwise() -> None:
    assert explore(cases.SNAPSHOT_OF_TWO).counterexample is None


def test_leaving_the_holds_of_a_lost_answer_to_expire_is_safe_while_holds_outlive_their_writers() -> None:
    assert explore(cases.BASE, flows=weakened.ReleaseOnlyOnSuccess()).counterexample is None


def test_a_random_counterexample_is_replayable_from_its_schedule_and_from_its_seed() -> None:
    first = explore_random(cases.LARGE, seed=7, runs=500, flows=weakened.BumpAfterCommit())
    second = explore_random(cases.LARGE, seed=7, runs=500, flows=weakened.BumpAfterCommit())

    found = first.counterexample
    assert found is not None
    assert "seed 7" in str(first)
    assert second.counterexample == found
    assert replay(cases.LARGE, found.schedule, flows=weakened.BumpAfterCommit()).counterexample == found


def test_an_exploration_that_was_cut_off_says_so() -> None:
    result: Exploration = explore(cases.BASE, max_states=100)

    assert not result.complete
    assert result.counterexample is None
