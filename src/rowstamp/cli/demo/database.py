"""Where the demo's shop is kept: a temporary SQLite file, a private PostgreSQL server, or a database that was given."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from rowstamp.cli.demo.models import PREFIX, Base
from rowstamp.cli.demo.settings import DemoError, Settings
from rowstamp.testing.servers import PostgresServer, ServerError

__all__ = ["async_url", "open_engine", "place", "tables_absent"]

_DRIVERS: Final = {
    "sqlite": ("aiosqlite",),
    "postgresql": ("asyncpg", "psycopg"),
    "mysql": ("asyncmy", "aiomysql"),
    "mariadb": ("asyncmy", "aiomysql"),
}
"""The asynchronous drivers of each database, the first choice first."""

_BUSY_SECONDS: Final = 30


@dataclass(frozen=True)
class Place:
    """A database to use.

    Attributes:
        url: its URL, with an asynchronous driver.
        ours: whether it was made for this run and is gone afterwards.
    """

    url: URL
    ours: bool


@contextmanager
def place(settings: Settings) -> Generator[Place]:
    """Provide the database that the options ask for.

    Raises:
        DemoError: the URL or a driver is not right, or the private server does not start.
    """
    if settings.db is None:
        with tempfile.TemporaryDirectory(prefix="rowstamp-demo-") as folder:
            yield Place(async_url(f"sqlite:///{Path(folder) / 'shop.db'}"), ours=True)
    elif settings.db == "postgres":
        with _private_postgres() as url:
            yield Place(url, ours=True)
    else:
        yield Place(async_url(settings.db), ours=False)


@contextmanager
def _private_postgres() -> Generator[URL]:
    driver = _driver("postgresql")
    try:
        server = PostgresServer()
        server.start()
    except ServerError as exc:
        raise DemoError(str(exc)) from exc
    try:
        yield make_url(server.url(driver))
    finally:
        server.stop()


def async_url(text: str) -> URL:
    """Return a URL with an asynchronous driver; one without a driver is given one that is installed.

    Raises:
        DemoError: it is no URL, names no database that the demo can use, or its driver is not installed.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        # `from None`: the message would quote the text, and with it a password.
        raise DemoError("--db is not a database URL; write one like postgresql://user@host/name") from None
    if url.get_backend_name() == "sqlite" and (url.database or ":memory:") == ":memory:":
        raise DemoError("--db: an in-memory SQLite database has a single connection; give a file: sqlite:///shop.db")
    if "+" in url.drivername:
        return url
    return url.set(drivername=f"{url.drivername}+{_driver(url.drivername)}")


def _driver(backend: str) -> str:
    candidates = _DRIVERS.get(backend)
    if candidates is None:
        raise DemoError(f"--db: no asynchronous driver is known for {backend!r}; name one: {backend}+driver://...")
    for name in candidates:
        if importlib.util.find_spec(name) is not None:
            return name
    raise DemoError(
        f"no asynchronous driver for {backend} is installed; run: python -m pip install {candidates[0]}"
        + (f" (or {candidates[1]})" if len(candidates) > 1 else "")
    )


@asynccontextmanager
async def open_engine(where: Place, settings: Settings) -> AsyncGenerator[AsyncEngine]:
    """Provide an engine, and let go of its connections in the end.

    Raises:
        DemoError: there is no such driver, it is not installed, or it is a synchronous one.
    """
    options: dict[str, Any] = {"pool_size": settings.tasks + 2}
    if where.url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": _BUSY_SECONDS}
    try:
        engine = create_async_engine(where.url, **options)
    except (NoSuchModuleError, InvalidRequestError) as exc:
        raise DemoError(f"--db {where.url.drivername}: {exc}") from exc
    except ModuleNotFoundError as exc:
        raise DemoError(f"--db {where.url.drivername}: run: python -m pip install {exc.name}") from exc
    if where.ours and engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _tune_sqlite)
    try:
        yield engine
    finally:
        await engine.dispose()


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """Let readers and a writer go on side by side, as any application with SQLite does."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


@asynccontextmanager
async def tables_absent(engine: AsyncEngine, where: Place, *, drop: bool) -> AsyncGenerator[None]:
    """Begin without the demo's tables, and remove in the end those that this run has made.

    Args:
        engine: the database.
        where: what is known of it.
        drop: whether tables of an earlier run are dropped.

    Raises:
        DemoError: the database cannot be reached, or has the tables already.
    """
    try:
        async with engine.begin() as connection:
            found = await connection.run_sync(_present)
            if found and drop:
                await connection.run_sync(Base.metadata.drop_all)
    except (SQLAlchemyError, OSError) as exc:
        shown = where.url.render_as_string(hide_password=True)
        raise DemoError(f"cannot use the database {shown}: {(str(exc) or type(exc).__name__).splitlines()[0]}") from exc
    if found and not drop:
        raise DemoError(
            f"the database has tables of the demo already ({', '.join(found)}); give --drop to replace them"
        )
    try:
        yield
    finally:
        if not where.ours:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.drop_all)


def _present(connection: Connection) -> list[str]:
    ours = set(Base.metadata.tables)
    return sorted(name for name in inspect(connection).get_table_names() if name in ours and name.startswith(PREFIX))
