"""The protocol holds in every interleaving of the small cases, and in random ones of the large."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rowstamp.testing.scheduler import Config, Exploration, explore, explore_random
from tests.model import cases

Report = Callable[[Exploration], Exploration]

# Generous: the slowest takes seconds on an idle core, but the cores of a shared machine are not idle.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

SEED = 20240229


def by_name(config: Config) -> str:
    return config.name


@pytest.mark.parametrize("config", cases.EVERYDAY, ids=by_name)
def test_every_interleaving(config: Config, report: Report) -> None:
    result = report(explore(config))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits
    assert result.rests


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", cases.DEEP, ids=by_name)
def test_every_interleaving_of_larger_cases(config: Config, report: Report) -> None:
    result = report(explore(config))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


@pytest.mark.parametrize("config", [cases.LARGE, cases.LARGE_LAPSES], ids=by_name)
def test_random_interleavings(config: Config, report: Report) -> None:
    result = report(explore_random(config, seed=SEED, runs=1000))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", [cases.LARGE, cases.LARGE_LAPSES], ids=by_name)
def test_many_random_interleavings(config: Config, report: Report) -> None:
    result = report(explore_random(config, seed=SEED + 1, runs=200_000))

    assert result.counterexample is None, result
    assert result.complete


def test_a_commit_that_takes_effect_after_it_has_raised(report: Report) -> None:
    result = report(explore(cases.IN_DOUBT))

    assert result.counterexample is None, result
    assert result.complete
