"""Runs every scenario on each driver: `env` on all of them, `sqlite_env` and `postgres_env` where only one database can."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import create_engine

from rowstamp.testing.servers import PostgresServer
from tests.conformance.models import COUNTED, Base, build
from tests.harness import Backend, Env

SQLITE = [
    Backend("sqlite", "pysqlite", asynchronous=False),
    Backend("sqlite", "aiosqlite", asynchronous=True, awaited_store=True),
]
POSTGRES = [
    Backend("postgresql", "psycopg", asynchronous=False),
    Backend("postgresql", "psycopg", asynchronous=True, id="psycopg_async"),
    Backend("postgresql", "asyncpg", asynchronous=True, awaited_store=True),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # SQLite has no decimals, and SQLAlchemy says so wherever one is bound.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:Dialect sqlite.+ does .not. support Decimal"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a scenario where it may use the database: on an asynchronous driver, inside SQLAlchemy's greenlet."""
    env = next((value for value in pyfuncitem.funcargs.values() if isinstance(value, Env)), None)
    if env is None or inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    env.call(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})
    return True


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


_TABLES = [table.name for table in Base.metadata.sorted_tables]
_RESTORE = f"""
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND
        nspname NOT IN ('public', 'seed', 'information_schema')
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND
        NOT tablename = ANY ('{{{",".join(_TABLES)}}}')
    LOOP EXECUTE format('DROP TABLE public.%I CASCADE', name); END LOOP;
END $$;
{"".join(f"DELETE FROM {name};" for name in reversed(_TABLES))}
{"".join(f"INSERT INTO {name} TABLE seed.{name};" for name in _TABLES)}
SELECT {", ".join(f"setval('{name}_id_seq', 1000)" for name in COUNTED)};
"""  # one round trip; TRUNCATE would take 100 ms


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


def database_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    """Return the URL of a shop as it is in the beginning."""
    return (_sqlite_url if backend.dialect == "sqlite" else _postgres_url)(request, backend)


def _environment(request: pytest.FixtureRequest) -> Generator[Env]:
    backend = cast("Backend", request.param)
    env = Env(backend, database_url(request, backend), request.getfixturevalue("runner"))
    yield env
    env.call(env.close)


@pytest.fixture(params=SQLITE + POSTGRES, ids=str)
def env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from _environment(request)


@pytest.fixture(params=SQLITE, ids=str)
def sqlite_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from _environment(request)


@pytest.fixture(params=POSTGRES, ids=str)
def postgres_env(request: pytest.FixtureRequest) -> Generator[Env]:
    yield from _environment(request)
