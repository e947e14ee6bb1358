"""Engines for the oracle, on which nothing waits for a lock."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event

from tests.servers.support import Databases


@contextmanager
def sqlite_engine(path: Path) -> Generator[Engine]:
    """An engine on a new file; a locked write fails at once."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})

    def connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.close()

    event.listen(engine, "connect", connected)
    yield engine
    engine.dispose()


@contextmanager
def postgres_engine(databases: Databases) -> Generator[Engine]:
    """An engine on a new database; a locked write fails after a moment."""
    with databases.fresh() as database:
        engine = create_engine(database.url("psycopg"), connect_args={"options": "-c lock_timeout=20"})
        yield engine
        engine.dispose()
