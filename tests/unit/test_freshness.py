"""Freshness contracts are checked when they are given."""

from __future__ import annotations

from typing import Any

import pytest

from rowstamp import Cache, ConfigurationError, bounded, cached, strict

pytestmark = pytest.mark.once


@pytest.mark.parametrize("milliseconds", [0, -1, 0.5, 3_600_001, float("nan"), float("inf"), "50", None, True])
def test_a_bound_is_a_number_of_milliseconds(milliseconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"such as bounded\(50\)"):
        bounded(milliseconds)


def test_a_bound_is_kept_in_seconds() -> None:
    assert bounded(50).bound == 0.05
    assert strict.bound == 0
    assert (repr(bounded(50)), repr(strict)) == ("bounded(50)", "strict")


@pytest.mark.parametrize("freshness", [50, "strict", bounded])
def test_a_freshness_is_a_contract(freshness: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"rowstamp.strict or rowstamp.bounded"):
        Cache(freshness=freshness)
    with pytest.raises(ConfigurationError, match=r"rowstamp.strict or rowstamp.bounded"):
        cached(freshness=freshness)


def test_what_is_served_within_a_bound_has_to_be_kept() -> None:
    with pytest.raises(ConfigurationError, match="near=0"):
        Cache(freshness=bounded(50), near=0)
    with Cache(freshness=bounded(50)) as cache:
        assert cache.stats().hits == 0


def test_an_option_shows_what_it_asks_for() -> None:
    assert repr(cached(freshness=bounded(20))) == "cached(freshness=bounded(20))"
