"""How a session ends, and what it knows afterwards: closed, forgotten, collected in the middle of a commit, expired or not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import pymysql
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from rowstamp._sqlalchemy import await_in_greenlet
from tests.conformance.conftest import MARIADB, SQLITE, environment
from tests.conformance.models import FREE_ID, Product, Tag, product
from tests.conformance.test_isolation import begin_recipe
from tests.harness import Env, everything, read, sync_engine

NAMES = select(Product.name).order_by(Product.id)
FIRST = select(Product).where(Product.id == 1)


@pytest.mark.parametrize("expire", [True, False], ids=["expires", "does not expire"])
def test_what_a_session_has_loaded_after_its_commit(env: Env, expire: bool) -> None:
    """`expire_on_commit`: with it the next look is at the newest row, without it at what was loaded; columns are always new."""
    env.cache.policy(Product)
    env.rows(FIRST)
    env.rows(NAMES)
    with env.session(expire_on_commit=expire) as session:
        mine = session.execute(FIRST).scalar_one()
        mine.stock = 77
        session.commit()
        with env.elsewhere() as other:
            other.get_one(Product, 1).name = "later"
        for _ in range(2):
            assert session.execute(FIRST).scalar_one() is mine
            assert mine.name == ("later" if expire else "atlas")
            assert mine.stock == 77
            assert read(session, NAMES) == env.truth(NAMES)
    assert env.rows(FIRST) == env.truth(FIRST)


@pytest.mark.parametrize("end", ["close", "commit", "rollback"])
def test_a_session_without_with(env: Env, end: str) -> None:
    """`close()` undoes what was not committed, and publishes nothing."""
    rows = env.warm(NAMES)
    session = env.session()
    session.get_one(Product, 1).name = "changed"
    session.flush()
    getattr(session, end)()
    session.close()
    assert env.served(NAMES) == (end != "commit")
    assert env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == (end == "commit")


def test_a_connection_mixed_with_entities(env: Env) -> None:
    """What is written through `session.connection()` is the session's own, and is published by its commit with the rest."""
    tags = everything(Tag)
    with env.change_of(NAMES, tags), env.session() as session:
        connection = session.connection()
        connection.execute(insert(Tag).values(id=FREE_ID, name="by the connection"))
        assert "by the connection" in str(read(session, tags))
        session.get_one(Product, 1).name = "by the session"
        session.flush()
        assert "by the session" in str(read(connection, NAMES))
        assert env.rows(NAMES) == env.truth(NAMES)
        session.commit()
        assert read(session.connection(), NAMES) == read(session, NAMES)


# ------------------------------------------------------------------------------------------------ collected


@pytest.fixture(params=[SQLITE[1], MARIADB[1]], ids=str)
def collected_env(request: pytest.FixtureRequest) -> Generator[Env]:
    """Where drivers let their connections be collected; those of PostgreSQL complain from their destructors."""
    yield from environment(request)
    if request.param is MARIADB[1]:
        # asyncmy's connections stay open when nobody knows of them, and with them the locks of what was not committed.
        end_other_connections(request.getfixturevalue("mariadb_shop"))


def end_other_connections(owner: pymysql.Connection[Any]) -> None:
    with owner.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = 'shop' AND id <> CONNECTION_ID()")
        for (number,) in cursor.fetchall():
            with suppress(pymysql.OperationalError):  # it has just gone
                cursor.execute(f"KILL {number}")


def forgotten(env: Env) -> AsyncEngine:
    engine = create_async_engine(env.url)
    env.cache.attach(engine)
    return engine


def test_an_asynchronous_session_that_is_forgotten(collected_env: Env) -> None:
    """Nobody can await its rollback, so its connection is closed; what it wrote is undone, and counts for nobody."""
    env = collected_env
    engine = forgotten(env)
    rows = env.warm(NAMES)

    def forget() -> None:
        session: Any = AsyncSession(engine).sync_session
        session.add(product())
        session.flush()
        assert len(read(session, NAMES)) == len(rows) + 1

        session = None
        gc.collect()

    with pytest.warns(SAWarning, match="garbage collector"):
        forget()
    assert env.served(NAMES)
    with env.open_session(engine) as session:
        assert read(session, NAMES) == rows
        session.commit()
    assert env.served(NAMES)
    assert env.rows(NAMES) == env.truth(NAMES) == rows
    await_in_greenlet(engine.dispose())


async def commit_and_forget(env: Env, engine: AsyncEngine) -> None:
    """Begin a commit, and leave nobody who knows of it once its holds are taken."""
    reached = asyncio.Event()

    async def never() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def change() -> None:
        session = AsyncSession(engine)
        (await session.get_one(Product, 1)).name = "changed"
        await session.commit()

    env.store.after["hold"].append(lambda: await_in_greenlet(never()))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # it says that a task was destroyed
    task = asyncio.ensure_future(change())
    await reached.wait()
    del task
    gc.collect()
    asyncio.get_running_loop().set_exception_handler(None)


@pytest.mark.filterwarnings("ignore:.*garbage collector.*:sqlalchemy.exc.SAWarning")
def test_a_session_that_is_collected_during_its_commit(collected_env: Env) -> None:
    """Its holds end by the clock of the store; until then nobody is served, and afterwards everybody what is true."""
    env = collected_env
    engine = forgotten(env)
    rows = env.warm(NAMES)
    await_in_greenlet(commit_and_forget(env, engine))
    for _ in range(2):
        assert not env.served(NAMES), "the holds are gone"
    env.clock.advance(11)
    assert env.rows(NAMES) == env.truth(NAMES) == rows
    assert env.served(NAMES)
    await_in_greenlet(engine.dispose())


# -------------------------------------------------------------------------------------------- SQLite's modes


def begun_by(words: str) -> Callable[[Env], Any]:
    """SQLAlchemy's recipe, with a transaction that takes the lock of a writer at once, or not."""

    def make(env: Env) -> Any:
        target = env.new_engine()
        begin_recipe(sync_engine(target), words)
        return target

    return make


def driver_mode(level: str | None) -> Callable[[Env], Any]:
    """The legacy mode of the driver, which begins before DML by these words."""
    return lambda env: env.new_engine(connect_args={"isolation_level": level})


MODES: dict[str, Callable[[Env], Any]] = {
    "recipe deferred": begun_by("BEGIN DEFERRED"),
    "recipe immediate": begun_by("BEGIN IMMEDIATE"),
    "legacy deferred": driver_mode("DEFERRED"),
    "legacy immediate": driver_mode("IMMEDIATE"),
    "legacy exclusive": driver_mode("EXCLUSIVE"),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_sqlite(sqlite_env: Env, mode: str) -> None:
    """However a transaction begins: its commit publishes, its rollback does not, and it sees what it wrote."""
    env = sqlite_env
    target = MODES[mode](env)
    env.cache.attach(target)
    with env.change_of(NAMES), env.open_session(target) as session:
        session.get_one(Product, 1).name = "changed"
        session.flush()
        assert "changed" in str(read(session, NAMES))
        session.commit()
        assert read(session, NAMES) == env.truth(NAMES)
    with env.no_change_of(NAMES), env.open_session(target) as session:
        session.get_one(Product, 1).name = "undone"
        session.flush()
        session.rollback()
        assert read(session, NAMES) == env.truth(NAMES)


def test_a_mode_of_sqlite_without_transactions(sqlite_env: Env) -> None:
    """`isolation_level=None` and nobody who begins: each write is there at once, whatever becomes of the session."""
    env = sqlite_env
    target = driver_mode(None)(env)
    env.cache.attach(target)
    with env.change_of(NAMES), env.open_session(target) as session:
        session.execute(update(Product).where(Product.id == 1).values(name="at once"))
        assert env.rows(NAMES) == env.truth(NAMES)
        session.rollback()
