"""Holds: taken in one round trip, released in one, ended by the store's clock; and what takes their place without a store."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select

from rowstamp import journal
from tests.conformance.models import Product, Tag, product
from tests.harness import Env, everything, sync_engine
from tests.tricks import OPERATIONS, Crash

NAMES = select(Product.name).order_by(Product.id)
TAGS = everything(Tag)


def test_two_round_trips_however_much_was_written(env: Env) -> None:
    """All holds are taken in one call before COMMIT, and released in one after it."""
    with env.session() as session:
        session.add_all([product(200 + number) for number in range(20)])
        session.get_one(Tag, 1).name = "changed"
        session.flush()
        del env.store.calls[:]
        session.commit()
    assert env.store.calls == ["hold", "release"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_no_round_trip_for_a_transaction_that_wrote_nothing(env: Env, end: str) -> None:
    """Transactions that only read do not hold; a rollback does not either."""
    with env.session() as session:
        session.get_one(Product, 1)
        if end == "rollback":
            session.add(product())
            session.flush()
        del env.store.calls[:]
        getattr(session, end)()
    assert env.store.calls == []


def test_an_abandoned_hold_ends_by_the_clock_and_stops_only_what_it_concerns(env: Env) -> None:
    """For ten seconds, by default, nobody is served what a dead writer had touched, and everybody all else."""
    env.warm(NAMES)
    env.warm(TAGS)

    def die() -> None:
        raise Crash

    env.store.before["release"].append(die)
    with env.new_node().session() as session:
        session.get_one(Product, 1).name = "last words"
        with pytest.raises(Crash):
            session.commit()
    assert env.served(TAGS)
    env.clock.advance(9.9)
    env.rows(NAMES)
    assert not env.served(NAMES)
    env.clock.advance(0.2)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.served(NAMES)


def test_what_is_filled_after_a_hold_has_ended_goes_with_the_release(env: Env) -> None:
    """A commit that outlives its holds: old rows that were filled before COMMIT under new tokens end all the same."""
    rows = env.warm(NAMES)
    seen: list[object] = []

    def outlive() -> None:
        env.clock.advance(11)
        seen.append(env.rows(NAMES))
        seen.append(env.served(NAMES))

    env.store.after["hold"].append(outlive)
    with env.transaction() as session:
        session.get_one(Product, 1).name = "late"
    assert seen == [rows, True], "the entry that must end was never there"
    assert env.rows(NAMES) == env.truth(NAMES) != rows
    assert env.cache.stats().late_commits == 1


# ---------------------------------------------------------------------------------------------- without a store


@contextmanager
def around_commit(env: Env, before: Callable[[], object], after: Callable[[], object]) -> Generator[Any]:
    """An engine of the cache that calls functions on either side of its next COMMIT."""
    target = env.new_engine()
    dialect: Any = sync_engine(target).dialect
    commit, left = dialect.do_commit, [before, after]

    def do_commit(connection: Any) -> None:
        if left:
            left.pop(0)()
        commit(connection)
        if left:
            left.pop(0)()

    dialect.do_commit = do_commit
    env.cache.attach(target)
    yield target
    assert not left


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_reader_during_a_commit_without_holds(env: Env, moment: str) -> None:
    """The store came back too late for the holds: the process's own readers are not served what was filled before COMMIT."""
    if env.dialect == "sqlite":
        with env.behind() as session:
            session.connection().exec_driver_sql("PRAGMA journal_mode=WAL")
    env.warm(NAMES)
    differing: list[object] = []

    def came_back() -> None:
        env.store.down = set()
        env.rows(NAMES)  # fills what COMMIT makes old

    def look() -> None:
        differing.extend(names for names in (env.rows(NAMES), env.rows(NAMES)) if names != env.truth(NAMES))

    before, after = (came_back, look) if moment == "after" else (look, came_back)
    with around_commit(env, before, after) as target, env.open_session(target) as session:
        env.store.down = {"hold"}
        session.get_one(Product, 1).name = "unheard"
        session.commit()
    assert differing == []
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.served(NAMES)


def test_more_than_the_journal_keeps(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too much could not be told, everything ends."""
    monkeypatch.setattr(journal, "JOURNAL_LIMIT", 3)
    env.warm(NAMES)
    env.warm(TAGS)
    env.store.down = set(OPERATIONS)
    with env.transaction() as session:
        session.add_all([product(200 + number) for number in range(3)])
    env.store.down = set()
    assert not env.served(TAGS)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.served(TAGS)


def test_ignoring_a_store_that_is_down(env: Env) -> None:
    """`on_store_down="ignore"` commits and tells nobody: old results stay until their time to live ends."""
    careless = env.new_node(on_store_down="ignore")
    rows = env.warm(NAMES)
    env.store.down = {"hold"}
    with careless.transaction() as session:
        session.get_one(Product, 1).name = "unheard"
    env.store.down = set()
    assert careless.rows(NAMES) == rows != env.truth(NAMES)
    env.clock.advance(301)
    assert careless.rows(NAMES) == env.truth(NAMES)
