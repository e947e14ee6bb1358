"""No read shows less than what was known to be committed when it began, whoever is killed, stopped or cancelled meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.race.arena import ArenaProcess
from tests.race.conftest import SEED
from tests.race.figures import Report
from tests.race.spec import Result, Spec

pytestmark = [pytest.mark.once, pytest.mark.timeout(240)]

Make = Callable[..., Spec]

# What a run of a few seconds finds is found where little is in the way of it; the deep run has the many reads.
EVERYDAY: dict[str, Any] = {"reads": 600, "pace": 15.0}


def require_fresh(result: Result) -> None:
    assert result["stale"] == result["unborn"] == result.stale_at_rest == 0, result
    assert not result.found, result
    assert result["reads"], result
    assert result["hits"], result
    assert result["writes"], result


# Every database and every store, but not every pair of them: what could go wrong between the two goes through the same code.
PAIRS = [
    ("sqlite-wal", "memory"),
    ("sqlite-wal", "lmdb"),
    ("sqlite-journal", "valkey"),
    ("postgresql", "memory"),
    ("postgresql", "lmdb"),
    ("postgresql", "redis"),
    ("mariadb", "memory"),
    ("mariadb", "lmdb"),
    ("mariadb", "valkey"),
]


@pytest.mark.parametrize(("database", "store"), PAIRS, indirect=True)
def test_a_race(spec: Make, arena: ArenaProcess, race_report: Report) -> None:
    """A thousand reads of every kind at every level."""
    race = spec(**EVERYDAY)
    result = race_report(race, arena.run(race))

    require_fresh(result)
    assert result["cancelled"], result
    if race.store != "memory://":
        assert result["kills"], result
        assert result["stops"], result


# A hit of a function is the cheapest read there is. Strict hits of a server cost a round trip each, so most of the deep reads
# are made where there is none.
DEEP: dict[str, Any] = {
    "quick": 0.99,
    "functions": 0.005,
    "pace": 2000.0,
    "breath": 0.02,
    "dawdle": 0.02,
    "stops": 0.002,
    "cancels": 0.02,  # each leaves its rows without hits until its holds expire
    "hold_ttl": 2.0,
    "patience": 3500.0,
}
MILLION = 1_000_000


@pytest.mark.deep
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("database", ["sqlite-wal", "postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_ten_million_reads(spec: Make, arena: ArenaProcess, race_report: Report) -> None:
    """For each database ten races of a million reads, by threads of one process that share its memory."""
    reads = 0
    for part in range(10):
        race = spec(reads=MILLION // 2, seed=SEED + part, **DEEP)
        result = race_report(race, arena.run(race))
        require_fresh(result)
        reads += result["reads"]

    assert reads >= 10 * MILLION


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", ["sqlite-wal", "postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("store", ["valkey"], indirect=True)
def test_a_long_race_of_processes(spec: Make, arena: ArenaProcess, race_report: Report) -> None:
    """For each database half a million reads by processes that are killed and stopped."""
    race = spec(reads=MILLION // 4, **{**DEEP, "pace": 200.0})
    result = race_report(race, arena.run(race))

    require_fresh(result)
    assert result["kills"], result
