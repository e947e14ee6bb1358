"""A pytest plugin that prints what the races went through.

`tests/conftest.py` should name it: with pytest-xdist the summary is written by a process that reads no `conftest.py` of a subfolder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.race.spec import Result, Spec

NAME = "race"


class Report:
    """Keeps what came of the races of one test."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record = record_property

    def __call__(self, spec: Spec, result: Result) -> Result:
        figures = {**result.figures, "stale at rest": result.stale_at_rest}
        self._record(NAME, json.dumps({"name": spec.name, "seed": spec.seed, "figures": figures}))
        print(f"{spec.name} (seed {spec.seed}): {result}")  # noqa: T201 - for `pytest -s`, and shown when the test fails
        return result


@pytest.fixture
def race_report(record_property: Callable[[str, object], None]) -> Report:
    return Report(record_property)


def _recorded(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, Counter[str]]]:
    for outcome in ("passed", "failed"):
        for test in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(test, "user_properties", ()):
                if name == NAME:
                    run = json.loads(str(value))
                    yield f"{run['name']} (seed {run['seed']})", Counter(run["figures"])


def _line(figures: Counter[str]) -> str:
    return (
        f"{figures['reads']:,} reads checked, {figures['hits']:,} of them hits; {figures['writes']:,} writes, "
        f"{figures['kills']:,} writers killed, {figures['stops']:,} readers stopped, {figures['cancelled']:,} commits "
        f"cancelled; {figures['stale']:,} stale, {figures['unborn']:,} unborn, {figures['stale at rest']:,} stale at rest, "
        f"{figures['beyond']:,} during commits that outlived their holds"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    runs = list(_recorded(terminalreporter))
    if not runs:
        return
    terminalreporter.section("races")
    total = Counter[str]()
    for name, figures in runs:
        terminalreporter.write_line(f"{name}: {_line(figures)}")
        if not name.startswith("weakened"):
            total += figures
    terminalreporter.write_line(f"in all, without the weakened: {_line(total)}")
