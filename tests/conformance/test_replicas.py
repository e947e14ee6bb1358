"""Read replicas: served what the primary filled, and not believed when they may be behind."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from rowstamp import Cache, ConfigurationError
from rowstamp.contrib.postgres import postgres_caught_up
from rowstamp.testing.servers import PostgresReplica, PostgresServer
from tests.conformance.conftest import POSTGRES
from tests.conformance.models import Product, Tag
from tests.harness import Env, Target, everything, read, sync_engine, watching

NAMES = select(Product.name).order_by(Product.id)
TAGS = everything(Tag)


class Replication:
    """A primary and its streaming replica; the replica can be made to fall behind."""

    def __init__(self, primary: str, replica: str) -> None:
        self._primary = psycopg.connect(primary, autocommit=True)
        self._replica = psycopg.connect(replica, autocommit=True)

    def wait(self) -> None:
        """Wait until the replica has applied what the primary has written."""
        row = self._primary.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        deadline = time.monotonic() + 30
        while not self._one("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row):
            assert time.monotonic() < deadline, "the replica does not follow"
            self._one("SELECT pg_sleep(0.005)")  # it has no way to tell when

    @contextmanager
    def paused(self) -> Generator[None]:
        """Let the replica apply nothing for a while."""
        self.wait()
        self._one("SELECT pg_wal_replay_pause()")
        while self._one("SELECT pg_get_wal_replay_pause_state()") != "paused":
            self._one("SELECT pg_sleep(0.005)")
        try:
            yield
        finally:
            self._one("SELECT pg_wal_replay_resume()")

    def _one(self, sql: str, parameters: Any = None) -> Any:
        row = self._replica.execute(sql.encode(), parameters).fetchone()
        assert row is not None
        return row[0]

    def close(self) -> None:
        self._primary.close()
        self._replica.close()


@pytest.fixture
def replication(
    postgres_env: Env, postgres_server: PostgresServer, postgres_replica: PostgresReplica
) -> Generator[Replication]:
    found = Replication(postgres_server.url(database="shop"), postgres_replica.url(database="shop"))
    found.wait()
    yield found
    found.close()


def attach_replica(env: Env, server: PostgresReplica, *, fills: bool) -> Target:
    target = env.new_engine(server.url(env.backend.driver, "shop"))
    env.cache.attach(target, role="replica", caught_up=postgres_caught_up(env.plain) if fills else None)
    return target


def rows_of(env: Env, target: Target, statement: Any = NAMES) -> list[Any]:
    with env.open_session(target) as session:
        return read(session, statement)


def served_by(env: Env, target: Target, statement: Any = NAMES) -> bool:
    with watching(sync_engine(target)) as traffic:
        rows_of(env, target, statement)
    return not traffic.statements


@pytest.mark.parametrize("fills", [False, True], ids=["without caught_up", "with caught_up"])
def test_a_replica_that_is_behind_never_fills(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication, fills: bool
) -> None:
    """It reads the old row while the primary's commit is known to all: nobody else is given that row."""
    env = postgres_env
    replica = attach_replica(env, postgres_replica, fills=fills)
    with replication.paused():
        with env.transaction() as session:
            session.get_one(Product, 1).name = "new"
        assert rows_of(env, replica)[0] == ("atlas",), "the replica is not behind"
        assert env.rows(NAMES)[0] == ("new",)


def test_a_replica_without_caught_up_never_fills(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication
) -> None:
    """Nobody knows how old it is, so that nothing of it is stored, and the reason is counted."""
    env = postgres_env
    replica = attach_replica(env, postgres_replica, fills=False)
    assert [served_by(env, replica) for _ in range(3)] == [False] * 3
    assert set(env.cache.stats().bypasses) == {"a replica may be older than the stamps"}


def test_a_replica_that_has_caught_up_fills(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication
) -> None:
    """Its rows are those of the primary: both are served them, until the primary writes."""
    env = postgres_env
    replica = attach_replica(env, postgres_replica, fills=True)
    for name in ("atlas", "new"):
        assert rows_of(env, replica)[0] == (name,)
        assert served_by(env, replica)
        assert env.served(NAMES)
        with env.transaction() as session:
            session.get_one(Product, 1).name = "new"
            session.get_one(Product, 1).stock += 1
        replication.wait()


def test_a_replica_is_served_what_the_primary_filled(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication
) -> None:
    """Though it may be newer than what the replica itself would say."""
    env = postgres_env
    replica = attach_replica(env, postgres_replica, fills=False)
    rows_of(env, replica, select(Product.id))  # its first connection tells the default schema
    with replication.paused():
        with env.transaction() as session:
            session.get_one(Product, 1).name = "new"
        env.warm(NAMES)
        assert served_by(env, replica)
        assert rows_of(env, replica)[0] == ("new",)


def test_a_snapshot_of_a_replica_never_fills(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication
) -> None:
    """The question whether it has caught up would take the snapshot, which then is older than the answer."""
    env = postgres_env
    target = env.new_engine(postgres_replica.url(env.backend.driver, "shop"), isolation_level="REPEATABLE READ")
    env.cache.attach(target, role="replica", caught_up=postgres_caught_up(env.plain))
    for _ in range(2):
        rows_of(env, target)
    assert not env.served(NAMES)


@pytest.mark.parametrize("fills", [False, True], ids=["without caught_up", "with caught_up"])
@pytest.mark.parametrize("postgres_env", POSTGRES[:1], ids=str, indirect=True)
def test_a_function_that_reads_a_replica(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication, fills: bool
) -> None:
    """Its result is stored only if the replica has caught up with each of its statements."""
    env = postgres_env
    replica = attach_replica(env, postgres_replica, fills=fills)
    calls: list[int] = []

    @cast("Cache", env.cache.real).query()
    def first_name(session: Session) -> str:
        calls.append(1)
        return session.scalars(NAMES).all()[0]

    def ask() -> str:
        with env.open_session(replica) as session:
            return first_name(session)

    rows_of(env, replica)
    with replication.paused():
        with env.transaction() as session:
            session.get_one(Product, 1).name = "new"
        assert [ask(), ask()] == ["atlas", "atlas"]
    replication.wait()
    calls.clear()
    assert [ask(), ask()] == ["new", "new"]
    assert len(calls) == (1 if fills else 2)


def test_a_primary_that_cannot_be_asked(
    postgres_env: Env, postgres_replica: PostgresReplica, replication: Replication
) -> None:
    """The query goes on without it, and nothing is stored."""
    env = postgres_env

    def unreachable(_connection: Any) -> bool:
        msg = "no route to the primary"
        raise ConnectionError(msg)

    target = env.new_engine(postgres_replica.url(env.backend.driver, "shop"))
    env.cache.attach(target, role="replica", caught_up=unreachable)
    assert rows_of(env, target) == env.truth(NAMES)
    assert not served_by(env, target)


def test_caught_up_is_asked_between_stamps_and_query(env: Env) -> None:
    """A write that comes in between is seen: what was read before it is not valid after it."""
    moments: list[list[str]] = []
    target = env.new_engine()

    def caught_up(_connection: Any) -> bool:
        moments.append([*env.store.calls[known:], f"{len(traffic)} sent"])
        return True

    env.cache.attach(target, role="replica", caught_up=caught_up)
    rows_of(env, target, TAGS)
    env.cache.clear()
    moments.clear()
    known = len(env.store.calls)
    with watching(sync_engine(target)) as traffic:
        rows_of(env, target)
        assert len(moments) == 1
        assert moments[0][-1] == "0 sent"
        assert len(moments[0]) > 1, "the stamps were not captured yet"
    assert served_by(env, target)


def test_writes_through_a_replica_are_noticed(env: Env) -> None:
    """An engine that is called a replica and writes all the same."""
    target = env.new_engine()
    env.cache.attach(target, role="replica")
    with env.change_of(NAMES), env.open_session(target) as session:
        session.get_one(Product, 1).name = "written"
        session.commit()


def test_two_primaries_of_that_name(postgres_env: Env, postgres_replica: PostgresReplica) -> None:
    """Which one a replica follows has to be said if it is to fill."""
    env = postgres_env
    other = env.new_engine()
    env.cache.attach(other, database="another")
    target = env.new_engine(postgres_replica.url(env.backend.driver, "shop"))
    with pytest.raises(ConfigurationError, match="of which database"):
        env.cache.attach(target, role="replica", caught_up=lambda _: True)
    env.cache.attach(target, role="replica", caught_up=lambda _: True, database="another")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"role": "standby"}, "role='standby' is unknown: give 'primary' or 'replica'"),
        ({"caught_up": bool}, "give role='replica' too"),
        ({"role": "replica", "caught_up": True}, "caught_up=True cannot be called"),
    ],
)
def test_mistakes(env: Env, options: Any, message: str) -> None:
    """Each is an error at once, which says what to give instead."""
    with pytest.raises(ConfigurationError, match=message):
        env.cache.attach(env.new_engine(), **options)


def test_only_postgresql_has_positions(sqlite_env: Env) -> None:
    """The ready-made comparison is for PostgreSQL."""
    with pytest.raises(ConfigurationError, match="no engine of PostgreSQL"):
        postgres_caught_up(sqlite_env.plain)
