"""`@cache.query` where transactions have snapshots of their own, and before an engine has met its server."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache
from rowstamp.testing.servers import PostgresServer
from tests.unit.query_models import Product, Runs, User, fill


@pytest.fixture
def url(postgres_server: PostgresServer) -> Callable[[str], str]:
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS functions WITH (FORCE)")
        connection.execute("CREATE DATABASE functions")
    engine = create_engine(postgres_server.url("psycopg", "functions"))
    with engine.begin() as connection:
        fill(connection)
    engine.dispose()
    return lambda driver: postgres_server.url(driver, "functions")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_with_a_snapshot_of_its_own_keeps_to_it(
    url: Callable[[str], str], runs: Runs, level: str
) -> None:
    engine = create_engine(url("psycopg"))
    isolated = engine.execution_options(isolation_level=level)
    with Cache() as cache:
        cache.attach(engine)

        @cache.query()
        def total(session: Session) -> int:
            runs.number += 1
            return session.scalar(select(func.sum(Product.stock))) or 0

        for _ in range(2):
            with Session(engine) as session:
                assert total(session) == 9
        assert runs.since() == 1, "the first result, made before the engine had met its server, is served"
        with Session(isolated) as session:
            session.scalar(select(User.id))
            with Session(engine) as other:
                other.add(Product(id=50, name="new", stock=1))
                other.commit()
                assert total(other) == 10
            assert total(session) == 9
        with Session(engine) as session:
            assert total(session) == 10
    assert total.stats().bypasses == {"the transaction's snapshot is older than the stamps": 1}
    engine.dispose()


def test_each_call_of_one_transaction_sees_what_was_committed_before_it(url: Callable[[str], str]) -> None:
    engine = create_engine(url("psycopg"))
    with Cache() as cache:
        cache.attach(engine)

        @cache.query()
        def total(session: Session) -> int:
            return session.scalar(select(func.sum(Product.stock))) or 0

        with Session(engine) as session:
            assert total(session) == 9
            with Session(engine) as other:
                other.get_one(Product, 1).stock += 1
                other.commit()
            assert total(session) == 10
    engine.dispose()


def test_a_transaction_sees_its_own_writes_and_nobody_else_does(url: Callable[[str], str], runs: Runs) -> None:
    engine = create_engine(url("psycopg"))
    with Cache() as cache:
        cache.attach(engine)

        @cache.query()
        def name_of(session: Session, user_id: int) -> str | None:
            runs.number += 1
            return session.scalar(select(User.name).where(User.id == user_id))

        with Session(engine) as session:
            session.get_one(User, 1).name = "mine"
            assert name_of(session, 1) == "mine"
            session.rollback()
            assert name_of.stats().bypasses == {"own writes": 1}
            assert name_of(session, 1) == "ann"
            assert name_of(session, 1) == "ann"
        assert runs.since() == 2
        with Session(engine) as session:
            session.get_one(User, 1).name = "mine"
            assert name_of(session, 1) == "mine"
            assert name_of.stats().bypasses == {"own writes": 2}
            with Session(engine) as other:
                assert name_of(other, 1) == "ann"
            assert runs.since() == 1
            assert name_of(session, 2) == "bob"
            assert name_of(session, 2) == "bob"
            assert runs.since() == 1, "what it has not written is stored and served as ever"
            session.rollback()
            assert name_of(session, 1) == "ann"
        assert runs.since() == 0
    engine.dispose()


async def test_entities_over_asyncpg(url: Callable[[str], str], runs: Runs) -> None:
    engine = create_async_engine(url("asyncpg"))
    async with AsyncCache() as cache:
        cache.attach(engine)

        @cache.query()
        async def users(session: AsyncSession) -> list[User]:
            runs.number += 1
            return list(await session.scalars(select(User).order_by(User.id)))

        for _ in range(2):
            async with AsyncSession(engine) as session:
                assert [user.name for user in await users(session)] == ["ann", "bob"]
        assert runs.since() == 1
        async with AsyncSession(engine) as session:
            (await users(session))[0].name = "anna"
            await session.commit()
        async with AsyncSession(engine) as session:
            assert [user.name for user in await users(session)] == ["anna", "bob"]
    await engine.dispose()
