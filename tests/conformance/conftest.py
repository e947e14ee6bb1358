"""Runs every scenario on each driver: `env` on all of them, `sqlite_env` and the like where only one database can."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pymysql
import pytest
from pymysql.constants import CLIENT
from sqlalchemy import create_engine

from rowstamp.analysis import tables
from rowstamp.testing.servers import PostgresServer
from tests.conformance.models import COUNTED, FIRST_GENERATED, Base, build
from tests.harness import Backend, Env
from tests.servers.mariadb import MariaDBServer

# On the other line of SQLAlchemy each database is met once more, and each of the two ways to wait, but not every driver.
SQLITE = [
    Backend("sqlite", "pysqlite", asynchronous=False),
    Backend("sqlite", "aiosqlite", asynchronous=True, awaited_store=True),
]
PSYCOPG_ASYNC = Backend("postgresql", "psycopg", asynchronous=True, id="psycopg_async", once=True)
POSTGRES = [
    Backend("postgresql", "psycopg", asynchronous=False),
    PSYCOPG_ASYNC,
    Backend("postgresql", "asyncpg", asynchronous=True, awaited_store=True),
]
MARIADB = [
    Backend("mariadb", "pymysql", asynchronous=False),
    Backend("mariadb", "asyncmy", asynchronous=True, awaited_store=True, once=True),
]


@pytest.hookimpl(tryfirst=True)  # before marks are chosen from
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        # SQLite has no decimals, and SQLAlchemy says so wherever one is bound.
        item.add_marker(pytest.mark.filterwarnings("ignore:Dialect sqlite.+ does .not. support Decimal"))
        given: dict[str, object] = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        if any(isinstance(each, Backend) and each.once for each in given.values()):
            item.add_marker(pytest.mark.once)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a scenario where it may use the database: on an asynchronous driver, inside SQLAlchemy's greenlet."""
    env = next((value for value in pyfuncitem.funcargs.values() if isinstance(value, Env)), None)
    if env is None or inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    env.call(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(autouse=True)
def no_tables_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what earlier scenarios have shown: a namesake of a table, in metadata of its own, rightly costs precision."""
    monkeypatch.setattr(tables, "_known", type(tables._known)())


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "template.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        build(connection)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_shop(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the shop's database, which all tests of a worker use one after the other: copying takes 0.7 s."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE shop")
    engine = create_engine(postgres_server.url("psycopg", "shop"))
    with engine.begin() as connection:
        build(connection)
        connection.exec_driver_sql("CREATE SCHEMA seed")
        for table in Base.metadata.sorted_tables:
            connection.exec_driver_sql(f"CREATE TABLE seed.{table.name} AS TABLE public.{table.name}")
    engine.dispose()
    with psycopg.connect(postgres_server.url(database="shop"), autocommit=True) as owner:
        yield owner


@pytest.fixture(scope="session")
def mariadb_shop(mariadb_server: MariaDBServer) -> Iterator[pymysql.Connection[Any]]:
    """The same on MariaDB, where the first rows are kept in a database of their own."""
    owner = pymysql.connect(
        unix_socket=str(mariadb_server.socket_path),
        user="root",
        autocommit=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
    )
    with owner:
        _run(owner, "CREATE DATABASE shop; CREATE DATABASE seed")
        engine = create_engine(mariadb_server.url("pymysql", "shop"))
        with engine.begin() as connection:
            build(connection)
            for name in _TABLES:
                connection.exec_driver_sql(f"CREATE TABLE seed.{name} AS SELECT * FROM {name}")
        engine.dispose()
        owner.select_db("shop")
        yield owner


def _run(connection: pymysql.Connection[Any], sql: str) -> None:
    """Run several statements in one round trip."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        while cursor.nextset():
            pass


_TABLES = [table.name for table in Base.metadata.sorted_tables]
_RESTORE = f"""
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND
        nspname NOT IN ('public', 'seed', 'information_schema')
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND
        NOT tablename = ANY ('{{{",".join(_TABLES)}}}')
    LOOP EXECUTE format('DROP TABLE IF EXISTS public.%I CASCADE', name); END LOOP;
END $$;
{"".join(f"DELETE FROM {name};" for name in reversed(_TABLES))}
{"".join(f"INSERT INTO {name} TABLE seed.{name};" for name in _TABLES)}
SELECT {", ".join(f"setval('{name}_id_seq', {FIRST_GENERATED - 1})" for name in COUNTED)};
"""  # one round trip; TRUNCATE would take 100 ms


_RESTORE_MARIADB = f"""
BEGIN NOT ATOMIC
    FOR made IN (SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name NOT IN
        ('shop', 'seed', 'mysql', 'sys', 'information_schema', 'performance_schema'))
    DO EXECUTE IMMEDIATE CONCAT('DROP DATABASE `', made.name, '`'); END FOR;
    SET foreign_key_checks = 0;
    FOR made IN (SELECT table_name AS name, IF(table_type = 'VIEW', 'VIEW', 'TABLE') AS kind
        FROM information_schema.tables WHERE table_schema = 'shop' AND table_name NOT IN ('{"','".join(_TABLES)}'))
    DO EXECUTE IMMEDIATE CONCAT('DROP ', made.kind, ' `', made.name, '`'); END FOR;
    {"".join(f"DELETE FROM {name}; INSERT INTO {name} SELECT * FROM seed.{name};" for name in _TABLES)}
    SET foreign_key_checks = 1;
    FOR used IN (SELECT table_name AS name FROM information_schema.tables
        WHERE table_schema = 'shop' AND auto_increment <> {FIRST_GENERATED})
    DO EXECUTE IMMEDIATE CONCAT('ALTER TABLE `', used.name, '` AUTO_INCREMENT = {FIRST_GENERATED}'); END FOR;
END;
"""  # one round trip; a counter is put back only where it was used, for that takes 3 ms


def _sqlite_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    template: Path = request.getfixturevalue("sqlite_template")
    tmp_path: Path = request.getfixturevalue("tmp_path")
    shutil.copyfile(template, tmp_path / "shop.db")
    return f"sqlite+{backend.driver}:///{tmp_path / 'shop.db'}"


def _postgres_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    shop: psycopg.Connection[Any] = request.getfixturevalue("postgres_shop")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    shop.execute(_RESTORE.encode())
    return server.url(backend.driver, "shop")


def _mariadb_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    shop: pymysql.Connection[Any] = request.getfixturevalue("mariadb_shop")
    server: MariaDBServer = request.getfixturevalue("mariadb_server")
    _run(shop, _RESTORE_MARIADB)
    return server.url(backend.driver, "shop")


_URLS = {"sqlite": _sqlite_url, "postgresql": _postgres_url, "mariadb": _mariadb_url}


def database_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    """Return the URL of a shop as it is in the beginning."""
    return _URLS[backend.dialect](request, backend)


def environment(request: pytest.FixtureRequest) -> Generator[Env]:
    """Make a shop on the backend that is the fixture's parameter, and close it."""
    backend = cast("Backend", request.param)
    env = Env(backend, database_url(request, backend), request.getfixturevalue("runner"))
    yield env
    env.call(env.close)


# What is no more PostgreSQL's than any other database's has psycopg to go through, and asyncpg's way to wait.
EVERYWHERE = [
    pytest.param(each, marks=pytest.mark.deep) if each is PSYCOPG_ASYNC else each
    for each in SQLITE + POSTGRES + MARIADB
]


@pytest.fixture(params=EVERYWHERE, ids=str)
def env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from environment(request)


@pytest.fixture(params=SQLITE, ids=str)
def sqlite_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from environment(request)


@pytest.fixture(params=POSTGRES, ids=str)
def postgres_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from environment(request)


@pytest.fixture(params=POSTGRES + MARIADB, ids=str)
def snapshot_env(request: pytest.FixtureRequest) -> Generator[Env]:
    """Where a transaction can be given one snapshot for all that it reads."""
    yield from environment(request)


@pytest.fixture(params=SQLITE + POSTGRES, ids=str)
def returning_env(request: pytest.FixtureRequest) -> Generator[Env]:
    """Where UPDATE can return rows."""
    yield from environment(request)


@pytest.fixture(params=POSTGRES + MARIADB, ids=str)
def server_env(request: pytest.FixtureRequest) -> Generator[Env]:
    """Where there are stored functions and procedures, views can be written, and a commit can have two phases."""
    yield from environment(request)


@pytest.fixture(params=[each for each in SQLITE + POSTGRES + MARIADB if each.asynchronous], ids=str)
def async_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from environment(request)


@pytest.fixture(params=[each for each in SQLITE + POSTGRES + MARIADB if not each.asynchronous], ids=str)
def sync_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from environment(request)


@pytest.fixture(params=MARIADB, ids=str)
def mariadb_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from environment(request)
