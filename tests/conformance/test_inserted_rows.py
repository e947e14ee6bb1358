"""INSERTs that leave keys to the database: exactly the lists to which the new rows come are read again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table, insert, select, text
from sqlalchemy.orm import Session, registry

from rowstamp import cached
from tests.conformance.test_rows_seen import tables
from tests.harness import Env

parcels = Table(
    "parcels",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("depot", Integer, nullable=False, index=True),
    Column("state", Integer, server_default=text("1"), index=True),
    Column("weight", Integer),
)
Index("parcels_pair", parcels.c.depot, parcels.c.state)


class Parcel:
    """A row of that table."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


registry().map_imperatively(Parcel, parcels)


def by(**values: Any) -> Any:
    return select(parcels).where(*(parcels.c[name] == value for name, value in values.items())).order_by(parcels.c.id)


OLD, NEXT, LATER = by(id=1), by(id=3), by(id=77)
DEPOTS = {number: by(depot=number) for number in (1, 2)}
STATES = {number: by(state=number) for number in (1, 2)}
PAIRS = {pair: by(depot=pair[0], state=pair[1]) for pair in ((1, 1), (1, 2), (2, 1))}
COMES_TO = (NEXT, DEPOTS[1], STATES[1], PAIRS[1, 1])
OTHERS = (OLD, LATER, DEPOTS[2], STATES[2], PAIRS[1, 2], PAIRS[2, 1])


@contextmanager
def made(env: Env) -> Generator[None]:
    """Make the table, with a row of each depot; the next one is the third."""
    with tables(env, parcels) as session:
        session.execute(insert(parcels).values(depot=1, state=2))
        session.execute(insert(parcels).values(depot=2))  # from here on it is known that the table may be read
    yield


def add_entity(session: Session) -> None:
    session.add(Parcel(depot=1))


def insert_row(session: Session) -> None:
    session.connection().execute(insert(parcels).values(depot=1))


def insert_set(session: Session) -> None:
    session.connection().execute(insert(parcels), {"depot": 1, "weight": 5})


def insert_through_session(session: Session) -> None:
    session.execute(insert(parcels).values(depot=1))


def insert_with_defaults(session: Session) -> None:
    session.execute(insert(parcels).values(depot=1).return_defaults())


@pytest.mark.parametrize(
    ("write", "statements"),
    [(add_entity, 1), (insert_row, 2), (insert_set, 2), (insert_through_session, 2), (insert_with_defaults, 1)],
    ids=["entity", "values", "parameters", "session", "defaults"],
)
def test_a_row_whose_keys_the_database_gives(env: Env, write: Callable[[Session], None], statements: int) -> None:
    """What the INSERT returns tells them, or a question by the primary key that it has told."""
    with made(env), env.unconcerned(*OTHERS), env.change_of(*COMES_TO), env.traffic() as traffic:
        with env.transaction() as session:
            write(session)
        assert len(traffic) == statements


def test_several_rows_of_a_flush(env: Env) -> None:
    """All of them are asked for at once, for what is returned does not say which parameters it belongs to."""
    entities = [Parcel(depot=1), Parcel(depot=2)]
    both = (NEXT, *DEPOTS.values(), STATES[1], PAIRS[1, 1], PAIRS[2, 1])
    with made(env), env.unconcerned(OLD, LATER, STATES[2], PAIRS[1, 2]), env.change_of(*both), env.traffic() as traffic:
        with env.transaction() as session:
            session.add_all(entities)
        assert sum(each.startswith("SELECT") for each in traffic.statements) == 1


def test_a_row_is_seen_by_its_own_transaction(env: Env) -> None:
    """In the list to which it came, before the commit; and not by others after a rollback."""
    with made(env), env.no_change_of(*COMES_TO), env.session() as session:
        insert_row(session)
        for statement in COMES_TO:
            assert session.execute(statement.options(cached())).all()[-1].id == 3
        session.rollback()


def test_rows_of_which_the_application_asks_for_the_answer_itself(env: Env) -> None:
    """The answer is its own, so nobody knows which row has come: too much is read again, and nothing too little."""
    with made(env), env.change_of(*COMES_TO), env.transaction() as session:
        session.execute(insert(parcels).values(depot=1).returning(parcels.c.id)).all()


def test_several_rows_of_one_values(env: Env) -> None:
    """The number of the last row is that of one of them."""
    with made(env), env.change_of(*COMES_TO, by(id=4), DEPOTS[2]), env.transaction() as session:
        session.execute(insert(parcels).values([{"depot": 1}, {"depot": 2}]))


def test_a_row_that_commits_by_itself(env: Env) -> None:
    """Its stamps are held before it is sent, when nobody knows its keys."""
    engine = env.engine.execution_options(isolation_level="AUTOCOMMIT")
    with made(env), env.change_of(*COMES_TO), engine.connect() as connection:
        connection.execute(insert(parcels).values(depot=1))


def test_without_row_images_nothing_is_asked(env: Env) -> None:
    """What is returned anyway is known; all other lists by a key that is left out end."""
    with made(env):
        plain = env.new_node(row_images=False, namespace="plain")
        plain.warm(OTHERS[0])
        with plain.unconcerned(*OTHERS), plain.change_of(*COMES_TO), plain.transaction() as session:
            add_entity(session)
        plain.warm(STATES[2])
        with plain.unconcerned(OLD, LATER), plain.traffic() as traffic:
            with plain.transaction() as session:
                insert_row(session)
            assert len(traffic) == 1
        assert not plain.served(STATES[2])
