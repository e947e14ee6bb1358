"""Counts, sums and single columns are results like any other."""

from decimal import Decimal

from sqlalchemy import distinct, func, select

from tests.conformance.models import FREE_ID, Category, OrderItem, Product, product
from tests.harness import Env


def test_a_count_follows_an_insert(env: Env) -> None:
    """`count(*)` names no column, and still depends on the table."""
    with env.change_of(select(func.count()).select_from(Product)), env.transaction() as session:
        session.add(product())


def test_a_count_of_a_column_follows_a_delete(env: Env) -> None:
    """`count(column)` follows a deleted row."""
    with env.change_of(select(func.count(OrderItem.product_id))), env.transaction() as session:
        session.delete(session.get_one(OrderItem, (2, 2)))


def test_a_sum_with_group_by_follows_an_update(env: Env) -> None:
    """Groups are computed anew after a price changes."""
    stmt = (
        select(Category.name, func.sum(Product.price), func.max(Product.stock))
        .join(Category.products)
        .group_by(Category.name)
        .order_by(Category.name)
    )
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 1).price += 1


def test_having_follows_an_insert(env: Env) -> None:
    """A group that only HAVING kept out appears."""
    stmt = select(Product.category_id).group_by(Product.category_id).having(func.count() > 2)
    with env.change_of(stmt), env.transaction() as session:
        session.add(product())


def test_a_distinct_count_follows_an_update(env: Env) -> None:
    """`count(DISTINCT column)` follows."""
    with env.change_of(select(func.count(distinct(Product.status)))), env.transaction() as session:
        session.get_one(Product, 2).status = session.get_one(Product, 1).status


def test_a_column_select_follows_an_update(env: Env) -> None:
    """A select of columns without any entity is invalidated like one of entities."""
    with env.change_of(select(Product.name).where(Product.id == 1)), env.transaction() as session:
        session.get_one(Product, 1).name = "atlas II"


def test_an_aggregate_of_no_rows_follows_the_first(env: Env) -> None:
    """`max()` of nothing is one row with NULL; it ends with the first row."""
    stmt = select(func.max(Product.price)).where(Product.category_id == 3)
    with env.change_of(stmt), env.transaction() as session:
        session.add(product(FREE_ID, category_id=3))


def test_exists_at_the_top_follows_the_first(env: Env) -> None:
    """`SELECT EXISTS (…)` turns true."""
    stmt = select(select(Product.id).where(Product.category_id == 3).exists())
    with env.change_of(stmt), env.transaction() as session:
        session.add(product(FREE_ID, category_id=3))


def test_a_window_function_follows_an_update(env: Env) -> None:
    """Ranks are computed anew."""
    stmt = select(Product.name, func.rank().over(order_by=Product.price)).order_by(Product.id)
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 4).price = Decimal(99)
