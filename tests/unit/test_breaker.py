"""The circuit breaker: when it opens, whom it asks to try again, and when it closes."""

from __future__ import annotations

import pytest

from rowstamp.stores.breaker import FAILURES, PAUSE_SECONDS, Breaker, Gate
from rowstamp.testing import FakeClock

pytestmark = pytest.mark.once


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.failed()


def test_it_opens_after_a_few_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    assert breaker.ask() is Gate.ADMIT
    breaker.failed()
    assert breaker.ask() is Gate.REFUSE
    assert breaker.is_open


def test_a_success_in_between_begins_the_count_again(breaker: Breaker) -> None:
    for _ in range(10):
        fail(breaker, FAILURES - 1)
        breaker.succeeded()
    assert breaker.ask() is Gate.ADMIT
    assert breaker.opened == 0


def test_one_at_a_time_is_asked_to_try_again(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker)
    clock.advance(PAUSE_SECONDS)
    assert [breaker.ask() for _ in range(3)] == [Gate.PROBE, Gate.REFUSE, Gate.REFUSE]


def test_a_probe_that_fails_begins_another_pause(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker)
    clock.advance(PAUSE_SECONDS)
    assert breaker.ask() is Gate.PROBE
    clock.advance(PAUSE_SECONDS / 2)
    breaker.failed()
    clock.advance(PAUSE_SECONDS / 2)
    assert breaker.ask() is Gate.REFUSE
    clock.advance(PAUSE_SECONDS / 2)
    assert breaker.ask() is Gate.PROBE
    assert breaker.opened == 1


def test_a_probe_that_never_reports_is_followed_by_another(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker)
    for _ in range(3):
        clock.advance(PAUSE_SECONDS)
        assert breaker.ask() is Gate.PROBE


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker)
    clock.advance(PAUSE_SECONDS)
    breaker.ask()
    breaker.succeeded()
    assert breaker.ask() is Gate.ADMIT
    fail(breaker)
    assert breaker.opened == 2
