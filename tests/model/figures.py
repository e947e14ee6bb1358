"""A pytest plugin that prints, at the end, what the explorations went through.

`tests/conftest.py` should name it: with pytest-xdist the summary is written by the process that collects nothing and so reads no
`conftest.py` of a subfolder.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rowstamp.testing.scheduler import Exploration

NAME = "explored"


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[Exploration], Exploration]:
    """Returns a function that keeps the figures of an exploration for the summary, and returns the exploration."""

    def keep(result: Exploration) -> Exploration:
        print(result)  # noqa: T201 - for `pytest -s`
        record_property(NAME, str(result))
        record_property("states", result.states)
        record_property("steps", result.steps)
        return result

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found: list[tuple[str, object]] = []
    for outcome in ("passed", "failed", "xfailed"):
        for test in terminalreporter.stats.get(outcome, ()):
            found.extend(getattr(test, "user_properties", ()))
    lines = [str(value) for name, value in found if name == NAME]
    if not lines:
        return
    terminalreporter.section("interleavings explored")
    for line in lines:
        terminalreporter.write_line(line)
    states, steps = (sum(int(str(v)) for name, v in found if name == what) for what in ("states", "steps"))
    terminalreporter.write_line(f"in all: {states:,} states and schedules, {steps:,} steps")
