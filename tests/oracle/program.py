"""A program: a schema, a pool of reads, and steps, all drawn from one seed.

Each step draws from a generator of its own, so that a program still means something when steps are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rowstamp import Cache
from tests.oracle.precision import Touched, all_touched, concerned, content_of
from tests.oracle.read import Read
from tests.oracle.reads import Reads
from tests.oracle.schema import Schema, build, drop, make_schema
from tests.oracle.writes import Writes

POOL: Final = 12
"""Reads of a program's pool."""
OWN: Final = 3
"""Reads of the pool that a writing session executes itself after each write."""

_ACTIONS: Final = {"write": 46, "alone": 18, "commit": 20, "rollback": 4, "savepoint": 12}
_IN_SAVEPOINT: Final = {"write": 40, "alone": 5, "commit": 10, "rollback": 2, "savepoint": 3, "release": 16, "undo": 24}
_numbers = count()


def _draw(rng: Random, weights: Mapping[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


class DifferenceError(AssertionError):
    """A cached read returned something else than the database, or was not served although nothing concerned it."""


@dataclass
class Figures:
    """What programs went through."""

    programs: int = 0
    steps: int = 0
    compared: int = 0
    own: int = 0
    hits: int = 0
    writes: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    pinned: int = 0
    lost: Counter[str] = field(default_factory=Counter[str])
    needless: Counter[str] = field(default_factory=Counter[str])

    def add(self, other: dict[str, Any]) -> None:
        for name, value in other.items():
            mine: Any = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def as_dict(self) -> dict[str, Any]:
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


@dataclass
class _Slot:
    """A session that writes, and what it did."""

    session: Session
    done: list[tuple[str, Touched]] = field(default_factory=list[tuple[str, Touched]])


class Program:
    """One program on one database.

    Args:
        seed: decides everything.
        engine: of an empty database, or of one with tables of other names.
        figures: where it counts.
        writes: the kinds of writes to draw, for programs that look for one thing; all if empty.
        reads: the shape of all reads; any if empty.
    """

    def __init__(
        self, seed: int, engine: Engine, figures: Figures, *, writes: Sequence[str] = (), reads: str = ""
    ) -> None:
        rng = Random(f"schema {seed}")
        self.seed = seed
        self.engine = engine
        self.figures = figures
        self.only = writes
        self.schema: Schema = make_schema(rng, f"{seed}_{next(_numbers)}")
        with engine.begin() as connection:
            build(self.schema, connection)
        self.cache = Cache(namespace=f"oracle-{seed}")
        self.cache.attach(engine)
        engine.dispose()  # what has to be known of the database is asked on the first new connection
        for table in self.schema.tables:
            self.cache.policy(table)
        self.cache.declare(self.schema.view, depends_on=[self.schema.a, self.schema.b])
        self.pool: list[Read] = Reads(self.schema, rng).pool(POOL, reads)
        self.slots: dict[int, _Slot] = {}
        self.log: list[str] = []
        self.committed: list[tuple[str, Touched]] = []
        self.known: dict[int, Any] = {}

    # --------------------------------------------------------------------------------------------------- running

    def run(self, steps: Sequence[int]) -> None:
        """Perform these steps.

        Raises:
            DifferenceError: a cached read differs.
        """
        self.figures.programs += 1
        self.check()
        for step in steps:
            self.figures.steps += 1
            self.step(Random(f"step {self.seed} {step}"), step)
            self.check()

    def close(self) -> None:
        for slot in self.slots.values():
            slot.session.close()
        self.cache.close()
        with self.engine.begin() as connection:
            drop(self.schema, connection)
        self.schema.close()

    def step(self, rng: Random, number: int) -> None:
        name = int(rng.random() < 0.12)
        if self.engine.dialect.name == "sqlite" and rng.random() < 0.8:
            # There is one writer at a time: let it be the one that is writing already.
            name = next((number for number, slot in self.slots.items() if slot.done), name)
        nested = name in self.slots and self.slots[name].session.in_nested_transaction()
        action = _draw(rng, _IN_SAVEPOINT if nested else _ACTIONS)
        if action == "alone":
            name = 2
        self.log.append(f"{number}: {action} in session {name}")
        slot = self.slots.get(name)
        if slot is None:
            if action not in {"write", "alone", "savepoint"}:
                action = "write"
            slot = self.slots[name] = _Slot(Session(self.engine))
        try:
            self.act(action, slot, rng)
        except (SQLAlchemyError, KeyError) as exc:  # KeyError: SQLAlchemy's own, for a row that text has changed
            self.log[-1] += f" ✗ {type(exc).__name__}"
            self.figures.refused[type(exc).__name__] += 1
            self.end(name, slot, commit=False)
            if action in {"commit", "alone"}:
                # A COMMIT that fails releases its holds: what it touched is unusable, whatever became of it.
                self.committed = [("refused", None)]
        else:
            if action in {"commit", "alone"}:
                self.end(name, slot, commit=True)
            elif action == "rollback":
                self.end(name, slot, commit=False)

    def end(self, name: int, slot: _Slot, *, commit: bool) -> None:
        if not commit:
            slot.session.rollback()
        slot.session.close()
        del self.slots[name]
        if commit:
            self.committed = slot.done

    def act(self, action: str, slot: _Slot, rng: Random) -> None:
        session = slot.session
        nested = session.get_nested_transaction()
        if action in {"write", "alone"}:
            self.write(slot, rng)
        elif action == "savepoint":
            session.begin_nested()
        elif action == "release" and nested is not None:
            nested.commit()
            if self.engine.dialect.name == "sqlite":
                # Without a transaction around it the release commits, and is guarded as if it did.
                self.committed = list(slot.done)
        elif action == "undo" and nested is not None:
            nested.rollback()  # what was undone is touched all the same
        elif action == "rollback":
            session.rollback()
        if action in {"commit", "alone"}:
            session.commit()

    def write(self, slot: _Slot, rng: Random) -> None:
        draw = Writes(self.schema, rng)
        name, perform = draw.draw(rng.choice(self.only) if self.only else None)
        self.log[-1] += f": {name}"
        slot.done.append((name, None))  # until it is known better
        before = content_of(self.schema.tables, slot.session.connection())
        named = perform(slot.session)
        slot.session.flush()
        if named is not None:
            after = content_of(self.schema.tables, slot.session.connection())
            slot.done[-1] = name, all_touched(named, before, after)
        self.figures.writes[name] += 1
        self.check_own(slot.session, rng)

    # -------------------------------------------------------------------------------------------------- checking

    def check_own(self, session: Session, rng: Random) -> None:
        """The writing session sees what it wrote."""
        for read in rng.sample(self.pool, OWN):
            session.expire_all()
            got = read.run(session)
            session.expire_all()
            with self.cache.disabled():
                want = read.run(session)
            self.figures.own += 1
            self.compare(read, got, want, "the writing session")

    def check(self) -> None:
        """Everybody else sees what is committed, and is served what no committed write concerned."""
        for number, read in enumerate(self.pool):
            before = self.cache.stats()
            with Session(self.engine) as session:
                got = read.run(session)
            after = self.cache.stats()
            want = self.want(number, read)
            self.figures.compared += 1
            self.compare(read, got, want, "another session")
            served = after.misses == before.misses
            self.figures.hits += served
            if number in self.known:
                self.judge(read, self.known[number], got, served=served)
            self.known[number] = got
        self.committed = []

    def want(self, number: int, read: Read) -> Any:
        """Return what the database holds for everybody: what it held before, if nothing was committed since."""
        if not self.committed and number in self.known:
            return self.known[number]
        with Session(self.engine) as session, self.cache.disabled():
            return read.run(session)

    def compare(self, read: Read, got: Any, want: Any, who: str) -> None:
        if got != want or repr(got) != repr(want):
            raise DifferenceError(f"{read.name} in {who}\n  cached   {got}\n  database {want}\n{self.story()}")

    def judge(self, read: Read, before: Any, got: Any, *, served: bool) -> None:
        """Count an entry that was made unusable although its result did not change."""
        cause = "+".join(sorted({name for name, _ in self.committed}))
        touched = [rows for _, rows in self.committed]
        known = [row for rows in touched if rows is not None for row in rows]
        if read.needs is not None and None not in touched and not concerned(read.needs, known, rows=bool(before)):
            self.figures.pinned += 1
            self.figures.lost[f"{read.name} after {cause}"] += not served
            if not served:
                raise DifferenceError(
                    f"{read.name} needs {read.needs} and was not served after {known}\n{self.story()}"
                )
        if not served and before == got:
            several = "several writes" if len(self.committed) > 1 else "nothing"
            self.figures.needless[cause if len(self.committed) == 1 else several] += 1

    def story(self) -> str:
        return "\n".join([f"schema: {self.schema.shown}", *self.log])


@contextmanager
def program(
    seed: int, engine: Engine, figures: Figures, writes: Sequence[str] = (), reads: str = ""
) -> Generator[Program]:
    made = Program(seed, engine, figures, writes=writes, reads=reads)
    try:
        yield made
    finally:
        made.close()


def shortened(seed: int, steps: Sequence[int], engine: Engine, writes: Sequence[str]) -> tuple[list[int], str]:
    """Leave out steps of a failing program as long as it fails; return the rest, and how it fails."""
    kept, message = list(steps), ""
    for step in [None, *reversed(kept)]:
        fewer = [each for each in kept if each != step]
        try:
            with program(seed, engine, Figures(), writes) as again:
                again.run(fewer)
        except DifferenceError as exc:
            kept, message = fewer, str(exc)
    return kept, message


def explore(
    seed: int, steps: int | Sequence[int], engine: Engine, figures: Figures, writes: Sequence[str] = ()
) -> None:
    """Run the program of a seed; a difference is reported with the shortest program that was found for it.

    Raises:
        DifferenceError: with a REPLAY line for `test_replay`.
    """
    numbers = range(steps) if isinstance(steps, int) else steps
    try:
        with program(seed, engine, figures, writes) as first:
            first.run(numbers)
    except DifferenceError as exc:
        kept, message = shortened(seed, numbers, engine, writes)
        where = engine.dialect.name
        text = ",".join(map(str, kept))
        raise DifferenceError(f"{message or exc}\nREPLAY={where}:{seed}:{text}") from None
