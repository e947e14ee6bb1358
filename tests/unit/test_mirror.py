"""The mirror: a token is used only if it can be proved to have been the stamp's token within the bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rowstamp.mirror import AWAKE_SECONDS, MOST_TOKENS, SLOWEST_BEAT, Feed, Fetch, Fetched, Mirror
from rowstamp.model import StampState
from rowstamp.testing import FakeClock
from rowstamp.testing.store_harness import HELD, MISSING, digest, token

pytestmark = pytest.mark.once

A, B = digest("a"), digest("b")
ANN, BOB = b"server ann", b"server bob"
EPOCH = b"epoch"
BOUND = 0.05


class Bench:
    """A mirror with a feed that has proved itself."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.mirror = Mirror(self.clock)
        self.feed = self.mirror.joined(ANN)
        self.mirror.proved(self.feed, self.clock())

    def fetch(self, *names: str, stamps: Sequence[bytes] = (A, B), identity: bytes = ANN, epoch: bytes = EPOCH) -> None:
        fetch = self.begin()
        self.end(fetch, *names, stamps=stamps, identity=identity, epoch=epoch)

    def begin(self) -> Fetch:
        fetch = self.mirror.begin()
        assert fetch is not None
        return fetch

    def end(
        self,
        fetch: Fetch,
        *names: str,
        stamps: Sequence[bytes] = (A, B),
        identity: bytes = ANN,
        epoch: bytes | None = EPOCH,
    ) -> None:
        states = [token(name) for name in names]
        found = [Fetched(*each, identity) for each in zip(stamps, states, strict=True)]
        self.mirror.end(fetch, epoch, found, by=ANN)  # whoever has the stamps, Ann has the epoch

    def known(self, *stamps: bytes) -> list[StampState] | None:
        states = self.mirror.states(stamps or (A, B), BOUND)
        return None if states is None else list(states.values())


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.mirror.check()


def test_what_was_fetched_is_known_while_the_feed_is_proved(bench: Bench) -> None:
    bench.fetch("a1", "b1")
    assert bench.known() == [token("a1"), token("b1")]
    bench.clock.advance(BOUND * 0.9)
    assert bench.known() == [token("a1"), token("b1")]
    bench.clock.advance(BOUND * 0.2)
    assert bench.known() is None


def test_a_proof_is_as_old_as_its_request(bench: Bench) -> None:
    """What counts is when the heartbeat was sent: changes made since may not have been heard."""
    bench.fetch("a1", "b1")
    sent_at = bench.clock()
    bench.clock.advance(BOUND * 2)
    bench.mirror.proved(bench.feed, sent_at)
    assert bench.known() is None
    bench.mirror.proved(bench.feed, bench.clock())
    assert bench.known() == [token("a1"), token("b1")]


def test_what_was_never_fetched_is_not_known(bench: Bench) -> None:
    bench.fetch("a1", stamps=(A,))
    assert bench.known(A) == [token("a1")]
    assert bench.known(A, B) is None


def test_a_stamp_without_a_token_is_not_kept(bench: Bench) -> None:
    bench.fetch("a1", "b1")
    for state in (MISSING, HELD):
        bench.mirror.end(bench.begin(), EPOCH, [Fetched(B, state, ANN)])
        assert bench.known(A) == [token("a1")]
        assert bench.known(B) is None


def test_a_change_is_forgotten(bench: Bench) -> None:
    bench.fetch("a1", "b1")
    bench.mirror.changed([A])
    assert bench.known(A) is None
    assert bench.known(B) == [token("b1")]


def test_a_change_wins_over_a_fetch_under_way(bench: Bench) -> None:
    """The reply may have been given before the change."""
    fetch = bench.begin()
    bench.mirror.changed([A])
    bench.end(fetch, "a1", "b1")
    assert bench.known(A) is None
    assert bench.known(B) == [token("b1")]


def test_when_everything_changed_no_fetch_under_way_counts(bench: Bench) -> None:
    bench.fetch("a1", stamps=(A,))
    fetch = bench.begin()
    bench.mirror.all_changed()
    bench.end(fetch, "b1", stamps=(B,))
    assert bench.known(A) is None
    assert bench.known(B) is None


def test_without_a_feed_nothing_is_marked() -> None:
    mirror = Mirror(FakeClock())
    assert mirror.begin() is None
    assert mirror.states((), BOUND) is None


def test_what_was_asked_for_before_there_was_a_feed_is_not_kept(bench: Bench) -> None:
    """Changes between the request and the feed were told to nobody."""
    fetch = bench.begin()
    late = bench.mirror.joined(BOB)
    bench.mirror.proved(late, bench.clock())
    bench.end(fetch, "a1", "b1", identity=BOB)
    assert bench.known() is None


def test_what_another_server_says_is_not_kept(bench: Bench) -> None:
    """Its changes are not pushed on this feed."""
    bench.fetch("a1", "b1", identity=BOB)
    assert bench.known() is None


def test_what_was_fetched_under_a_lost_feed_is_forgotten(bench: Bench) -> None:
    bench.fetch("a1", "b1")
    bench.mirror.lost(bench.feed)
    again = bench.mirror.joined(ANN)
    bench.mirror.proved(again, bench.clock())
    assert bench.known() is None
    bench.fetch("a2", "b2")
    assert bench.known() == [token("a2"), token("b2")]


def test_a_reconnection_during_a_fetch_loses_it(bench: Bench) -> None:
    """What changed while nobody listened is not known."""
    fetch = bench.begin()
    bench.mirror.lost(bench.feed)
    again = bench.mirror.joined(ANN)
    bench.mirror.proved(again, bench.clock())
    bench.end(fetch, "a1", "b1")
    assert bench.known() is None


def test_a_lost_feed_proves_nothing(bench: Bench) -> None:
    """The reply to its last heartbeat may come late."""
    bench.fetch("a1", "b1")
    bench.mirror.lost(bench.feed)
    bench.mirror.proved(bench.feed, bench.clock())
    assert bench.known() is None


def test_each_node_of_a_cluster_proves_its_own_stamps(bench: Bench) -> None:
    bob = bench.mirror.joined(BOB)
    bench.fetch("a1", stamps=(A,))
    bench.fetch("b1", stamps=(B,), identity=BOB)
    assert bench.known(A) == [token("a1")]
    assert bench.known(A, B) is None
    bench.mirror.proved(bob, bench.clock())
    assert bench.known(A, B) == [token("a1"), token("b1")]
    bench.mirror.lost(bob)
    assert bench.known(A) == [token("a1")]
    assert bench.known(B) is None


def test_in_a_cluster_the_epoch_needs_a_proof_too(bench: Bench) -> None:
    """The stamps' own node says at once that they change, and nothing of a clear that another node was told of."""
    bob = bench.mirror.joined(BOB)
    bench.fetch("b1", stamps=(B,), identity=BOB)
    bench.mirror.proved(bob, bench.clock())
    assert bench.known(B) == [token("b1")]
    bench.mirror.lost(bench.feed)
    assert bench.known(B) is None


def test_an_epoch_in_doubt_is_read_again(bench: Bench) -> None:
    """Most often it has only been given more time, and the tokens still count."""
    bench.fetch("a1", stamps=(A,))
    bench.mirror.epoch_changed()
    assert bench.known(A) is None
    bench.fetch("b1", stamps=(B,))
    assert bench.known() == [token("a1"), token("b1")]


def test_another_epoch_ends_all_tokens(bench: Bench) -> None:
    bench.fetch("a1", stamps=(A,))
    bench.mirror.epoch_changed()
    bench.fetch("b1", stamps=(B,), epoch=b"another")
    assert bench.known(B) == [token("b1")]
    assert bench.known(A) is None


def test_a_fetch_from_before_the_doubt_does_not_end_it(bench: Bench) -> None:
    bench.fetch("a1", "b1")
    fetch = bench.begin()
    bench.mirror.epoch_changed()
    bench.end(fetch, "a1", "b1")
    assert bench.known() is None


def test_a_fetch_that_failed_leaves_nothing(bench: Bench) -> None:
    bench.mirror.end(bench.begin())
    assert bench.known() is None
    assert not bench.mirror._fetches


def test_the_oldest_tokens_go_when_there_are_too_many(bench: Bench) -> None:
    names = [number.to_bytes(16) for number in range(MOST_TOKENS + 2)]
    bench.mirror.end(bench.begin(), EPOCH, [Fetched(name, token("x"), ANN) for name in names])
    assert bench.known(names[1]) is None
    assert bench.known(names[-1]) == [token("x")]


def test_the_feed_rests_while_nobody_asks(bench: Bench) -> None:
    assert bench.mirror.beat() == SLOWEST_BEAT
    bench.known()
    assert bench.mirror.beat() == BOUND / 4
    bench.clock.advance(AWAKE_SECONDS * 1.1)
    assert bench.mirror.beat() == SLOWEST_BEAT


def test_the_proof_is_looked_at_before_the_tokens(bench: Bench) -> None:
    """Else a change and the heartbeat after it may come in between: the old token with the new proof."""

    class Interrupted(Feed):
        @property
        def proven_at(self) -> float:
            bench.mirror._tokens.pop(A, None)
            return bench.clock()

        @proven_at.setter
        def proven_at(self, _: float) -> None: ...

    feed = Interrupted(ANN)
    bench.mirror._feeds = {ANN: feed}
    bench.mirror._tokens = {A: (token("a1"), feed)}
    bench.mirror._epoch_is_known = True
    assert bench.known(A) is None
    bench.mirror._tokens.clear()


# ------------------------------------------------------------------------------------------------- every race


class World:
    """A server with one stamp, its feed, fetches on other connections, and time, one small step after the other."""

    def __init__(self, mirror: type[Mirror]) -> None:
        self.clock = FakeClock()
        self.mirror = mirror(self.clock)
        self.token = 0
        self.history = [(self.clock(), 0)]
        """Since when the stamp has had which token."""
        self.feed: Feed | None = None
        self.wire: deque[Any] = deque()
        """What the server has written to the feed's connection and nobody has read."""
        self.asked: list[Fetch] = []
        self.answered: list[tuple[Fetch, int]] = []
        self.served = 0

    def run(self, actions: Sequence[str]) -> None:
        for action in actions:
            getattr(self, action)()
            self.read()

    def connect(self) -> None:
        if self.feed is None:
            self.feed = self.mirror.joined(ANN)
            self.wire.clear()

    def disconnect(self) -> None:
        if self.feed is not None:
            self.mirror.lost(self.feed)
            self.feed = None

    def write(self) -> None:
        self.token += 1
        self.history.append((self.clock(), self.token))
        if self.feed is not None:
            self.wire.append("changed")

    def beat(self) -> None:
        """A heartbeat is sent and served; its reply is on the way."""
        if self.feed is not None:
            self.wire.append(self.clock())

    def hear(self) -> None:
        """One more message of the feed arrives."""
        if self.feed is not None and self.wire:
            message = self.wire.popleft()
            if message == "changed":
                self.mirror.changed([A])
            else:
                self.mirror.proved(self.feed, message)

    def ask(self) -> None:
        fetch = self.mirror.begin()
        if fetch is not None:
            self.asked.append(fetch)

    def serve(self) -> None:
        if self.asked:
            self.answered.append((self.asked.pop(), self.token))

    def receive(self) -> None:
        """A reply arrives, not always in the order in which the server gave them."""
        if self.answered:
            fetch, number = self.answered.pop(0 if self.token % 2 else -1)
            self.mirror.end(fetch, EPOCH, [Fetched(A, token(f"{number}"), ANN)])

    def wait(self) -> None:
        self.clock.advance(BOUND * 0.6)

    def read(self) -> None:
        """A bounded read: what it is given was true at a moment within the bound."""
        states = self.mirror.states([A], BOUND)
        if states is None:
            return
        self.served += 1
        ends = [*[since for since, _ in self.history[1:]], float("inf")]
        allowed = [
            token(f"{number}")
            for (_, number), end in zip(self.history, ends, strict=True)
            if end >= self.clock() - BOUND - 1e-9
        ]
        assert states[A] in allowed


ACTIONS = ["connect", "disconnect", "write", "beat", "hear", "ask", "serve", "receive", "wait"]
FETCHED = ["connect", "ask", "serve", "receive", "beat", "hear"]


@given(st.lists(st.sampled_from(ACTIONS), max_size=40))
@example(FETCHED)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_no_order_of_events_gives_a_reader_more_than_the_bound(actions: list[str]) -> None:
    world = World(Mirror)
    world.run(actions)
    world.mirror.check()
    if actions == FETCHED:
        assert world.served


class KeepsFetchesOverChanges(Mirror):
    """Breaks rule 1."""

    def changed(self, stamps: Any) -> None:
        for stamp in stamps:
            self._tokens.pop(stamp, None)


class KeepsTokensOfLostFeeds(Mirror):
    """Breaks rule 2."""

    def lost(self, feed: Feed) -> None:
        pass

    def joined(self, identity: bytes) -> Feed:
        return self._feeds.get(identity) or super().joined(identity)


class TrustsTheReply(Mirror):
    """Takes the moment of the reply for that of the request."""

    def proved(self, feed: Feed, sent_at: float) -> None:
        super().proved(feed, self.clock())


COUNTEREXAMPLES: dict[type[Mirror], list[str]] = {
    KeepsFetchesOverChanges: [
        "connect", "ask", "serve", "write", "hear", "receive", "wait", "wait", "beat", "hear",
    ],
    KeepsTokensOfLostFeeds: [
        "connect", "ask", "serve", "receive", "disconnect", "write", "connect", "wait", "wait", "beat", "hear",
    ],
    TrustsTheReply: ["connect", "ask", "serve", "receive", "beat", "write", "wait", "wait", "hear"],
}  # fmt: skip


@pytest.mark.parametrize("mirror", COUNTEREXAMPLES, ids=lambda mirror: mirror.__name__)
def test_a_weaker_rule_is_noticed(mirror: type[Mirror]) -> None:
    World(Mirror).run(COUNTEREXAMPLES[mirror])
    with pytest.raises(AssertionError):
        World(mirror).run(COUNTEREXAMPLES[mirror])
