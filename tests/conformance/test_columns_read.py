"""A write that changes only columns of which a result was not made leaves it usable; any other ends it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, exists, func, insert, select, text, update
from sqlalchemy.orm import aliased

from rowstamp import ConfigurationError, cached
from tests.conformance.models import FREE_ID, Category, Product, Review, product
from tests.harness import Env

NAMES = select(Product.id, Product.name).order_by(Product.id)
NAME_OF_ONE = select(Product.name).where(Product.id == 1)


def test_a_counter_that_is_not_read(env: Env) -> None:
    """A column that changes all the time does not empty the cache, however it is written."""
    with env.unconcerned(NAMES, NAME_OF_ONE):
        with env.transaction() as session:
            session.get_one(Product, 1).stock += 1
        with env.transaction() as session:
            session.execute(update(Product).values(stock=Product.stock + 1))
        with env.connect() as connection:
            connection.execute(update(Product).where(Product.id == 1).values(stock=9))
            connection.commit()


def test_a_column_of_the_select_list(env: Env) -> None:
    """Its new value is seen."""
    with env.change_of(NAMES, NAME_OF_ONE), env.transaction() as session:
        session.get_one(Product, 1).name = "atlas II"


def test_a_column_that_only_where_reads(env: Env) -> None:
    """A row that begins to match is seen, although nothing that is selected has changed."""
    names = select(Product.name).where(Product.stock > 5).order_by(Product.name)
    with env.change_of(names), env.transaction() as session:
        session.execute(update(Product).where(Product.id == 1).values(stock=50))
    with env.unconcerned(names), env.transaction() as session:
        session.get_one(Product, 1).price = Decimal(1)


def test_a_column_that_only_order_by_reads(env: Env) -> None:
    """Another order is another result."""
    names = select(Product.name).order_by(Product.stock, Product.id)
    with env.change_of(names), env.transaction() as session:
        session.get_one(Product, 2).stock = 100


def test_a_column_that_only_an_aggregate_reads(env: Env) -> None:
    """Grouped and aggregated columns count; the rows do, too."""
    sums = (
        select(Product.category_id, func.sum(Product.stock))
        .group_by(Product.category_id)
        .order_by(func.sum(Product.stock))
    )
    with env.change_of(sums), env.transaction() as session:
        session.get_one(Product, 1).stock = 20
    with env.change_of(sums), env.transaction() as session:
        session.add(product(stock=11))
    with env.unconcerned(sums), env.transaction() as session:
        session.get_one(Product, 1).name = "another"


def test_columns_of_a_joined_table(env: Env) -> None:
    """Each table has columns of its own."""
    joined = select(Product.name, Category.name).join(Product.category).order_by(Product.id)
    with env.change_of(joined), env.transaction() as session:
        session.get_one(Category, 1).name = "paper"
    with env.change_of(joined), env.transaction() as session:
        session.get_one(Product, 1).category_id = 2
    with env.unconcerned(joined), env.transaction() as session:
        session.get_one(Category, 2).parent_id = 1
        session.get_one(Product, 3).price = Decimal(3)


def test_rows_that_come_and_go_without_a_column_being_read(env: Env) -> None:
    """`count(*)` and EXISTS read no column; they read which rows there are."""
    count = select(func.count()).select_from(Review)
    reviewed = select(Product.name).where(exists().where(Review.product_id == Product.id)).order_by(Product.id)
    with env.change_of(count, reviewed), env.transaction() as session:
        session.execute(insert(Review).values(id=FREE_ID, product_id=2, stars=1))
    with env.unconcerned(count, reviewed), env.transaction() as session:
        session.execute(update(Review).values(stars=5))
    with env.change_of(count, reviewed), env.transaction() as session:
        session.execute(delete(Review).where(Review.id == FREE_ID))


def test_a_change_of_the_key_of_a_pinned_row(env: Env) -> None:
    """A row that gets or loses the key comes or goes, whatever is read of it."""
    star = select(Review.stars).where(Review.id == 3)
    missing = select(Review.stars).where(Review.id == FREE_ID)
    with env.change_of(star, missing), env.transaction() as session:
        session.execute(update(Review).where(Review.id == 3).values(id=FREE_ID))


def test_each_appearance_of_a_table_has_columns_of_its_own(env: Env) -> None:
    """What is read of one row need not be read of the other."""
    other = aliased(Product)
    both = select(Product.name, other.stock).join(other, other.id == 2).where(Product.id == 1)
    with env.unconcerned(both), env.transaction() as session:
        session.get_one(Product, 1).stock += 1
        session.get_one(Product, 2).name = "renamed"
    with env.change_of(both), env.transaction() as session:
        session.get_one(Product, 2).stock += 1


def test_raw_sql_concerns_every_column(env: Env) -> None:
    """What it sets is not known."""
    with env.change_of(NAMES, NAME_OF_ONE), env.transaction() as session:
        session.execute(text("UPDATE products SET name = 'raw' WHERE id = 1"))


def test_invalidating_a_table_or_a_row_concerns_every_column(env: Env) -> None:
    """`invalidate()` does not say which columns are meant."""
    for condition in (Product, Product.id == 1):
        env.warm(NAME_OF_ONE)
        env.warm(NAMES)
        env.cache.invalidate(condition)
        assert not env.served(NAME_OF_ONE)
        assert not env.served(NAMES)


def test_a_hybrid_and_a_column_property_read_what_they_are_made_of(env: Env) -> None:
    """Their expressions are what is rendered."""
    cheap = select(Product.id).where(Product.cheap).order_by(Product.id)
    counted = select(Product.review_count).where(Product.id == 1)
    with env.unconcerned(cheap, counted), env.transaction() as session:
        session.get_one(Product, 1).stock = 5
        session.get_one(Review, 1).stars = 1
    with env.change_of(cheap, counted), env.transaction() as session:
        session.get_one(Product, 1).price = Decimal(1)
        session.add(Review(product_id=1, stars=1))


def loaded(env: Env, id_: int) -> int:
    """Load a product in a session of its own; return its stock."""
    with env.session() as session:
        return session.get_one(Product, id_).stock


def test_an_ignored_column_of_entities(env: Env) -> None:
    """A counter that need not be fresh: entities are served with the value they were loaded with."""
    env.cache.policy(Product, ignore=["stock", "seen"])
    entities = select(Product).where(Product.category_id == 1).order_by(Product.id)
    env.warm(entities)
    assert [loaded(env, 1), loaded(env, 1)] == [3, 3]
    with env.transaction() as session:
        session.execute(update(Product).where(Product.id == 1).values(stock=50))
    assert env.served(entities)
    with env.traffic() as traffic:
        assert loaded(env, 1) == 3
    assert not traffic.statements
    with env.transaction() as session:
        session.execute(update(Product).where(Product.id == 1).values(name="fresh"))
    assert loaded(env, 1) == 50
    assert env.rows(entities) == env.truth(entities)


def test_an_ignored_column_counts_where_it_is_asked_for(env: Env) -> None:
    """Selected by itself, or where rows are chosen or ordered by it, it is as fresh as any other."""
    env.cache.policy(Product, ignore=["stock"])
    chosen = select(Product).where(Product.stock > 1).order_by(Product.id)
    ordered = select(Product).order_by(Product.stock, Product.id)
    selected = select(Product.id, Product.stock).order_by(Product.id)
    both = select(Product, Product.stock.label("left")).order_by(Product.id)
    with env.change_of(chosen, ordered, selected, both), env.transaction() as session:
        session.execute(update(Product).where(Product.id == 1).values(stock=0))


def test_an_ignored_column_does_not_hide_other_writes(env: Env) -> None:
    """Rows that come or go, or change in another column, are seen."""
    env.cache.policy(Product, ignore=["stock"])
    entities = select(Product).where(Product.category_id == 1).order_by(Product.id)
    with env.change_of(entities), env.transaction() as session:
        session.add(product(stock=4))
    with env.change_of(entities), env.transaction() as session:
        session.get_one(Product, 1).stock = 8
        session.get_one(Product, 1).name = "with another name"
    with env.change_of(entities), env.transaction() as session:
        session.execute(text("UPDATE products SET stock = 77 WHERE id = 1"))


@pytest.mark.parametrize(
    ("ignore", "message"),
    [("stock", r"ignore=\['stock'\]"), (["missing"], "'missing' is no column attribute"), (["id"], "primary key")],
)
def test_what_cannot_be_ignored(sqlite_env: Env, ignore: Any, message: str) -> None:
    """The mistake is named at once."""
    with pytest.raises(ConfigurationError, match=message):
        sqlite_env.cache.policy(Product, ignore=ignore)


def test_explain_shows_the_columns(env: Env) -> None:
    """Keys, columns, and why either is open."""
    text_of = str(env.cache.explain(NAME_OF_ONE.options(cached())))
    assert "products: rows pinned by id, columns: name" in text_of
    text_of = str(env.cache.explain(select(Product).where(Product.stock > 1).options(cached())))
    assert (
        "products: any row (no key column is restricted to known values), all columns (more than 8 columns are read)"
        in text_of
    )
    env.cache.policy(Product, ignore=["stock"])
    (table,) = env.cache.explain(select(Product).where(Product.id == 1)).tables
    assert table.columns is not None
    assert "stock" not in table.columns
