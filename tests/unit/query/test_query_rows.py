"""`@cache.query` and the identity map: rows loaded before the call, entities as arguments and as results."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, selectinload

from rowstamp import Cache
from tests.unit.query_models import Category, Product, Runs, User


@pytest.fixture
def name_of(cache: Cache, runs: Runs) -> Any:
    @cache.query()
    def name_of(session: Session, user_id: int) -> str:
        runs.number += 1
        return session.get_one(User, user_id).name

    return name_of


def test_a_row_in_the_identity_map_that_is_out_of_date_is_not_stored(engine: Engine, name_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        user = session.get_one(User, 1)
        with Session(engine) as other:
            other.get_one(User, 1).name = "anna"
            other.commit()
        assert name_of(session, 1) == user.name == "ann"
    with Session(engine) as session:
        assert name_of(session, 1) == "anna"
    assert runs.since() == 2


def test_a_row_in_the_identity_map_that_is_up_to_date_is_verified_and_stored(
    engine: Engine, name_of: Any, runs: Runs
) -> None:
    with Session(engine) as session:
        assert session.get_one(User, 1).name == "ann"
        kept = session.get_one(User, 1)
        assert name_of(session, 1) == kept.name
    with Session(engine) as session:
        assert name_of(session, 1) == "ann"
    assert runs.since() == 1
    with Session(engine) as session:
        session.get_one(User, 1).name = "anna"
        session.commit()
    with Session(engine) as session:
        assert name_of(session, 1) == "anna"


def test_a_select_of_entities_of_which_some_were_loaded_before_is_not_stored(
    engine: Engine, cache: Cache, runs: Runs
) -> None:
    @cache.query()
    def names(session: Session) -> list[str]:
        runs.number += 1
        return [user.name for user in session.scalars(select(User).order_by(User.id))]

    with Session(engine) as session:
        kept = session.get_one(User, 1)
        with Session(engine) as other:
            other.get_one(User, 1).name = "anna"
            other.commit()
        assert names(session) == [kept.name, "bob"] == ["ann", "bob"]
    assert names.stats().bypasses == {"rows of query_users were loaded before the call": 1}
    with Session(engine) as session:
        assert names(session) == ["anna", "bob"]


def test_rows_of_other_tables_that_were_loaded_before_do_not_matter(engine: Engine, stats_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        kept = session.get_one(User, 1)
        products = session.scalars(select(Product)).all()
        stats_of(session, 7)
        assert kept in session
        assert products
    with Session(engine) as session:
        stats_of(session, 7)
    assert runs.since() == 1


def test_what_an_argument_entity_holds_is_verified(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def greeting(session: Session, user: User) -> str:
        runs.number += 1
        return f"hello {user.name}"

    with Session(engine) as session:
        user = session.get_one(User, 1)
        assert greeting(session, user) == "hello ann"
        assert greeting(session, user) == "hello ann"
        assert runs.since() == 1
        with Session(engine) as other:
            other.get_one(User, 1).name = "anna"
            other.commit()
        assert greeting(session, user) == "hello ann"
    assert runs.since() == 1
    with Session(engine) as session:
        assert greeting(session, session.get_one(User, 1)) == "hello anna"
        assert runs.since() == 1


# -------------------------------------------------------------------------------------------------- entities


def test_entities_come_back_in_the_session_of_the_call(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def category(session: Session, category_id: int) -> Category | None:
        runs.number += 1
        return session.scalar(
            select(Category).where(Category.id == category_id).options(selectinload(Category.products))
        )

    with Session(engine) as session:
        category(session, 7)
    with Session(engine) as session:
        found = category(session, 7)
        assert found is not None
        assert found in session
        assert not session.dirty
        assert session.get(Category, 7) is found
        assert [product.name for product in found.products] == ["atlas", "bestiary"]
        assert found.products[0].category is found
        found.name = "novels"
        session.commit()
    assert runs.since() == 1
    with Session(engine) as session:
        found = category(session, 7)
        assert found is not None
        assert found.name == "novels"


def test_an_entity_that_the_session_has_modified_is_not_overwritten(engine: Engine, cache: Cache) -> None:
    @cache.query()
    def product(session: Session, product_id: int) -> Product:
        return session.get_one(Product, product_id)

    with Session(engine) as session:
        product(session, 1)
    with Session(engine) as session:
        mine = session.get_one(Product, 1)
        mine.stock = 50
        assert product(session, 1) is mine
        assert mine.stock == 50


def test_an_inner_hit_that_gives_out_an_older_entity_spoils_the_outer_call(engine: Engine, cache: Cache) -> None:
    @cache.query()
    def user(session: Session, user_id: int) -> User:
        return session.get_one(User, user_id)

    @cache.query()
    def greeting(session: Session) -> str:
        return f"hello {user(session, 1).name}"

    with Session(engine) as session:
        old = session.get_one(User, 1)
        with Session(engine) as other:
            other.get_one(User, 1).name = "anna"
            other.commit()
            assert user(other, 1).name == "anna"
        assert greeting(session) == f"hello {old.name}" == "hello ann"
    assert user.stats().hits == 1
    with Session(engine) as session:
        assert greeting(session) == "hello anna"


def test_a_lazy_load_that_finds_an_older_row_spoils_the_call(engine: Engine, cache: Cache) -> None:
    @cache.query()
    def category_of(session: Session, product_id: int) -> str:
        product = session.get_one(Product, product_id)
        assert product.category is not None
        return product.category.name

    with Session(engine) as session:
        old = session.get_one(Category, 7)
        with Session(engine) as other:
            other.get_one(Category, 7).name = "novels"
            other.commit()
        assert category_of(session, 1) == old.name == "books"
    assert category_of.stats().bypasses == {"Category was loaded before the call and cannot be verified": 1}
    with Session(engine) as session:
        assert category_of(session, 1) == "novels"
