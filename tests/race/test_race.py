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
EVERYDAY: dict[str, Any] = {"reads": 500, "pace": 15.0}


def require_fresh(result: Result) -> None:
    assert result["stale"] == result["unborn"] == result.stale_at_rest == 0, result
    assert not result.found, result
    assert result["reads"], result
    assert result["hits"], result
    assert result["writes"], result


# Every database and every store, but not every pair of them: what could go wrong between the two goes through the same code.
NEAR: dict[str, Any] = {"near": 2**20}
BOUNDED: dict[str, Any] = {"near": 2**20, "bound": 50.0}
PAIRS = [
    pytest.param("sqlite-wal", "memory", {}, id="sqlite-wal-memory"),
    pytest.param("sqlite-wal", "lmdb", {}, id="sqlite-wal-lmdb"),
    pytest.param("sqlite-journal", "valkey", NEAR, id="sqlite-journal-valkey-near"),
    pytest.param("postgresql", "memory", {}, id="postgresql-memory"),
    pytest.param("postgresql", "lmdb", NEAR, id="postgresql-lmdb-near"),
    pytest.param("postgresql", "redis", {}, id="postgresql-redis"),
    pytest.param("mariadb", "memory", {}, id="mariadb-memory"),
    pytest.param("mariadb", "valkey", BOUNDED, id="mariadb-valkey-bounded"),
    pytest.param("mariadb", "cluster", NEAR, id="mariadb-cluster-near"),
]


@pytest.mark.parametrize(("database", "store", "options"), PAIRS, indirect=["database", "store"])
def test_a_race(spec: Make, arena: ArenaProcess, race_report: Report, options: dict[str, Any]) -> None:
    """A thousand reads of every kind at every level; also with a near cache, and within a bound."""
    race = spec(**EVERYDAY, **options)
    result = race_report(race, arena.run(race))

    require_fresh(result)
    assert result["cancelled"], result
    if race.store != "memory://":
        assert result["kills"], result
        assert result["stops"], result


# A hit of a function is the cheapest read there is. Strict hits of a server cost a round trip each, so most of the deep reads
# are made where there is none, and by processes: in LMDB.
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


deep_on_every_database = pytest.mark.parametrize("database", ["sqlite-wal", "postgresql", "mariadb"], indirect=True)


@pytest.mark.deep
@pytest.mark.timeout(7200)
@deep_on_every_database
@pytest.mark.parametrize("store", ["lmdb"], indirect=True)
def test_ten_million_reads(spec: Make, arena: ArenaProcess, race_report: Report) -> None:
    """For each database ten races of a million reads, by processes that are killed and stopped."""
    total = Result()
    for part in range(10):
        race = spec(reads=MILLION // 2, seed=SEED + part, **DEEP)
        result = race_report(race, arena.run(race))
        require_fresh(result)
        for name, number in result.figures.items():
            total.figures[name] = total[name] + number

    assert total["reads"] >= 10 * MILLION
    assert total["kills"], total
    assert total["stops"], total


@pytest.mark.deep
@pytest.mark.timeout(3600)
@deep_on_every_database
@pytest.mark.parametrize(
    ("store", "options"),
    [
        pytest.param("memory", {"reads": MILLION // 2}, id="memory"),
        pytest.param("valkey", {"reads": MILLION // 4, "pace": 200.0}, id="valkey"),
    ],
    indirect=["store"],
)
def test_a_long_race(spec: Make, arena: ArenaProcess, race_report: Report, options: dict[str, Any]) -> None:
    """The same for threads of one process that share its memory, and for processes around a server."""
    race = spec(**{**DEEP, **options})
    result = race_report(race, arena.run(race))

    require_fresh(result)
    assert race.store == "memory://" or result["kills"], result
