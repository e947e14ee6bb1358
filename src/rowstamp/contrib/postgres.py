"""PostgreSQL: tell whether a streaming replica has applied what its primary has committed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from rowstamp.errors import ConfigurationError

__all__ = ["postgres_caught_up"]


def postgres_caught_up(primary: Engine | AsyncEngine) -> Callable[[Any], bool]:
    """Return a ``caught_up`` for ``attach(replica, role="replica")`` that compares positions in the write-ahead log.

    It asks the primary for the position up to which it has written (one statement on a connection of its pool), then the replica
    whether it has replayed as much. All that the primary had committed when it was asked lies before that position.

    Args:
        primary: an engine of the primary, synchronous or asynchronous as the replica's.

    Raises:
        ConfigurationError: the engine is not one of PostgreSQL.

    After a failover point ``primary`` and the replicas at the same new primary before reading on: positions of two histories cannot be compared.
    """
    engine = primary.sync_engine if isinstance(primary, AsyncEngine) else primary
    if engine.dialect.name != "postgresql":
        msg = f"{primary!r} is no engine of PostgreSQL: write a caught_up of your own"
        raise ConfigurationError(msg)

    def caught_up(replica: Any) -> bool:
        with closing(engine.raw_connection()) as connection:
            # What is inserted, not what is flushed: with synchronous_commit=off a commit returns before it is flushed.
            committed = _ask(connection, "SELECT pg_current_wal_insert_lsn()::text")
        # A server that is no longer a replica has stopped counting.
        replayed = _ask(replica, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END")
        return committed is not None and replayed is not None and _number(replayed) >= _number(committed)

    return caught_up


def _ask(connection: Any, sql: str) -> str | None:
    """Ask on the driver's own connection: the cache has nothing to do with it."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        answer: str | None = cursor.fetchone()[0]
        return answer
    finally:
        cursor.close()


def _number(position: str) -> int:
    high, low = position.split("/")
    return (int(high, 16) << 32) + int(low, 16)
