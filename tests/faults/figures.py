"""A pytest plugin that prints how long reads took while a store failed, and when hits came back.

`tests/conftest.py` should name it: with pytest-xdist the summary is written by a process that reads no `conftest.py` of a subfolder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from typing import TypeAlias

import pytest

NAME = "fault"


@dataclass
class Load:
    """What readers met while a fault happened.

    Attributes:
        reads: how long each read took, in seconds.
        fault_ended: when the fault was over, by the monotonic clock.
        back: how many seconds later a read was a hit again; ``None`` if none was before the load ended.
    """

    reads: list[float] = field(default_factory=list[float])
    fault_ended: float = 0.0
    back: float | None = None

    def timed(self, read: Callable[[], object]) -> None:
        """Read, and take note of how long it took."""
        begin = time.perf_counter()
        read()
        self.reads.append(time.perf_counter() - begin)

    def over(self) -> None:
        """Take note that the fault is over."""
        self.fault_ended = time.monotonic()

    def hit(self) -> None:
        """Take note of a hit after the fault."""
        if self.back is None:
            self.back = time.monotonic() - self.fault_ended


Report: TypeAlias = Callable[[str, Load], None]


@pytest.fixture
def fault_report(record_property: Callable[[str, object], None]) -> Report:
    """Say what came of a fault."""

    def report(what: str, load: Load) -> None:
        points = quantiles(load.reads, n=100, method="inclusive")
        again = "" if load.back is None else f"; hits again {load.back:.2f} s after it was over"
        record_property(
            NAME,
            f"{what}: {len(load.reads):,} reads, median {points[49] * 1000:.2f} ms, p99 {points[98] * 1000:.2f} ms,"
            f" longest {max(load.reads) * 1000:.0f} ms{again}",
        )

    return report


def _recorded(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    for outcome in ("passed", "failed"):
        for test in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(test, "user_properties", ()):
                if name == NAME:
                    yield str(value)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [*_recorded(terminalreporter)]
    if lines:
        terminalreporter.section("faults of the store under load: nothing stale, no error")
    for line in lines:
        terminalreporter.write_line(line)
