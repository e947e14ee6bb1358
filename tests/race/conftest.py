from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rowstamp.testing.servers import ValkeyServer
from tests.race.arena import ArenaProcess
from tests.race.spec import Spec
from tests.servers.cluster import Cluster
from tests.servers.support import Database
from tests.servers.valkey import settled

SEED: Final = 20240229


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("tests.race.figures"):
        config.pluginmanager.import_plugin("tests.race.figures")


@pytest.fixture(scope="session")
def arena() -> Iterator[ArenaProcess]:
    with ArenaProcess() as arena:
        yield arena


# A database is given as the arguments of `Spec` that lead to it, a store as its URL. What is added here joins every race.


def _sqlite(request: pytest.FixtureRequest, journal: str) -> dict[str, Any]:
    path: Path = request.getfixturevalue("tmp_path") / "race.db"
    return {"database": f"sqlite:///{path}", "async_database": f"sqlite+aiosqlite:///{path}", "journal": journal}


def _postgresql(request: pytest.FixtureRequest) -> dict[str, Any]:
    database: Database = request.getfixturevalue("postgres_database")
    return {"database": database.url("psycopg"), "async_database": database.url("asyncpg")}


def _mariadb(request: pytest.FixtureRequest) -> dict[str, Any]:
    database: Database = request.getfixturevalue("mariadb_database")
    return {"database": database.url("pymysql"), "async_database": database.url("asyncmy")}


DATABASES: Final[dict[str, Callable[[pytest.FixtureRequest], dict[str, Any]]]] = {
    "sqlite-wal": lambda request: _sqlite(request, "WAL"),
    "sqlite-journal": lambda request: _sqlite(request, "DELETE"),
    "postgresql": _postgresql,
    "mariadb": _mariadb,
}


def _memory(_: pytest.FixtureRequest) -> str:
    return "memory://"


def _lmdb(request: pytest.FixtureRequest) -> str:
    path: Path = request.getfixturevalue("tmp_path") / "lmdb"
    return f"lmdb://{path}"


def _valkey(request: pytest.FixtureRequest) -> str:
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    return settled(server.url())


def _redis(request: pytest.FixtureRequest) -> str:
    server: ValkeyServer = request.getfixturevalue("redis_server")
    return settled(server.url())


def _cluster(request: pytest.FixtureRequest) -> str:
    cluster: Cluster = request.getfixturevalue("valkey_cluster")
    return cluster.settled()


STORES: Final[dict[str, Callable[[pytest.FixtureRequest], str]]] = {
    "memory": _memory,
    "lmdb": _lmdb,
    "valkey": _valkey,
    "redis": _redis,
    "cluster": _cluster,
}


@pytest.fixture(params=list(DATABASES))
def database(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DATABASES[request.param](request)


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> str:
    return STORES[request.param](request)


@pytest.fixture
def spec(request: pytest.FixtureRequest, database: dict[str, Any], store: str) -> Callable[..., Spec]:
    """Makes the description of a race on a database and a store."""
    ids = request.node.callspec.id

    def make(**options: Any) -> Spec:
        given: dict[str, Any] = {"name": ids, "seed": SEED, "store": store, **database, **options}
        return Spec(**given)

    return make
