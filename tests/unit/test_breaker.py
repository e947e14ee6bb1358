"""The circuit breaker: when it opens, whom it asks to try again, and when it closes."""

from __future__ import annotations

import pytest

from rowstamp.stores.breaker import FAILURES, PAUSE_SECONDS, Breaker, Breakers, Gate
from rowstamp.testing import FakeClock

pytestmark = pytest.mark.once


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breakers() -> Breakers:
    return Breakers()


@pytest.fixture
def breaker(clock: FakeClock, breakers: Breakers) -> Breaker:
    return Breaker(clock, breakers)


def fail(breaker: Breaker, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.failed()


def test_it_opens_after_a_few_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    assert breaker.ask() is Gate.ADMIT
    breaker.failed()
    assert breaker.ask() is Gate.REFUSE
    assert breaker.is_open


def test_a_success_in_between_begins_the_count_again(breaker: Breaker, breakers: Breakers) -> None:
    for _ in range(10):
        fail(breaker, FAILURES - 1)
        breaker.succeeded()
    assert breaker.ask() is Gate.ADMIT
    assert breakers.outages == (0, 0)


def test_one_at_a_time_is_asked_to_try_again(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker)
    clock.advance(PAUSE_SECONDS)
    assert [breaker.ask() for _ in range(3)] == [Gate.PROBE, Gate.REFUSE, Gate.REFUSE]


def test_a_probe_that_fails_begins_another_pause(breaker: Breaker, breakers: Breakers, clock: FakeClock) -> None:
    fail(breaker)
    clock.advance(PAUSE_SECONDS)
    assert breaker.ask() is Gate.PROBE
    clock.advance(PAUSE_SECONDS / 2)
    breaker.failed()
    clock.advance(PAUSE_SECONDS / 2)
    assert breaker.ask() is Gate.REFUSE
    clock.advance(PAUSE_SECONDS / 2)
    assert breaker.ask() is Gate.PROBE
    assert breakers.outages == (1, 1)


def test_a_probe_that_never_reports_is_followed_by_another(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker)
    for _ in range(3):
        clock.advance(PAUSE_SECONDS)
        assert breaker.ask() is Gate.PROBE


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, breakers: Breakers, clock: FakeClock) -> None:
    fail(breaker)
    clock.advance(PAUSE_SECONDS)
    breaker.ask()
    breaker.succeeded()
    assert breaker.ask() is Gate.ADMIT
    assert breakers.outages == (1, 0)
    fail(breaker)
    assert breakers.outages == (2, 1)


def test_a_store_counts_those_of_all_its_servers(breakers: Breakers) -> None:
    """And still those of a server that is forgotten, but no longer as being open."""
    one, other = Breaker(among=breakers), Breaker(among=breakers)
    fail(one)
    fail(other)
    assert breakers.outages == (2, 2)
    other.succeeded()
    assert breakers.outages == (2, 1)
    del one
    assert breakers.outages == (2, 0)
