"""What foreign keys make the database change along with known rows: exactly the rows that refer to them are read again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, delete, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from tests.harness import Env

METADATA = MetaData()
towns = Table("boroughs", METADATA, Column("id", Integer, primary_key=True), Column("size", Integer))
houses = Table(
    "dwellings",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("town_id", ForeignKey("boroughs.id", ondelete="CASCADE", onupdate="CASCADE"), index=True),
)
people = Table(
    "dwellers",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("house_id", ForeignKey("dwellings.id", ondelete="SET NULL"), index=True),
    Column("parent_id", ForeignKey("dwellers.id", ondelete="CASCADE"), index=True),
    Column("age", Integer),
)


def by(column: Any, value: Any) -> Any:
    table = column.table
    condition = column.is_(None) if value is None else column == value
    return select(table).where(condition).order_by(*table.primary_key)


HOUSES = {number: by(houses.c.id, number) for number in (1, 2, 3)}
STREETS = {number: by(houses.c.town_id, number) for number in (1, 2, 9)}
PEOPLE = {number: by(people.c.id, number) for number in (1, 2, 3, 4)}
FAMILIES = {number: by(people.c.house_id, number) for number in (1, 3, None)}
AGES = {number: select(people.c.age).where(people.c.id == number) for number in (1, 3)}
ALL = [each for group in (HOUSES, STREETS, PEOPLE, FAMILIES, AGES) for each in group.values()]


def settle(env: Env) -> None:
    """Make two towns, three houses and four people, of whom one is another's child."""
    with env.behind() as session:
        connection = session.connection()
        METADATA.create_all(connection)
        connection.execute(insert(towns), [{"id": 1, "size": 5}, {"id": 2, "size": 6}])
        connection.execute(insert(houses), [{"id": 1, "town_id": 1}, {"id": 2, "town_id": 1}, {"id": 3, "town_id": 2}])
        rows = [(1, 1, None), (2, None, 1), (3, 3, None), (4, None, None)]
        values = [{"id": id_, "house_id": house, "parent_id": parent, "age": 30} for id_, house, parent in rows]
        connection.execute(insert(people), values)


@contextmanager
def only(env: Env, *changed: Any) -> Generator[None]:
    """In a new town: inside the block the results of these change; the others of `ALL` are still served afterwards."""
    settle(env)
    others = [each for each in ALL if not any(each is one for one in changed)]
    for each in others:
        env.warm(each)
    with env.change_of(*changed):
        yield
    assert [str(each.compile(compile_kwargs={"literal_binds": True})) for each in others if not env.served(each)] == []


def test_rows_that_are_deleted_along(env: Env) -> None:
    """And rows that forget whom they referred to; a column that they keep is still what it was."""
    with (
        only(env, HOUSES[1], HOUSES[2], STREETS[1], PEOPLE[1], FAMILIES[1], FAMILIES[None]),
        env.transaction() as session,
    ):
        session.connection().execute(delete(towns).where(towns.c.id == 1))


def test_rows_that_are_deleted_along_with_their_like(env: Env) -> None:
    """A table that refers to itself."""
    changed = (PEOPLE[1], PEOPLE[2], FAMILIES[1], FAMILIES[None], AGES[1])
    with only(env, *changed), env.transaction() as session:
        session.connection().execute(delete(people).where(people.c.id == 1))


def test_rows_that_follow_a_key(env: Env) -> None:
    """They leave one list and come to another."""
    with only(env, HOUSES[3], STREETS[2], STREETS[9]), env.transaction() as session:
        session.connection().execute(update(towns).where(towns.c.id == 2).values(id=9))


def test_nothing_follows_a_column_that_nobody_refers_to(env: Env) -> None:
    """Nor a row that was not there."""
    with only(env), env.transaction() as session:
        session.connection().execute(update(towns).where(towns.c.id == 1).values(size=7))
        session.connection().execute(delete(towns).where(towns.c.id == 77))


def test_of_many_rows_nothing_is_known(env: Env) -> None:
    """More than an image has."""
    settle(env)
    with env.behind() as session:
        session.connection().execute(insert(houses), [{"id": 100 + number, "town_id": 1} for number in range(101)])
    last = by(houses.c.id, 200)
    env.warm(HOUSES[3])
    with env.change_of(last), env.transaction() as session:
        session.connection().execute(delete(towns).where(towns.c.id == 1))
    assert not env.served(HOUSES[3])


def test_nobody_comes_to_refer_to_a_row_that_is_about_to_go(server_env: Env) -> None:
    """From the image until the commit it is locked against that, by the database's own rules."""
    env, refused = server_env, list[str]()
    settle(env)
    impatient = "SET lock_timeout = '1ms'" if env.dialect == "postgresql" else "SET innodb_lock_wait_timeout = 0"

    def interfere(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM dwellings" in statement and "UPDATE" in statement and not refused:
            with env.behind() as other:
                other.execute(text(impatient))
                with pytest.raises(DBAPIError) as caught:
                    other.connection().execute(insert(houses).values(id=50, town_id=1))
                other.rollback()
            refused.append(str(caught.value))

    event.listen(env.engine, "before_cursor_execute", interfere)
    with env.transaction() as session:
        session.connection().execute(delete(towns).where(towns.c.id == 1))
    event.remove(env.engine, "before_cursor_execute", interfere)
    assert len(refused) == 1
