"""What the processes of a run do. Each worker is a function of its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, bounded, strict
from rowstamp.store import Store
from rowstamp.stores import open_store
from tests.race import traps
from tests.race.ledger import Ledger, Tally
from tests.race.shop import (
    LEVELS,
    ROWS,
    Read,
    committed_versions,
    do_not_sync,
    function_reads,
    has_snapshot,
    is_dirty,
    open_engine,
    quick_reads,
    statement_reads,
    write,
)
from tests.race.spec import Spec

TOLD: Final = 5
"""How many wrong reads a worker describes; further ones are only counted."""
BATCH: Final = 50
"""How many reads a session makes."""


def breathe(seconds: float) -> None:
    """Leave the processor to those who are behind."""
    time.sleep(seconds)


@dataclass
class Place:
    """Where a worker stands.

    Attributes:
        spec: the run.
        number: its columns in the ledger.
        ledger: what is known.
        seed: of its own chances; another one for whoever takes the place of a killed worker.
        first: whether nobody was killed here before.
        supervisor: who stops it, if it is a process.
        shared: the store that threads share.
    """

    spec: Spec
    number: int
    ledger: Ledger
    seed: str
    first: bool = True
    supervisor: socket.socket | None = None
    shared: Store | None = None
    found: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._history: deque[tuple[float, list[int]]] = deque([(0.0, [0] * ROWS)])
        self.rng = random.Random(self.seed)
        self.levels = LEVELS[self.spec.dialect]
        self._parent = os.getppid()

    def count(self, tally: Tally, number: int = 1) -> None:
        self.ledger.count(self.number, tally, number)

    def level(self) -> str:
        """Return the level of a reader's next transaction: mostly that at which the cache may serve it."""
        return self.levels[0] if self.rng.random() < 0.8 else self.rng.choice(self.levels)

    def behind(self) -> bool:
        """Whether the readers have to catch up before the next write."""
        ledger = self.ledger
        if ledger.total(Tally.WAITING):
            return False
        return ledger.total(Tally.WRITES) * self.spec.pace > ledger.total(Tally.READS)

    def over(self) -> bool:
        """Whether to stop: the race is over, or whoever started this process is gone."""
        return self.ledger.stopped or os.getppid() != self._parent

    def known_before(self, seconds: float, known: list[int]) -> list[int]:
        """Remember what is known now, and return what this worker had known so many seconds ago."""
        history, now = self._history, time.monotonic()
        history.append((now, known))
        while len(history) > 1 and history[1][0] <= now - seconds:
            history.popleft()
        return history[0][1]

    def enough(self) -> bool:
        """Whether a reader may stop before it has read enough."""
        return self.over() or (bool(self.spec.weakening) and self.ledger.total(Tally.STALE) > 0)

    def tell(self, text: str) -> None:
        """Describe something wrong."""
        if len(self.found) < TOLD:
            self.found.append(text)
            if self.supervisor is not None:
                self.supervisor.send(text[:4000].encode())


def _hot(spec: Spec, reads: list[Read]) -> list[Read]:
    """Return the reads that show a row that is written."""
    return [read for read in reads if read.rows[0] < spec.hot]


class Node:
    """A process as its application sees it: an engine with a cache."""

    def __init__(self, spec: Spec, store: Store) -> None:
        self.engine = open_engine(spec.database)
        freshness = bounded(spec.bound) if spec.bound else strict
        near = spec.near or None
        self.cache = Cache(store, namespace=spec.namespace, hold_ttl=spec.hold_ttl, freshness=freshness, near=near)
        self.cache.attach(self.engine)
        self.statements = _hot(spec, statement_reads())
        self.functions = _hot(spec, function_reads(self.cache))
        self.quick = _hot(spec, quick_reads(self.cache, self.engine))
        self._shares = spec.quick, spec.quick + spec.functions
        self._here = threading.local()
        self._levels = {level: self.engine.execution_options(isolation_level=level) for level in LEVELS[spec.dialect]}
        event.listen(self.engine, "after_cursor_execute", self._executed)

    def _executed(self, *_: Any) -> None:
        self._here.executed = self.executed + 1

    @property
    def executed(self) -> int:
        """How many statements this thread has sent: a read that sends none is served by the cache."""
        executed: int = getattr(self._here, "executed", 0)
        return executed

    def any(self, rng: random.Random) -> Read:
        """Return a read of any kind."""
        chance = rng.random()
        if chance < self._shares[0]:
            return rng.choice(self.quick)
        return rng.choice(self.functions if chance < self._shares[1] else self.statements)

    def at(self, level: str) -> Engine:
        return self._levels[level]

    def close(self) -> None:
        self.cache.close()
        self.engine.dispose()


# ---------------------------------------------------------------------------------------------------- readers


class Checker:
    """Compares reads with the ledger, for the length of one transaction."""

    def __init__(self, place: Place, level: str) -> None:
        self._place = place
        self._level = level
        self._dirty = is_dirty(place.spec.dialect, level)
        self._bound = place.spec.bound / 1000
        # What a transaction sees that keeps its snapshot is as old as the transaction.
        known = place.ledger.known
        self._from_the_start = [known(row) for row in range(ROWS)] if has_snapshot(place.spec.dialect, level) else None

    def floor(self, read: Read) -> list[int]:
        """Return the least versions that a read which begins now may show."""
        if self._from_the_start is not None:
            return [self._from_the_start[row] for row in read.rows]
        known = [self._place.ledger.known(row) for row in range(ROWS)] if self._bound else None
        if known is not None:
            return [self._place.known_before(self._bound, known)[row] for row in read.rows]
        return [self._place.ledger.known(row) for row in read.rows]

    def check(self, read: Read, floor: Sequence[int], found: Sequence[int]) -> None:
        """Compare what a read has shown with the floor taken before it began."""
        if len(found) == len(read.rows):
            for row, version, least in zip(read.rows, found, floor, strict=True):
                if version < least:
                    self._stale(read, floor, found)
                elif version > least and not self._dirty:
                    self._newer(read, row, version)
        elif found[0] < sum(floor):
            self._stale(read, floor, found)
        elif found[0] > sum(map(self._place.ledger.tried, read.rows)) and not self._dirty:
            self._unborn(read, found[0])

    def _newer(self, read: Read, row: int, version: int) -> None:
        """Let others know what this read was shown, if it can be."""
        if self._place.ledger.tried(row) < version:
            self._unborn(read, version)
        else:
            self._place.ledger.know(self._place.number, {row: version})

    def _unborn(self, read: Read, found: int) -> None:
        tried = [self._place.ledger.tried(row) for row in read.rows]
        self._place.count(Tally.UNBORN)
        self._place.tell(f"unborn {read.kind} of rows {[*read.rows]} at {self._level}: {found}, tried were {tried}")

    def _stale(self, read: Read, floor: Sequence[int], found: Sequence[int]) -> None:
        if self._place.ledger.beyond():
            self._place.count(Tally.BEYOND)
            return
        self._place.count(Tally.STALE)
        rows = [*read.rows]
        self._place.tell(f"stale {read.kind} of rows {rows} at {self._level}: {[*found]}, known were {[*floor]}")


def reader(place: Place, node: Node | None = None) -> None:
    """Read, until there are enough reads."""
    own = node or Node(place.spec, reading_store(place))
    left = place.spec.reads
    while left > 0 and not place.enough():
        left -= read_in_one_session(place, own, min(left, BATCH))
    if node is None:
        own.close()


def reading_store(place: Place) -> Store:
    """Return the store as a reader sees it."""
    spec, rng = place.spec, place.rng
    dawdling = traps.dawdling(rng, spec.dawdle, spec.pause)
    loaded = dawdling
    if place.supervisor is not None:
        loaded = traps.both(dawdling, traps.stopping(rng, spec.stops, place.supervisor))
    trapped = traps.FollowedStore if spec.bound else traps.TrappedStore
    return trapped(store_of(place), captured=dawdling, loaded=loaded)


def store_of(place: Place) -> Store:
    if place.shared is not None:
        return place.shared
    store = open_store(place.spec.store, asynchronous=False)
    assert isinstance(store, Store)
    return store


def read_in_one_session(place: Place, node: Node, reads: int) -> int:
    """Read some things in one transaction; return how many reads were checked."""
    level = place.level()
    checker = Checker(place, level)
    done = hits = 0
    with Session(node.at(level)) as session:
        try:
            for _ in range(reads):
                read = node.any(place.rng)
                floor, before = checker.floor(read), node.executed
                found = read.run(session)
                checker.check(read, floor, found)
                done += 1
                hits += node.executed == before
        except SQLAlchemyError as exc:  # a deadlock, a serialization failure, a lock that was not to be had
            place.count(Tally.UNDONE)
            require_usual(exc)
    place.count(Tally.READS, done)
    place.count(Tally.HITS, hits)
    return done


def require_usual(exc: SQLAlchemyError) -> None:
    """Let out an error that no race between transactions explains."""
    text = str(exc).lower()
    if not any(word in text for word in ("locked", "deadlock", "serialize", "lock wait", "record has changed")):
        raise exc


# ---------------------------------------------------------------------------------------------------- writers


def writer(place: Place, node: Node | None = None) -> None:
    """Write, until the readers are done."""
    own = node or Node(place.spec, writing_store(place))
    while not place.over():
        if place.behind():
            breathe(place.spec.breath)
        else:
            write_once(place, own)
    if node is None:
        own.close()


def writing_store(place: Place) -> Store:
    """Return the store as a writer sees it. The first writer is the one that is killed."""
    spec, rng = place.spec, place.rng
    held = committed = traps.dawdling(rng, spec.dawdle, spec.pause)
    if place.supervisor is not None and place.number == spec.readers:
        held = traps.both(held, traps.dying(rng, spec.kills / 4))
        committed = traps.both(committed, traps.dying(rng, spec.kills, at=5 if spec.kills and place.first else 0))
    return traps.TrappedStore(store_of(place), held=held, committed=committed)


def write_once(place: Place, node: Node) -> None:
    """Make one transaction of any kind."""
    levels = [level for level in place.levels if level != "AUTOCOMMIT"]
    try:
        with Session(node.at(place.rng.choice(levels))) as session:
            versions = write(session, place.rng, place.spec.hot)
            if place.rng.random() < 0.1:
                session.rollback()
                place.count(Tally.UNDONE)
                return
            place.ledger.attempt(place.number, versions)
            try:
                session.commit()
            finally:
                place.ledger.settle(place.number)
    except SQLAlchemyError as exc:
        place.count(Tally.UNDONE)
        require_usual(exc)
        return
    place.ledger.know(place.number, versions)
    place.count(Tally.WRITES)


def witness(place: Place, _node: Node | None = None) -> None:
    """See what is committed, without a cache, and let it be known. What a killed writer has committed nobody else tells."""
    engine = open_engine(place.spec.database)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    while not place.over():
        with contextlib.suppress(SQLAlchemyError):
            place.ledger.know(place.number, committed_versions(autocommit))
        breathe(10 * place.spec.breath)
    engine.dispose()


# -------------------------------------------------------------------------------------------------- cancelled


def canceller(place: Place, _node: Node | None = None) -> None:
    """Write and read under asyncio, and cancel commits half-way."""
    asyncio.run(_cancel_commits(place))


async def _cancel_commits(place: Place) -> None:
    spec = place.spec
    engine = create_async_engine(spec.async_database)
    if spec.dialect == "sqlite":
        event.listen(engine.sync_engine, "connect", do_not_sync)
    at_level = engine.execution_options(isolation_level=place.levels[0])
    cache = AsyncCache(place.shared or spec.store, namespace=spec.namespace, hold_ttl=spec.hold_ttl)
    cache.attach(engine)
    statements = _hot(spec, statement_reads())
    while not place.over():
        if place.behind():
            await asyncio.sleep(2 * place.spec.breath)
            continue
        async with AsyncSession(at_level) as session:
            await _write_async(place, session)
        async with AsyncSession(at_level) as session:
            await _read_async(place, session, statements)
    await cache.aclose()
    await engine.dispose()


async def _write_async(place: Place, session: AsyncSession) -> None:
    ledger, number = place.ledger, place.number
    try:
        versions = await session.run_sync(write, place.rng, place.spec.hot)
    except SQLAlchemyError as exc:
        require_usual(exc)
        place.count(Tally.UNDONE)
        return
    ledger.attempt(number, versions)
    commit = asyncio.ensure_future(session.commit())
    if place.rng.random() < place.spec.cancels:
        await asyncio.wait({commit}, timeout=place.rng.choice((0, 0.002)) * place.rng.random())
        commit.cancel()
    await asyncio.wait({commit})
    ledger.settle(number)
    if commit.cancelled():
        place.count(Tally.CANCELLED)
    elif (error := commit.exception()) is None:
        ledger.know(number, versions)
        place.count(Tally.WRITES)
    elif isinstance(error, SQLAlchemyError):
        require_usual(error)
        place.count(Tally.UNDONE)
    else:
        raise error


async def _read_async(place: Place, session: AsyncSession, reads: Sequence[Read]) -> None:
    checker = Checker(place, place.levels[0])
    try:
        for read in place.rng.choices(reads, k=5):
            floor = checker.floor(read)
            checker.check(read, floor, await session.run_sync(read.run))
            place.count(Tally.READS)
    except SQLAlchemyError as exc:
        require_usual(exc)


# ---------------------------------------------------------------------------------------------------- at rest


def at_rest(place: Place) -> tuple[int, int]:
    """Compare everything that is cached with the database; return how many reads there were and how many differed."""
    node, plain = Node(place.spec, store_of(place)), open_engine(place.spec.database)
    differing = 0
    reads = [*node.statements, *node.functions, *node.quick]
    level = place.levels[0]
    for read in reads:
        for _ in range(2):
            with Session(node.at(level)) as session:
                found = [*read.run(session)]
            truth = committed_versions(plain)
            expected = [truth[row] for row in read.rows]
            if found != (expected if len(found) == len(expected) else [sum(expected)]):
                differing += 1
                place.tell(f"stale at rest: {read.kind} of rows {[*read.rows]}: {found}, committed were {expected}")
    node.close()
    plain.dispose()
    return 2 * len(reads), differing
