"""Repositories and cached functions of SQLModel's classes, which are Pydantic models and mapped at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlmodel import Field, Session, SQLModel, col, select

from rowstamp import AsyncCache, AsyncRepository, Cache, Repository


class SqlmodelHero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    age: int


class Heroes(Repository[SqlmodelHero]):
    """Heroes."""


class AsyncHeroes(AsyncRepository[SqlmodelHero]):
    """Heroes, awaited."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "heroes.db")
    engine = create_engine(f"sqlite:///{path}")
    SQLModel.metadata.create_all(engine, [SQLModel.metadata.tables["sqlmodelhero"]])
    with Session(engine) as session:
        session.add_all([SqlmodelHero(name="Ada", age=36), SqlmodelHero(name="Bo", age=9)])
        session.commit()
    engine.dispose()
    return path


@pytest.fixture
def engine(path: str) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(path: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    yield engine
    await engine.dispose()


def statements_of(engine: Engine) -> list[str]:
    sent: list[str] = []
    event.listen(engine, "after_cursor_execute", lambda *arguments: sent.append(arguments[2]))
    return sent


def test_reads_are_served_and_writes_seen(engine: Engine) -> None:
    with Cache() as cache:
        cache.attach(engine)
        sent = statements_of(engine)
        for _ in range(2):
            with Session(engine) as session:
                heroes = Heroes(session, cache=cache)
                ada = heroes.get_by(name="Ada")
                assert isinstance(ada, SqlmodelHero)
                assert ada.model_dump() == {"id": 1, "name": "Ada", "age": 36}
                assert [each.name for each in heroes.list(col(SqlmodelHero.age) > 8)] == ["Ada", "Bo"]
        assert len(sent) == 2
        with Session(engine) as session:
            Heroes(session).update(1, age=37)
            session.commit()
        with Session(engine) as session:
            found = Heroes(session).get(1)
            assert found is not None
            assert found.age == 37


def test_exec_of_sqlmodels_own_session_is_served(engine: Engine) -> None:
    with Cache() as cache:
        cache.attach(engine)
        cache.policy(SqlmodelHero)
        sent = statements_of(engine)
        for _ in range(2):
            with Session(engine) as session:
                assert session.exec(select(SqlmodelHero.name).where(SqlmodelHero.age < 10)).all() == ["Bo"]
        assert len(sent) == 1


def test_functions_return_entities_of_the_calls_session(engine: Engine) -> None:
    with Cache() as cache:
        cache.attach(engine)

        @cache.query()
        def eldest(session: Session) -> SqlmodelHero | None:
            return session.exec(select(SqlmodelHero).order_by(col(SqlmodelHero.age).desc())).first()

        for _ in range(2):
            with Session(engine) as session:
                found = eldest(session)
                assert found is not None
                assert found in session
                assert found.name == "Ada"
        assert eldest.stats().hits == 1


async def test_the_same_awaited(async_engine: AsyncEngine) -> None:
    async with AsyncCache() as cache:
        cache.attach(async_engine)
        sent = statements_of(async_engine.sync_engine)
        for _ in range(2):
            async with AsyncSession(async_engine) as session:
                found = await AsyncHeroes(session, cache=cache).get_many([1, 2])
                assert [each.name for each in found.values()] == ["Ada", "Bo"]
        assert len(sent) == 1
