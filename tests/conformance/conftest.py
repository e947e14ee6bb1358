"""Runs every scenario on each driver: `env` on all of them, `sqlite_env` and `postgres_env` where only one database can."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import create_engine

from rowstamp.testing.servers import PostgresServer
from tests.conformance.models import build
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
_numbers = count(1)


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
    """An administrator's connection; the database to copy is there."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE shop")
        engine = create_engine(postgres_server.url("psycopg", "shop"))
        with engine.begin() as connection:
            build(connection)
        engine.dispose()
        yield administrator


def _sqlite_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    template: Path = request.getfixturevalue("sqlite_template")
    tmp_path: Path = request.getfixturevalue("tmp_path")
    shutil.copyfile(template, tmp_path / "shop.db")
    return f"sqlite+{backend.driver}:///{tmp_path / 'shop.db'}"


def _postgres_url(request: pytest.FixtureRequest, backend: Backend) -> str:
    administrator: psycopg.Connection[Any] = request.getfixturevalue("postgres_shop")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"shop_{next(_numbers)}"
    administrator.execute(f"CREATE DATABASE {name} TEMPLATE shop STRATEGY file_copy".encode())
    request.addfinalizer(lambda: administrator.execute(f"DROP DATABASE {name} WITH (FORCE)".encode()))
    return server.url(backend.driver, name)


def _environment(request: pytest.FixtureRequest) -> Generator[Env]:
    backend = cast("Backend", request.param)
    url = (_sqlite_url if backend.dialect == "sqlite" else _postgres_url)(request, backend)
    env = Env(backend, url, request.getfixturevalue("runner"))
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
