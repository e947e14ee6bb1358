"""Relations, loaded early or late, and the rows that change with others."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import immediateload, joinedload, lazyload, raiseload, selectinload, subqueryload, with_expression

from rowstamp import cached
from tests.conformance.models import (
    FREE_ID,
    Category,
    Note,
    Order,
    OrderItem,
    Product,
    Review,
    Tag,
    product,
    product_tags,
)  # fmt: skip
from tests.harness import Env, everything

EAGER = [joinedload, selectinload, subqueryload, immediateload]


def books(env: Env, strategy: Callable[[Any], Any]) -> list[tuple[str, list[str]]]:
    stmt = select(Category).order_by(Category.id).options(strategy(Category.products), cached())
    with env.session() as session:
        return [(each.name, [p.name for p in each.products]) for each in session.scalars(stmt).unique()]


@pytest.mark.parametrize("strategy", EAGER)
def test_an_eagerly_loaded_collection_is_served(env: Env, strategy: Callable[[Any], Any]) -> None:
    """`cached()` on the lead statement holds for its eager loads: no statement at all."""
    first = books(env, strategy)
    with env.traffic() as traffic:
        assert books(env, strategy) == first
    assert traffic.statements == []
    assert traffic.checkouts == 0


@pytest.mark.parametrize("strategy", EAGER)
def test_an_eagerly_loaded_collection_follows_its_rows(env: Env, strategy: Callable[[Any], Any]) -> None:
    """A row added to the related table is in the collection."""
    books(env, strategy)
    with env.transaction() as session:
        session.add(product())
    assert books(env, strategy)[0] == ("books", ["atlas", "bestiary", "new 100"])


def test_a_lazy_load_is_served_under_a_policy_and_follows(env: Env) -> None:
    """Lazy loads are cached where all their tables have a policy."""
    env.cache.policy(Category)
    env.cache.policy(Product)
    assert books(env, lazyload)[0][1] == ["atlas", "bestiary"]
    with env.traffic() as traffic:
        books(env, lazyload)
    assert traffic.statements == []
    with env.transaction() as session:
        session.add(product())
    assert books(env, lazyload)[0][1] == ["atlas", "bestiary", "new 100"]


def test_a_lazy_load_with_an_expression_is_served_and_follows(env: Env) -> None:
    """`with_expression()` in a loader option, in a new statement of the same shape each time."""
    for model in (Category, Product, Review):
        env.cache.policy(model)

    def ranks() -> list[int | None]:
        stars = select(func.max(Review.stars)).where(Review.product_id == Product.id).scalar_subquery()
        options = lazyload(Category.products).options(with_expression(Product.rank, stars))
        with env.session() as session:
            books = session.scalars(select(Category).where(Category.id == 1).options(options)).one()
            return [each.rank for each in books.products]

    assert [ranks(), ranks()] == [[5, None]] * 2
    with env.traffic() as traffic:
        assert ranks() == [5, None]
    assert not traffic.statements
    with env.transaction() as session:
        session.add(Review(id=FREE_ID, product_id=2, stars=1))
    assert ranks() == [5, 1]


def test_a_lazy_load_without_policy_is_not_cached(env: Env) -> None:
    """`cached()` on the lead statement does not hold for lazy loads made later."""
    books(env, lazyload)
    with env.traffic() as traffic:
        books(env, lazyload)
    assert len(traffic) == 3


def test_a_many_to_one_lazy_load_follows(env: Env) -> None:
    """The row a foreign key points to is found by its key, and follows."""
    env.cache.policy(Category)
    env.cache.policy(Product)

    def name() -> str | None:
        with env.session() as session:
            category = session.get_one(Product, 1).category
            return category.name if category else None

    assert [name(), name()] == ["books", "books"]
    with env.transaction() as session:
        session.get_one(Category, 1).name = "paper"
    assert name() == "paper"


def test_raiseload_raises_on_a_hit_too(env: Env) -> None:
    """`raiseload` is in force on entities from the cache."""
    stmt = select(Product).where(Product.id == 1).options(raiseload(Product.category))
    for served in (False, True):
        with env.session() as session, env.traffic() as traffic:
            found = session.scalars(stmt.options(cached())).one()
            assert (not traffic.statements) == served
            with pytest.raises(InvalidRequestError, match="lazy='raise'"):
                _ = found.category


def tagged(env: Env) -> list[str]:
    stmt = select(Product).where(Product.id == 1).options(selectinload(Product.tags), cached())
    with env.session() as session:
        return [tag.name for tag in session.scalars(stmt).one().tags]


def test_many_to_many_add_and_remove(env: Env) -> None:
    """Pairs that the unit of work writes into an association table are seen."""
    assert [tagged(env), tagged(env)] == [["new", "sale"]] * 2
    with env.transaction() as session:
        atlas = session.get_one(Product, 1)
        atlas.tags.append(session.get_one(Tag, 3))
    assert [tagged(env), tagged(env)] == [["new", "sale", "unused"]] * 2
    with env.transaction() as session:
        atlas = session.get_one(Product, 1)
        atlas.tags.clear()
    assert tagged(env) == []


def test_a_select_of_the_association_table_follows(env: Env) -> None:
    """The association table itself, read without any entity."""
    with env.change_of(select(product_tags).order_by(*product_tags.c)), env.transaction() as session:
        dominoes = session.get_one(Product, 4)
        dominoes.tags.append(session.get_one(Tag, 1))


def test_orm_cascade_of_a_delete(env: Env) -> None:
    """Children that the unit of work deletes with their parent are seen."""
    one = select(OrderItem).where(OrderItem.order_id == 2, OrderItem.product_id == 2)
    with env.change_of(everything(OrderItem), one), env.transaction() as session:
        session.delete(session.get_one(Order, 2))


def test_an_orphan_is_deleted(env: Env) -> None:
    """A child taken out of a delete-orphan collection is seen."""
    with env.change_of(everything(OrderItem)), env.transaction() as session:
        order = session.get_one(Order, 1)
        order.items.pop()


def test_database_cascade_of_an_orm_delete(env: Env) -> None:
    """Rows that ON DELETE CASCADE and SET NULL change are named by no statement, and seen."""
    statements = [
        everything(Review),
        select(Review).where(Review.id == 3),
        everything(Note),
        select(Note).where(Note.id == 2),
    ]
    with env.change_of(*statements), env.transaction() as session:
        session.delete(session.get_one(Product, 4))


def test_database_cascade_of_a_bulk_delete(env: Env) -> None:
    """The same for a DELETE of a condition."""
    with env.change_of(everything(Review), everything(Note)), env.transaction() as session:
        session.execute(delete(Product).where(Product.name == "dominoes"))


def test_a_moved_child_is_in_one_collection(env: Env) -> None:
    """A row that moves between two cached collections is in the new one and not in the old one."""
    books(env, selectinload)
    with env.transaction() as session:
        session.get_one(Product, 3).category_id = 3
    found = dict(books(env, selectinload))
    assert (found["games"], found["novels"]) == ([], ["chess"])


def test_a_self_referential_tree_follows(env: Env) -> None:
    """Two levels of eager loads of one table."""
    stmt = select(Category).where(Category.parent_id.is_(None)).order_by(Category.id)
    stmt = stmt.options(selectinload(Category.children).selectinload(Category.children), cached())

    def tree() -> list[Any]:
        with env.session() as session:
            return [
                (c.name, [(d.name, [e.name for e in d.children]) for d in c.children]) for c in session.scalars(stmt)
            ]

    assert [tree(), tree()] == [[("books", [("novels", [])]), ("games", [])]] * 2
    with env.transaction() as session:
        session.add(Category(id=FREE_ID, name="crime", parent_id=3))
    assert tree() == [("books", [("novels", ["crime"])]), ("games", [])]
