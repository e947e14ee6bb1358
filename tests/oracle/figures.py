"""A pytest plugin that prints what the oracle went through, and which entries were made unusable without need.

`tests/conftest.py` should name it: with pytest-xdist the summary is written by a process that reads no `conftest.py` of a subfolder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.oracle.program import Figures

NAME = "oracle"


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Iterator[Figures]:
    """Counts for the summary."""
    found = Figures()
    yield found
    record_property(NAME, json.dumps(found.as_dict()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total = Figures()
    for tests in terminalreporter.stats.values():
        for test in tests:
            if getattr(test, "when", "") != "teardown":  # what the fixture records last is in the report of its end
                continue
            for name, value in getattr(test, "user_properties", ()):
                if name == NAME:
                    part: dict[str, Any] = json.loads(str(value))
                    total.add(part)
    if not total.steps:
        return
    write = terminalreporter.write_line
    terminalreporter.section("differential oracle")
    write(
        f"{total.programs:,} programs, {total.steps:,} steps ({sum(total.writes.values()):,} writes, "
        f"{sum(total.refused.values()):,} refused); {total.compared:,} reads compared and {total.own:,} in writing sessions, "
        f"{total.hits / total.compared:.0%} of them served from the cache"
    )
    needless = sum(total.needless.values())
    write(f"made unusable although the result stayed the same: {needless:,}; "
          f"of {total.pinned:,} reads that name keys and that no write concerned: {sum(total.lost.values()):,}")  # fmt: skip
    for cause, times in total.needless.most_common(8):
        write(f"  {times:6,} × {cause}")
