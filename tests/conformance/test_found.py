"""An INSERT whose keys nobody tells leaves what was found by a unique key, and ends what was looked for in vain."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, literal, select, update

from rowstamp import cached
from tests.conformance.models import FIRST_GENERATED, FREE_ID, Category, Review, Tag
from tests.harness import Env

TAGS: Any = Tag.__table__
KEYED = select(Tag.id, Tag.name).order_by(Tag.id)


def insert_without_keys(env: Env, *names: str) -> None:
    """Add tags by `executemany` on a Connection: the database gives them keys and does not say which."""
    with env.connect() as connection:
        connection.execute(insert(TAGS), [{"name": name} for name in names])
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        select(Tag).where(Tag.id == 1),
        select(Tag.name).where(Tag.id == 1),
        KEYED.where(Tag.id.in_([1, 2, 3])),
        select(Review, Tag).join(Tag, Tag.id == Review.id).where(Tag.id == 1),
    ],
    ids=["entity", "column", "list", "join"],
)
def test_a_row_that_was_found(env: Env, statement: Any) -> None:
    """Its key is taken, so whatever comes has another one."""
    with env.unconcerned(statement):
        insert_without_keys(env, "cheap", "dear")
        with env.transaction() as session:
            source = select(Category.id + literal(FREE_ID), Category.name)
            session.execute(insert(Tag).from_select(["id", "name"], source))


def test_a_row_that_was_looked_for_in_vain(env: Env) -> None:
    """It may be the one that comes; and so it may where others were found beside it, or where WHERE asks for more."""
    first = next_key(env)
    absent = KEYED.where(Tag.id == first)
    partly = KEYED.where(Tag.id.in_([1, first + 1]))
    with env.change_of(absent, partly):
        insert_without_keys(env, "cheap", "dear")
    left_out = KEYED.where(Tag.id == first, Tag.name == "fair")
    env.warm(left_out)
    insert_without_keys(env, "fast", "slow")
    assert not env.served(left_out)
    with env.unconcerned(absent, partly):
        insert_without_keys(env, "first", "last")


def test_a_row_that_was_found_and_goes(env: Env) -> None:
    """From then on it is one that is looked for in vain, and may come again under a key that nobody tells."""
    statement = KEYED.where(Tag.id == 1)
    with env.change_of(statement), env.transaction() as session:
        session.execute(delete(Tag).where(Tag.name == "new"))
    with env.change_of(statement), env.transaction() as session:
        source = select(Category.id, Category.name).where(Category.id == 1)
        session.execute(insert(Tag).from_select(["id", "name"], source))


def test_rows_that_were_found_and_are_changed_by_writes_that_do_not_know_them(env: Env) -> None:
    """They were there before, so they count."""
    statement, column = KEYED.where(Tag.id == 3), select(Tag.name).where(Tag.id == 3)
    with env.change_of(statement, column), env.transaction() as session:
        session.execute(update(Tag).where(Tag.name.like("%")).values(name=Tag.name + "!"))
    with env.change_of(statement, column), env.transaction() as session:
        session.execute(update(Tag).where(Tag.name.like("unused%")).values(id=FREE_ID))


def test_an_own_insert_of_an_unknown_key(env: Env) -> None:
    """The transaction sees the row that it has made, and others do not before its commit."""
    statement = KEYED.where(Tag.id == next_key(env))
    assert env.warm(statement) == []
    with env.connect() as connection:
        connection.execute(insert(TAGS), [{"name": "cheap"}, {"name": "dear"}])
        assert len(connection.execute(statement, execution_options={"rowstamp": cached()}).all()) == 1
        assert env.rows(statement) == []
        connection.commit()
    assert len(env.rows(statement)) == 1


def test_explain_says_what_depends_on_it(env: Env) -> None:
    """A row that is not there may come under a key that nobody tells."""
    shown = str(env.cache.explain(select(Tag).where(Tag.id == 1)))
    assert "until a write touches tags.id=?-\n" in shown
    assert shown.endswith("or tags.id=?, if it has not found every row that it names")
    assert "if it has not found" not in str(env.cache.explain(select(Review).where(Review.product_id == 1)))


def next_key(env: Env) -> int:
    """Which key the database gives next."""
    return 4 if env.dialect == "sqlite" else FIRST_GENERATED
