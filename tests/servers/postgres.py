"""PostgreSQL 18, from the wheel; and one with ICU, where the machine has it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rowstamp.testing.servers import PostgresReplica, PostgresServer
from tests.servers.support import Database, Databases, find_program

_REMEDY = "apt-get install postgresql"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_replica(postgres_server: PostgresServer) -> Iterator[PostgresReplica]:
    """A streaming replica of that server."""
    with PostgresReplica(postgres_server) as replica:
        yield replica


def make_icu_server() -> PostgresServer:
    """Return a server of a distribution, built with ICU, that is not started yet; or skip the test."""
    # Debian keeps each version in a folder of its own, and none of them on the PATH.
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return PostgresServer(programs=find_program("initdb", *folders, remedy=_REMEDY).parent)


@pytest.fixture(scope="session")
def icu_server() -> Iterator[PostgresServer]:
    with make_icu_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: PostgresServer) -> Iterator[Databases]:
    """Copying the template's files takes 24 ms, PostgreSQL's usual way (through the log) 41 ms."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        yield Databases(
            postgres_server,
            lambda sql: connection.execute(sql.encode()),
            create="CREATE DATABASE {} STRATEGY file_copy",
            drop="DROP DATABASE {} WITH (FORCE)",
        )


@pytest.fixture
def postgres_database(postgres_databases: Databases) -> Iterator[Database]:
    """An empty database for one test; a fixture of wider scope takes one from `postgres_databases.fresh()`."""
    with postgres_databases.fresh() as database:
        yield database
