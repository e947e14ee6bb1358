"""Reads and writes side by side, some of the reads past the cache, some of them verified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from rowstamp import AsyncCache
from rowstamp.cli.demo.choices import Choices, Popularity, weighted
from rowstamp.cli.demo.compare import Plain, difference, plain
from rowstamp.cli.demo.figures import Figures, statements_sent
from rowstamp.cli.demo.reads import READ_SUMS, READS, Read, Request
from rowstamp.cli.demo.settings import Settings
from rowstamp.cli.demo.verify import Gate, Ledger
from rowstamp.cli.demo.writes import WRITE_SUMS, WRITES

__all__ = ["Mix"]

UNCACHED_EVERY: Final = 20
"""Each so many reads of a kind, one goes past the cache, so that both are measured in the same weather."""
COMPARED_EVERY: Final = 4
"""Each so many reads of a kind, one is compared with the database at rest, unless another is being compared just then."""
_QUIET_ROUNDS: Final = (3, 40)
"""Least and most requests of each kind that are measured with no other task running."""


@dataclass(frozen=True)
class _Answer:
    """What a read gave.

    Attributes:
        value: the value in plain form, if it was asked for.
        hit: whether no statement reached the database.
        old: what the ledger found too old.
        recorded: whether there was anything for the ledger to check.
        seconds: how long it took until the value was there; opening and closing the session is not counted.
    """

    value: Plain | None
    hit: bool
    old: list[str]
    recorded: bool
    seconds: float


class Mix:
    """The tasks that use the shop.

    Args:
        cache: the cache, attached.
        sessions: makes the sessions.
        settings: the options of the run.
        ledger: what has been committed so far.
        figures: where everything measured goes.
    """

    def __init__(
        self,
        cache: AsyncCache,
        sessions: async_sessionmaker[AsyncSession],
        settings: Settings,
        ledger: Ledger,
        figures: Figures,
    ) -> None:
        self._cache = cache
        self._sessions = sessions
        self._settings = settings
        self._ledger = ledger
        self._figures = figures
        self._popularity = Popularity(settings)
        self._gate = Gate()
        self._known: dict[object, int] = {}
        """The moment before a request was last answered, by request."""

    async def run(self, progress: Callable[[float], None]) -> None:
        """Run all tasks until the time is over, one of them fails, or there are stale hits enough.

        Args:
            progress: told now and then how many seconds have passed.
        """
        began = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._settings.tasks):
                    group.create_task(self._task(number, began, progress))
        except* Exception as failed:  # noqa: BLE001 - whatever went wrong in a task is reported, and is the exit code
            self._figures.failures.extend(failed.exceptions)

    async def _task(self, number: int, began: float, progress: Callable[[float], None]) -> None:
        pick = Choices(self._popularity, f"{self._settings.seed} task {number}")
        while (passed := time.perf_counter() - began) < self._settings.seconds and not self._figures.hopeless:
            progress(passed)
            if pick.rng.random() < self._settings.writes:
                await self._write(pick)
            else:
                await self._read(pick)

    # ------------------------------------------------------------------------------------------------- writing

    async def _write(self, pick: Choices) -> None:
        write = weighted(WRITES, WRITE_SUMS, pick.rng)
        async with self._gate.shared():
            began = time.perf_counter()
            async with self._sessions() as session:
                growths = await write.run(session, pick)
                await session.commit()
                self._ledger.enter(growths)
            self._figures.writes.setdefault(write.name, []).append(time.perf_counter() - began)

    # ------------------------------------------------------------------------------------------------- reading

    async def _read(self, pick: Choices) -> None:
        read = weighted(READS, READ_SUMS, pick.rng)
        request = read.request(pick)
        figures = self._figures.of(read.name)
        figures.asked += 1
        if figures.asked % UNCACHED_EVERY == 0:
            figures.uncached_times.append((await self._uncached(read, request)).seconds)
        elif figures.asked % COMPARED_EVERY == 0 and not self._gate.taken:
            async with self._gate.exclusive():
                since = self._ledger.now()
                # Of before: another task may be loading the same answer, and be done first.
                known = self._known.get(_name_of(read, request))
                answer = await self._answer(read, request, keep=True)
                self._known[_name_of(read, request)] = since
                self._note_loss(read, request, known, answer)
                fresh = await self._uncached(read, request, keep=True)
            self._judge(read, answer, fresh)
        else:
            since = self._ledger.now()
            answer = await self._answer(read, request)
            self._known[_name_of(read, request)] = since
            self._judge(read, answer)

    async def _uncached(self, read: Read, request: Request, *, keep: bool = False) -> _Answer:
        with self._cache.disabled():
            return await self._answer(read, request, keep=keep)

    async def _answer(self, read: Read, request: Request, *, keep: bool = False) -> _Answer:
        async with self._sessions() as session:
            since = self._ledger.now()
            with statements_sent() as tally:
                began = time.perf_counter()
                value = await request(session)
                seconds = time.perf_counter() - began
            facts = list(read.facts(value))
            return _Answer(
                value=plain(value) if keep else None,
                hit=tally.statements == 0,
                old=self._ledger.too_old(facts, since),
                recorded=bool(facts),
                seconds=seconds,
            )

    def _note_loss(self, read: Read, request: Request, known: int | None, answer: _Answer) -> None:
        """Count an answer that the cache had and lost although no write concerned it; nobody is writing just now.

        One that was not kept because a writer held its stamps is no loss: that writer is entered after the moment noted.
        """
        if read.concerns is None or known is None or not isinstance(request, partial):
            return
        if not self._ledger.grew(read.concerns(**request.keywords), known):
            self._figures.judged += 1
            if not answer.hit:
                self._figures.needless[read.name] = self._figures.needless.get(read.name, 0) + 1

    def _judge(self, read: Read, answer: _Answer, fresh: _Answer | None = None) -> None:
        figures = self._figures
        compared = fresh is not None
        of_kind = figures.of(read.name)
        of_kind.reads += 1
        if answer.hit:
            of_kind.hits += 1
            of_kind.hit_times.append(answer.seconds)
            figures.compared += compared
            figures.recorded += answer.recorded
            figures.verified += compared or answer.recorded
        # Also of a read that was served in part only, and has not been counted above.
        wrong = answer.old[:1]
        if answer.value is not None and fresh is not None and fresh.value is not None:
            wrong += [found] if (found := difference(answer.value, fresh.value)) else []
        if wrong:
            figures.stale.append(f"{read.name}: {', and '.join(wrong)}")

    # ---------------------------------------------------------------------------------------------- one by one

    async def measure_quietly(self) -> None:
        """Measure hits and uncached reads in turn, with no other task to wait for."""
        pick = Choices(self._popularity, f"{self._settings.seed} quiet")
        share = self._settings.seconds / 10 / len(READS)
        least, most = _QUIET_ROUNDS
        for read in READS:
            began = time.perf_counter()
            for done in range(most):
                if done >= least and time.perf_counter() - began > share:
                    break
                await self._measure_pair(read, read.request(pick))

    async def _measure_pair(self, read: Read, request: Request) -> None:
        figures = self._figures.of(read.name)
        await self._answer(read, request)
        figures.quiet_uncached_times.append((await self._uncached(read, request)).seconds)
        answer = await self._answer(read, request)
        if answer.hit:
            figures.quiet_hit_times.append(answer.seconds)


def _name_of(read: Read, request: Request) -> object:
    """Return what is equal for requests of a kind that ask for the same."""
    return read.name, tuple(sorted(request.keywords.items())) if isinstance(request, partial) else ()
