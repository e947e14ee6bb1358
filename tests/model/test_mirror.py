"""Bounded freshness in every interleaving of reads, writes, the clock and a feed that is delayed, cut and made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from rowstamp.mirror import Feed, Fetch, Fetched, Mirror
from rowstamp.stores.redis.commands import Call, Write
from rowstamp.stores.redis.plan import Steps, Tripping, mirrored
from rowstamp.testing.scheduler import Exploration
from tests.model.mirrored import BOUND, STAMP, Case, arrive, explore_mirror

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

Report = Callable[[Exploration], Exploration]

OTHERS = Case("bounded: 1 read × 1 writer of another process, a delayed feed, the clock")
JOINED = ("feed:connect", "feed:join")
CUT = Case(
    "bounded: 1 read × 1 writer of another process, a feed that is cut and made anew, the clock",
    connections=2,
    others=("hold",),
    begun=JOINED,
)
OWN = Case(
    "bounded: 1 read × 1 writer of the same process, a delayed feed, the clock", own=True, others=(), begun=JOINED
)
LARGER = [
    replace(OTHERS, name="bounded: 2 reads × 1 writer of another process, a delayed feed, the clock", fetches=2),
    replace(
        CUT,
        name="bounded: 1 read × a writer of either process, a feed that is cut and made anew, the clock",
        own=True,
        others=OTHERS.others,
        begun=(),
    ),
]


@pytest.mark.parametrize(
    "case",
    [OTHERS, CUT, OWN, *(pytest.param(case, marks=pytest.mark.deep) for case in LARGER)],
    ids=lambda case: case.name,
)
def test_every_interleaving(case: Case, report: Report) -> None:
    """No bounded read is older than the bound, and none misses what its own process has written."""
    result = report(explore_mirror(case))

    assert result.counterexample is None, result
    assert result.hits


class NoPlaceholder(Mirror):
    """A change that is heard while a read is under way does not mark it."""

    def changed(self, stamps: Iterable[bytes]) -> None:
        under_way, self._fetches = self._fetches, set()
        super().changed(stamps)
        self._fetches = under_way


class KeepsWithoutFeed(Mirror):
    """What was fetched stays when the connection is lost, and counts again with the next one."""

    def lost(self, feed: Feed) -> None:
        tokens = self._tokens
        super().lost(feed)
        self._tokens = tokens

    def joined(self, identity: bytes) -> Feed:
        feed = super().joined(identity)
        self._tokens = {stamp: (state, feed) for stamp, (state, _) in self._tokens.items()}
        self._epoch_feed = feed
        return feed


class BelievesEarlierReads(Mirror):
    """A read that was sent before there was a feed counts as if it had been sent since."""

    def begin(self) -> Fetch:
        fetch = Fetch(self._feeds)
        self._fetches.add(fetch)
        return fetch

    def end(
        self, fetch: Fetch, epoch: bytes | None = None, found: Sequence[Fetched] = (), *, by: bytes | None = None
    ) -> None:
        fetch.feeds = self._feeds
        super().end(fetch, epoch, found, by=by)


def as_of_its_answer(mirror: Mirror, feed: Feed, _: float) -> None:
    """A heartbeat proves what was so when its answer has come."""
    mirror.proved(feed, mirror.clock())


def own_writes_untold(trip: Tripping, calls: Sequence[Call], mirror: Mirror) -> Steps:
    """The mirror hears of this process's writes as of all others, when they are pushed."""
    return trip.steps() if isinstance(calls[0], Write) else mirrored(trip, calls, mirror)


def own_writes_told_before(trip: Tripping, calls: Sequence[Call], mirror: Mirror) -> Steps:
    """The mirror hears of this process's writes before they are sent, and not once more."""
    if isinstance(calls[0], Write):
        mirror.changed(calls[0].changes)
    return own_writes_untold(trip, calls, mirror)


@pytest.mark.parametrize(
    ("case", "length"),
    [
        pytest.param(replace(OTHERS, mirror=NoPlaceholder), 11, id="no placeholder"),
        pytest.param(replace(CUT, mirror=KeepsWithoutFeed), 14, id="no drop on disconnect"),
        pytest.param(replace(OTHERS, mirror=BelievesEarlierReads), 10, id="reads from before the feed"),
        pytest.param(replace(OTHERS, proved=as_of_its_answer), 10, id="a proof as of its answer"),
        pytest.param(replace(OWN, made=own_writes_untold), 11, id="own writes untold"),
        pytest.param(replace(OWN, made=own_writes_told_before), 11, id="own writes told before"),
    ],
)
def test_a_weakened_rule_is_found(case: Case, length: int) -> None:
    """Each rule left out is found, with a schedule as short as there is."""
    found = explore_mirror(case).counterexample

    assert found is not None
    assert len(found.schedule) == length, found


def test_what_is_fetched_under_a_proved_feed_is_served() -> None:
    """Else the exploration would be of nothing."""
    steps = ("feed:connect", "feed:join", "R0:send", "R0:serve", "R0:hear", "feed:beat", "feed:serve", "feed:deliver")

    assert arrive(OTHERS, steps).serves
    assert arrive(OTHERS, steps).mirror.states([STAMP], BOUND)
