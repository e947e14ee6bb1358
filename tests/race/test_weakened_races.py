"""The same adversary finds what is wrong with simpler protocols, within seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.race.arena import ArenaProcess
from tests.race.figures import Report
from tests.race.spec import Spec
from tests.race.weakened import WEAKENINGS

pytestmark = [
    pytest.mark.once,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("database", ["sqlite-wal"], indirect=True),
    pytest.mark.parametrize("store", ["valkey"], indirect=True),
]


EAGER: Final[dict[str, Any]] = {
    "reads": 6000,
    "pace": 5.0,
    "hot": 1,
    "dawdle": 0.6,
    "pause": 0.02,
    "kills": 0.0,
    "cancels": 0.0,
}
"""One row, many writes and long pauses: it must be found every time."""


@pytest.mark.parametrize("weakening", WEAKENINGS)
def test_is_found(weakening: str, spec: Callable[..., Spec], arena: ArenaProcess, race_report: Report) -> None:
    race = spec(name=f"weakened: {weakening}", weakening=weakening, **EAGER)
    result = race_report(race, arena.run(race))

    assert result["stale"] + result.stale_at_rest, result
