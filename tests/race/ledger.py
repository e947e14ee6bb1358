"""What is known to be committed, and what each worker has done, in memory that all processes of one run share.

A row's version only grows. Whoever knows one to be committed enters it: a writer whose COMMIT has returned, and everybody who
was shown it, for what was seen once must not be unseen by a read that begins later. Each worker writes in columns of its own, so
that none needs a lock and nothing is lost when one is killed; a row's newest known version is the greatest in its line.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable, Mapping
from enum import IntEnum, auto

WORD = 8


class Tally(IntEnum):
    """What is counted, for each worker."""

    READS = 0
    """Reads through the cache that were compared with the ledger."""
    HITS = auto()
    """Those of them that the cache served."""
    WRITES = auto()
    """Commits that returned."""
    UNDONE = auto()
    """Transactions that were rolled back, by the writer or by the database."""
    CANCELLED = auto()
    """Commits that were cancelled half-way."""
    KILLS = auto()
    """Processes that were killed between the hold and the release."""
    STOPS = auto()
    """Processes that were stopped between the load and the fill."""
    STALE = auto()
    """Reads that returned less than what was known when they began."""
    UNBORN = auto()
    """Reads that returned what nobody had tried to commit."""
    BEYOND = auto()
    """Stale reads during a commit that outlived its hold, which is what a hold's time to live is a bet against."""
    HOLDING_SINCE = auto()
    """When the commit under way began, in nanoseconds; 0 when there is none."""
    LATE_UNTIL = auto()
    """When the last commit ended that outlived its hold."""
    WAITING = auto()
    """1 while the worker is stopped and waits for others to write."""


class Ledger:
    """What is known, by row and worker.

    Args:
        rows: how many rows there are.
        workers: how many workers.
        hold_ttl: when holds expire, in seconds.
    """

    def __init__(self, rows: int, workers: int, hold_ttl: float) -> None:
        self.rows = rows
        self._workers = workers
        self._hold = int(hold_ttl * 1e9)
        # Anonymous and shared: processes forked from here on see the same pages.
        words = 1 + 2 * rows * workers + workers * len(Tally)
        self._memory = memoryview(mmap.mmap(-1, words * WORD)).cast("q")
        self._known = [self._line(1 + row * workers) for row in range(rows)]
        self._tried = [self._line(1 + (rows + row) * workers) for row in range(rows)]
        self._tallies = self._memory[1 + 2 * rows * workers :]

    def _line(self, start: int) -> memoryview[int]:
        return self._memory[start : start + self._workers]

    @property
    def stopped(self) -> bool:
        """Whether the readers are done, so that the others may go."""
        return bool(self._memory[0])

    def stop(self) -> None:
        self._memory[0] = 1

    # ------------------------------------------------------------------------------------------------- versions

    def known(self, row: int) -> int:
        """Return the newest version that is known to be committed."""
        return max(self._known[row])

    def tried(self, row: int) -> int:
        """Return the newest version that anybody has tried to commit."""
        return max(self._tried[row])

    def know(self, worker: int, versions: Mapping[int, int]) -> None:
        """Enter versions that are committed for certain."""
        for row, version in versions.items():
            line = self._known[row]
            line[worker] = max(line[worker], version)

    def attempt(self, worker: int, versions: Mapping[int, int]) -> None:
        """Enter versions that are about to be committed, and that holds on them are about to be taken."""
        for row, version in versions.items():
            line = self._tried[row]
            line[worker] = max(line[worker], version)
        self.set(worker, Tally.HOLDING_SINCE, time.monotonic_ns())

    def settle(self, worker: int) -> None:
        """Enter that the holds are over."""
        now = time.monotonic_ns()
        if now - self.get(worker, Tally.HOLDING_SINCE) > self._safe:
            self.set(worker, Tally.LATE_UNTIL, now)
        self.set(worker, Tally.HOLDING_SINCE, 0)

    @property
    def _safe(self) -> int:
        # The holds are taken a little after the note in the ledger, and their clock is another.
        return self._hold * 9 // 10

    def beyond(self) -> bool:
        """Whether a commit under way, or one that has just ended, may have outlived its holds."""
        now = time.monotonic_ns()
        for worker in range(self._workers):
            since = self.get(worker, Tally.HOLDING_SINCE)
            until = self.get(worker, Tally.LATE_UNTIL)
            if (since and now - since > self._safe) or (until and now - until < self._hold):
                return True
        return False

    # --------------------------------------------------------------------------------------------------- tallies

    def get(self, worker: int, tally: Tally) -> int:
        return self._tallies[worker * len(Tally) + tally]

    def set(self, worker: int, tally: Tally, number: int) -> None:
        self._tallies[worker * len(Tally) + tally] = number

    def count(self, worker: int, tally: Tally, number: int = 1) -> None:
        self._tallies[worker * len(Tally) + tally] += number

    def total(self, tally: Tally) -> int:
        return sum(self._tallies[tally :: len(Tally)])

    def totals(self, tallies: Iterable[Tally]) -> dict[str, int]:
        return {tally.name.lower(): self.total(tally) for tally in tallies}
