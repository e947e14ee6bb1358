"""What the demo measures."""

from __future__ import annotations

import statistics
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["MOST_STALE", "Figures", "ReadFigures", "Tally", "median", "statements_sent", "watch_statements"]


MOST_STALE: Final = 10
"""How many stale hits are collected and shown before a run ends early."""


@dataclass
class Tally:
    """How many statements a piece of work sent to the database."""

    statements: int = 0


_tally: ContextVar[Tally | None] = ContextVar("rowstamp-demo-tally", default=None)


@contextmanager
def statements_sent() -> Generator[Tally]:
    """Count the statements that this task sends to the database meanwhile; none of them means that all were hits."""
    tally = Tally()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


def watch_statements(engine: AsyncEngine) -> None:
    """Let :func:`statements_sent` see what an engine sends."""
    event.listen(engine.sync_engine, "after_cursor_execute", _sent)


def _sent(_connection: Any, _cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: Any) -> None:
    tally = _tally.get()
    if tally is not None and not (context is not None and context.execution_options.get("rowstamp_hit")):
        tally.statements += 1


@dataclass
class ReadFigures:
    """What was measured of one kind of read; times in seconds.

    Attributes:
        asked: how often it was chosen, past the cache included.
        reads: how often it went through the cache.
        hits: how often it then needed no statement at all.
        hit_times: how long each hit took.
        uncached_times: how long those took that were sent past the cache.
        quiet_hit_times: the same with no other task running.
        quiet_uncached_times: the same with no other task running.
    """

    asked: int = 0
    reads: int = 0
    hits: int = 0
    hit_times: list[float] = field(default_factory=list[float])
    uncached_times: list[float] = field(default_factory=list[float])
    quiet_hit_times: list[float] = field(default_factory=list[float])
    quiet_uncached_times: list[float] = field(default_factory=list[float])


@dataclass
class Figures:
    """What was measured of a run.

    Attributes:
        reads: by the name of the kind.
        writes: how long each write transaction took, in seconds, by the name of the kind.
        compared: hits compared with the database at rest.
        recorded: hits checked against the ledger.
        verified: hits checked in at least one of the two ways.
        judged: reads by key that were asked for again at rest, after no write that concerned them.
        needless: those of them that the cache no longer had, by the name of the kind.
        stale: what was wrong with each hit that was stale.
        failures: what was raised in tasks.
        build_seconds: how long the shop took to build.
    """

    reads: dict[str, ReadFigures] = field(default_factory=dict[str, ReadFigures])
    writes: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    compared: int = 0
    recorded: int = 0
    verified: int = 0
    judged: int = 0
    needless: dict[str, int] = field(default_factory=dict[str, int])
    stale: list[str] = field(default_factory=list[str])
    failures: list[BaseException] = field(default_factory=list[BaseException])
    build_seconds: float = 0.0

    @property
    def hopeless(self) -> bool:
        """Whether there are stale hits enough to end the run early."""
        return len(self.stale) >= MOST_STALE

    @property
    def sound(self) -> bool:
        """Whether no hit was stale and no task failed."""
        return not (self.stale or self.failures)

    def of(self, read: str) -> ReadFigures:
        """Return the figures of a kind of read."""
        return self.reads.setdefault(read, ReadFigures())


def median(times: Sequence[float]) -> float | None:
    """Return the median, or ``None`` of nothing."""
    return statistics.median(times) if times else None
