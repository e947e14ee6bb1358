"""Old answers in random histories of the whole cache: who is given one, how old it is, and who never.

The exploration beside this has no clock, and old answers are about nothing else. So here real sessions read and write a database by a
clock that is set, some of them willing to be given old answers, and each answer is held against the history:

* what is not current is given only to a caller who asked for it, and only while the database is not there or a new one is loaded;
* it ceased to be current no longer ago than the caller allows, and a result that nobody changed is not served beyond its time either;
* whoever has written in his transaction sees that, or an error.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, NullPool, Table, create_engine, event, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from rowstamp import Cache, cached
from rowstamp.calls import lookups
from rowstamp.core import Core
from rowstamp.orm import session as orm_session
from rowstamp.orm.stale import old_rows
from rowstamp.protocol import SnapshotView
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock

pytestmark = pytest.mark.once

TTL = 20.0
ALLOWED = 30.0
STEPS = 40

metadata = MetaData()
counters = Table("counters", metadata, Column("id", Integer, primary_key=True), Column("version", Integer))


class Caller(NamedTuple):
    """A way to ask for the version, and what of old ones may be given."""

    how: str
    while_revalidate: float
    if_error: float

    @property
    def options(self) -> dict[str, Any]:
        """The same as options."""
        return {"stale_while_revalidate": self.while_revalidate, "stale_if_error": self.if_error}


# Whoever asks in the same way shares an entry, whatever he allows: functions too, for theirs have the same name.
CALLERS = [
    Caller(how, while_revalidate, if_error)
    for how in ("statement", "value", "function")
    for while_revalidate, if_error in ((0.0, 0.0), (ALLOWED, 0.0), (0.0, ALLOWED), (ALLOWED, ALLOWED))
    if how != "function" or not while_revalidate
]


class History:
    """A database that counts its changes, a cache of it, and when each version ceased to be current."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        self.engine, self.rng, self.clock = engine, rng, FakeClock()
        self.version, self.ended = 0, dict[int, float]()
        self.asking, self.loaded_at = "", dict[str, float]()
        self.gone = self.lost = False
        self.served_old = 0
        self.log: list[str] = []
        self.cache = Cache(MemoryStore(clock=self.clock), ttl=TTL)
        self.cache._core.wall_clock = self.cache._quick._clock = self.clock
        self.cache.attach(engine)
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "do_execute", self._execute)
        self.functions = {each: self._function(each) for each in CALLERS if each.how == "function"}

    def _connect(self, *_: Any) -> None:
        if self.gone:
            raise _not_there()

    def _execute(self, _cursor: object, statement: str, *_: Any) -> None:
        if self.lost:
            raise _not_there()
        if statement.startswith("SELECT"):
            self.loaded_at[self.asking] = self.clock()

    # ------------------------------------------------------------------------------------------------ steps

    def write(self) -> None:
        """Somebody commits."""
        if self.gone:
            return
        with self.engine.begin() as connection:
            connection.execute(update(counters).values(version=counters.c.version + 1))
        self.ended[self.version] = self.clock()
        self.version += 1

    def wait(self) -> None:
        """Time passes."""
        self.clock.advance(self.rng.choice([1, 9, 15, 25, 70]))

    def outage(self) -> None:
        """The database goes or comes back."""
        self.gone = not self.gone

    def read(self) -> None:
        """Somebody reads, in a transaction of his own."""
        caller = self.rng.choice(CALLERS)
        before, self.asking = self.cache.stats().stale_hits, caller.how
        try:
            with Session(self.engine) as session:
                found = self.ask(caller, session)
        except OperationalError:
            assert self.gone, f"{caller} was given an error without a reason"
            return
        finally:
            for thread in threading.enumerate():
                if thread.name == "rowstamp-load":
                    thread.join()
        self.judge(caller, found, old=self.cache.stats().stale_hits > before)

    def read_own(self) -> None:
        """Somebody reads what he has written and not committed; perhaps the connection is lost in between."""
        self.asking = ""
        caller = self.rng.choice([each for each in CALLERS if each.how != "value"])
        if self.gone:
            return
        with Session(self.engine) as session:
            session.execute(update(counters).values(version=-1))
            self.lost = self.rng.random() < 0.5
            try:
                found = self.ask(caller, session)
            except OperationalError:
                assert self.lost
            else:
                assert found == -1, f"{caller} was given {found} in place of its own write"
            finally:
                self.lost = False
                session.rollback()

    def run(self) -> None:
        """Make one history, and say it if something is wrong in it."""
        steps: list[Callable[[], None]] = [self.read] * 8 + [self.write, self.write, self.wait, self.wait, self.outage]
        with Session(self.engine) as session:
            session.scalar(select(counters.c.id), execution_options={"rowstamp": True})
        for _ in range(STEPS):
            step = self.rng.choice([*steps, self.read_own])
            self.log.append(f"{step.__name__}@{self.clock():g}")
            try:
                step()
            except AssertionError as exc:
                raise AssertionError(f"{exc}\n  after {' '.join(self.log)}") from exc

    # -------------------------------------------------------------------------------------------- questions

    def ask(self, caller: Caller, session: Session) -> int:
        """Return the version as a caller is told it."""
        if caller.how == "function":
            return int(self.functions[caller](session))
        if caller.how == "value":
            return int(self.cache.get_or_load("version", self._load, **caller.options))
        return _version(session, cached(**caller.options))

    def _load(self) -> int:
        with Session(self.engine) as session:
            return _version(session)

    def _function(self, caller: Caller) -> Any:
        @self.cache.query(stale_if_error=caller.if_error)
        def version(session: Session) -> int:
            return _version(session)

        version._quick._clock = self.clock
        return version

    def judge(self, caller: Caller, found: int, *, old: bool) -> None:
        """Hold an answer against the history."""
        self.served_old += old
        longest = max(caller.while_revalidate, caller.if_error if self.gone else 0.0)
        if old:
            assert longest, f"{caller} did not ask for an old answer"
        lived = self.clock() - self.loaded_at[caller.how]
        assert old or lived <= TTL, f"{caller} was given as a hit what was loaded {lived:g} s ago"
        if found == self.version:
            return
        assert old, f"{caller} was given {found} for {self.version} as a hit"
        age = self.clock() - self.ended[found]
        assert age <= longest, f"{caller} was given what had changed {age:g} s ago"


def _version(session: Session, *options: cached) -> int:
    found: int = session.scalars(select(counters.c.version).options(*options)).one()  # pyright: ignore[reportAssignmentType]
    return found


def _not_there() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


@contextmanager
def database(folder: Path) -> Generator[Engine]:
    engine = create_engine(f"sqlite:///{folder}/counters.db", poolclass=NullPool)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(counters.insert().values(id=1, version=0))
    try:
        yield engine
    finally:
        engine.dispose()


def histories(folder: Path, number: int) -> int:
    """Make so many histories; return how many old answers were given."""
    served = 0
    for seed in range(number):
        with database(folder) as engine:
            history = History(engine, random.Random(seed))
            with history.cache:
                history.run()
            served += history.served_old
    return served


def test_old_answers_go_to_those_who_asked_for_as_long_as_they_allow(tmp_path: Path) -> None:
    assert histories(tmp_path, 8) > 10


# ------------------------------------------------------------------------------------------------------ weakened


def serves_whatever_its_age(patch: pytest.MonkeyPatch) -> None:
    """Wrong: an old answer has no end."""
    _with_seconds(patch, lambda seconds: 1e9 if seconds else 0.0)


def serves_who_did_not_ask(patch: pytest.MonkeyPatch) -> None:
    """Wrong: everybody is willing."""
    _with_seconds(patch, lambda seconds: seconds or ALLOWED)


def _with_seconds(patch: pytest.MonkeyPatch, change: Callable[[float], float]) -> None:
    value, rows = lookups.Lookups.old_value, old_rows
    patch.setattr(
        lookups.Lookups, "old_value", lambda self, call, missed, seconds: value(self, call, missed, change(seconds))
    )
    patch.setattr(orm_session, "old_rows", lambda core, prepared, seconds: rows(core, prepared, change(seconds)))


def counts_from_the_end_of_its_time(patch: pytest.MonkeyPatch) -> None:
    """Wrong: of a result that was changed, too, though it may have been changed just after it was loaded."""
    value, rows = lookups.Lookups.old_value, old_rows
    patch.setattr(
        lookups.Lookups,
        "old_value",
        lambda self, call, missed, seconds: value(self, call, replace(missed, unchanged=True), seconds),
    )
    patch.setattr(
        orm_session, "old_rows", lambda core, prepared, seconds: rows(core, replace(prepared, unchanged=True), seconds)
    )


def forgets_what_the_transaction_has_written(patch: pytest.MonkeyPatch) -> None:
    """Wrong: a session that has written is given what others are. (SQLite's snapshots are told apart by themselves.)"""
    patch.setattr(orm_session, "_state", lambda _connection: None)
    patch.setattr(orm_session, "snapshot_view", lambda *_: SnapshotView.PER_STATEMENT)


def takes_what_lingers_for_a_hit(patch: pytest.MonkeyPatch) -> None:
    """Wrong: what is kept for those who may be served it old is a hit for all."""
    patch.setattr(Core, "is_over", lambda _self, _stored: False)


@pytest.mark.parametrize(
    "weaken",
    [
        serves_whatever_its_age,
        serves_who_did_not_ask,
        counts_from_the_end_of_its_time,
        forgets_what_the_transaction_has_written,
        takes_what_lingers_for_a_hit,
    ],
)
def test_weaker_rules_are_noticed(tmp_path: Path, weaken: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        weaken(patch)
        with pytest.raises(AssertionError, match=r"was given|did not ask"):
            histories(tmp_path, 40)
