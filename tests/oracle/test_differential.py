"""Random programs: what the cache returns is what the database returns, after every step and inside every transaction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.oracle.databases import postgres_engine, sqlite_engine
from tests.oracle.program import Figures, explore
from tests.servers.support import Databases

STEPS = 50
"""Steps of one program; a new schema is worth more than further steps."""

# What a program asks for is none of the cache's business: rows that are gone, pairs that are there already.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


@pytest.mark.parametrize("part", range(6))
def test_sqlite(part: int, tmp_path: Path, figures: Figures) -> None:
    """1,500 steps of 30 programs."""
    with sqlite_engine(tmp_path / "oracle.db") as engine:
        for seed in range(5 * part, 5 * part + 5):
            explore(seed, STEPS, engine, figures)


@pytest.mark.parametrize("part", range(2))
def test_postgresql(part: int, postgres_databases: Databases, figures: Figures) -> None:
    """300 steps of 6 programs."""
    with postgres_engine(postgres_databases) as engine:
        for seed in range(1000 + 3 * part, 1000 + 3 * part + 3):
            explore(seed, STEPS, engine, figures)


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_sqlite_for_long(part: int, tmp_path: Path, figures: Figures) -> None:
    """50,000 steps of 1,000 programs."""
    for seed in range(10_000 + 50 * part, 10_000 + 50 * part + 50):
        with sqlite_engine(tmp_path / f"{seed}.db") as engine:
            explore(seed, STEPS, engine, figures)


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_postgresql_for_long(part: int, postgres_databases: Databases, figures: Figures) -> None:
    """50,000 steps of 1,000 programs."""
    with postgres_engine(postgres_databases) as engine:
        for seed in range(20_000 + 50 * part, 20_000 + 50 * part + 50):
            explore(seed, STEPS, engine, figures)


def test_replay(request: pytest.FixtureRequest, tmp_path: Path, figures: Figures) -> None:
    """`ROWSTAMP_REPLAY=sqlite:7:3,4,9 pytest -k replay` runs what a failure's REPLAY line names."""
    replay = os.environ.get("ROWSTAMP_REPLAY", "sqlite:0:0,1,2")
    database, seed, steps = replay.split(":")
    numbers = [int(step) for step in steps.split(",") if step]
    if database == "sqlite":
        with sqlite_engine(tmp_path / "oracle.db") as engine:
            explore(int(seed), numbers, engine, figures)
    else:
        databases: Databases = request.getfixturevalue("postgres_databases")
        with postgres_engine(databases) as engine:
            explore(int(seed), numbers, engine, figures)
