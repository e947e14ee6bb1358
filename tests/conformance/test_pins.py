"""A write to rows that cannot matter leaves a result usable; a write to one that can ends it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.orm import aliased, joinedload, selectinload, subqueryload, with_loader_criteria, with_polymorphic

from rowstamp import cached
from rowstamp.analysis.collect import collect
from tests.conformance.models import (
    FREE_ID,
    CardPayment,
    Category,
    Customer,
    Employee,
    Manager,
    Note,
    Order,
    OrderItem,
    Payment,
    Person,
    Product,
    Review,
    product,
)
from tests.harness import Env

STOCK = select(Product.id, Product.stock).order_by(Product.id)
OF_CATEGORY_1 = select(Category.name, Product.stock).join(Product.category)


def restock(env: Env, *ids: int) -> None:
    """Change a column of products that every statement of this file reads."""
    with env.transaction() as session:
        for id_ in ids:
            session.execute(update(Product).where(Product.id == id_).values(stock=Product.stock + 1))


def sell(env: Env, category: int | None, id_: int = FREE_ID) -> None:
    """Add a product to a category."""
    with env.transaction() as session:
        session.add(product(id_, category_id=category))


@pytest.mark.parametrize(
    "statement",
    [
        STOCK.where(Product.id == 1),
        STOCK.where(Product.id == literal_column("1")),
        STOCK.where(Product.id.in_([1])),
        STOCK.where(Product.id.between(1, 1)),
        STOCK.where(or_(Product.id == 1, Product.id.in_([9, 10]))),
        STOCK.where(or_(and_(Product.id == 1, Product.stock > 0), and_(Product.id == 9, Product.stock > 5))),
        STOCK.where(Product.id == select(Review.product_id).where(Review.id == 1).scalar_subquery(), Product.id == 1),
        STOCK.where(Product.id.in_(select(Product.id).where(Product.id == 1))),
        union_all(select(Product.stock).where(Product.id == 1), select(Product.stock).where(Product.id == 9)),
    ],
    ids=str,
)
def test_one_row_by_its_key(env: Env, statement: Any) -> None:
    """However the key is named, other rows do not matter."""
    with env.unconcerned(statement):
        restock(env, 2, 3)
        with env.transaction() as session:
            session.add(product())
    with env.change_of(statement):
        restock(env, 1)


def test_a_value_that_is_written_into_the_statement(sqlite_env: Env) -> None:
    """No parameter is left of it when the statement is sent: any row may matter, and `explain` says so."""
    statement = STOCK.where(Product.id == literal(1, literal_execute=True))
    assert "any row (a value is written into the text of the statement)" in str(sqlite_env.cache.explain(statement))
    with sqlite_env.change_of(statement):
        restock(sqlite_env, 1)


def test_values_that_are_given_at_the_execution(env: Env) -> None:
    """Of one key, of a list and of a list of pairs, in a session and on a Connection."""
    i = OrderItem
    listed = STOCK.where(Product.id.in_(bindparam("ids", expanding=True)))
    pairs = select(i.quantity).where(tuple_(i.order_id, i.product_id).in_(bindparam("pairs", expanding=True)))
    given: list[tuple[Any, dict[str, Any]]] = [
        (STOCK.where(Product.id == bindparam("id")), {"id": 1}),
        (listed, {"ids": [1, 9]}),
        (pairs, {"pairs": [(1, 3), (2, 9)]}),
    ]

    def write(id_: int, pair: tuple[int, int]) -> None:
        restock(env, id_)
        with env.transaction() as session:
            session.get_one(OrderItem, pair).quantity += 1

    for each in given:
        assert env.rows(*each) == env.core_rows(*each) == env.core_truth(*each)
    write(2, (2, 2))
    assert all(env.served(*each) and env.core_served(*each) for each in given)
    write(1, (1, 3))
    for each in given:
        assert env.rows(*each) == env.core_rows(*each) == env.core_truth(*each)


def test_a_foreign_key_names_the_rows_of_a_list(env: Env) -> None:
    """Rows of other parents do not matter, until they come to this one or leave it."""
    listed = STOCK.where(Product.category_id == 1)
    with env.unconcerned(listed):
        sell(env, 2)
    with env.change_of(listed):
        restock(env, 2)
    for category in (1, 2):
        with env.change_of(listed), env.transaction() as session:
            session.get_one(Product, 3).category_id = category
    with env.change_of(listed), env.transaction() as session:
        session.execute(delete(OrderItem).where(OrderItem.product_id == 2))
        session.delete(session.get_one(Product, 2))


def test_rows_without_a_parent(env: Env) -> None:
    """`IS NULL` names rows, too."""
    orphans = STOCK.where(Product.category_id.is_(None))
    with env.unconcerned(orphans):
        sell(env, 1, FREE_ID + 1)
    with env.change_of(orphans):
        restock(env, 4)
    with env.change_of(orphans), env.transaction() as session:
        session.execute(update(Product).where(Product.id == 1).values(category_id=None))
    with env.change_of(orphans):
        sell(env, None)
    with env.change_of(orphans), env.transaction() as session:
        session.get_one(Product, 4).category_id = 2


def test_rows_that_have_no_match(env: Env) -> None:
    """`LEFT JOIN … IS NULL` reads every row of the right side: any may become a match."""
    unreviewed = (
        select(Product.name).outerjoin(Review, Review.product_id == Product.id).where(Review.id.is_(None), Product.id.in_([2, 3]))
    ).order_by(Product.id)  # fmt: skip
    with env.change_of(unreviewed), env.transaction() as session:
        session.add(Review(id=FREE_ID, product_id=2, stars=1))
    with env.change_of(unreviewed), env.transaction() as session:
        session.get_one(Review, FREE_ID).product_id = 1


def test_composite_keys(env: Env) -> None:
    """Pairs stay pairs."""
    i = OrderItem
    statements: list[Select[Any]] = [
        select(i.quantity).where(i.order_id == 1, i.product_id == 3),
        select(i.quantity).where(tuple_(i.order_id, i.product_id).in_([(1, 3), (2, 9)])),
        select(i.quantity).where(
            or_(and_(i.order_id == 1, i.product_id == 3), and_(i.order_id == 2, i.product_id == 9))
        ),
    ]

    def order(order_id: int, product_id: int) -> None:
        with env.transaction() as session:
            key = i.order_id == order_id, i.product_id == product_id
            session.execute(update(i).where(*key).values(quantity=i.quantity + 1))

    with env.unconcerned(*statements):
        order(1, 1)
        order(2, 2)
    with env.change_of(*statements):
        order(1, 3)


def test_the_other_side_of_a_join(env: Env) -> None:
    """A key that equals a pinned one is pinned."""
    joined = select(Category.name, Product.stock).join(Product.category).where(Category.id == 1).order_by(Product.id)
    with env.unconcerned(joined):
        sell(env, 2)
        with env.transaction() as session:
            session.get_one(Category, 2).name = "toys"
    with env.change_of(joined):
        restock(env, 2)
    with env.change_of(joined), env.transaction() as session:
        session.get_one(Category, 1).name = "paper"


def test_a_join_that_select_from_names(sqlite_env: Env) -> None:
    """The mapper's join, and the tables' own."""
    join = select(Category.name, Product.stock).select_from(Category).join(Category.products)
    tables = Category.__table__.join(Product.__table__)
    core = select(Category.name, Product.stock).select_from(tables)
    statements = [each.where(Category.id == 1).order_by(Product.id) for each in (join, core)]
    with sqlite_env.unconcerned(*statements):
        restock(sqlite_env, 3)
    with sqlite_env.change_of(*statements):
        restock(sqlite_env, 1)
    with sqlite_env.change_of(*statements), sqlite_env.transaction() as session:
        session.get_one(Category, 1).name = "paper"


def test_a_correlated_subquery(env: Env) -> None:
    """It takes the pins of the row around it."""
    best = select(func.max(Review.stars)).where(Review.product_id == Product.id).scalar_subquery()
    reviewed = exists().where(Review.product_id == Product.id, Review.stars > 4)
    statements = [
        select(Product.name, best).where(Product.id == 1),
        select(Product.name).where(Product.id == 1, reviewed),
    ]
    with env.unconcerned(*statements), env.transaction() as session:
        session.add(Review(id=FREE_ID, product_id=2, stars=5))
    with env.change_of(*statements), env.transaction() as session:
        session.execute(update(Review).where(Review.id == 1).values(stars=2))


def test_conditions_under_not(env: Env) -> None:
    """NOT lets those rows pass for which a condition is false: `NOT (id <> 1 OR …)` names the row, and NULL does not pass."""
    statement = STOCK.where(not_(or_(Product.id != 1, Product.name == "x")))
    orphans = STOCK.where(not_(or_(Product.category_id.is_not(None), Product.name == "x")))
    with env.unconcerned(statement, orphans):
        restock(env, 2)
    with env.change_of(statement), env.unconcerned(orphans):
        restock(env, 1)
    with env.change_of(orphans), env.unconcerned(statement):
        sell(env, None)


def test_exists_names_the_enclosing_row(env: Env) -> None:
    """A row for which something is found has the key that was looked for; one for which nothing is found may have any."""
    reviewed = exists().where(Review.product_id == Product.id, Review.product_id == 1)
    found, others = STOCK.where(reviewed), STOCK.where(~reviewed)
    in_second = STOCK.where(Product.category.has(Category.id == 2))
    with env.unconcerned(found, in_second), env.change_of(others):
        restock(env, 2)
    with env.change_of(found), env.unconcerned(in_second):
        restock(env, 1)
    with env.change_of(in_second), env.unconcerned(found):
        restock(env, 3)
    with env.change_of(found, others), env.transaction() as session:
        session.execute(delete(Review).where(Review.product_id == 1))


def test_any_names_rows_of_the_other_side(env: Env) -> None:
    """`any()` with a key of its own table; with the key by which it is joined, it names the row that has it, too."""
    praised = STOCK.where(Product.reviews.any(and_(Review.id == 1, Review.stars > 4)))
    reviewed = STOCK.where(Product.reviews.any(Review.product_id == 1))
    with env.unconcerned(praised, reviewed), env.transaction() as session:
        session.get_one(Review, 2).stars = 1
    with env.unconcerned(reviewed), env.transaction() as session:
        session.execute(update(Product).where(Product.id == 2).values(stock=7))
    with env.change_of(praised), env.unconcerned(reviewed), env.transaction() as session:
        session.get_one(Review, 1).stars = 1
    with env.change_of(reviewed), env.transaction() as session:
        session.execute(delete(Review).where(Review.product_id == 1))


def test_a_union_in_from(env: Env) -> None:
    """Each part takes the pins of its reader, and what all parts pin is handed out."""
    named = union_all(select(Product.id, Product.name), select(Category.id, Category.name)).subquery()
    inwards = select(named.c.name).where(named.c.id == 1).order_by(named.c.name)
    keys = union_all(select(Category.id).where(Category.id == 1), select(Review.id).where(Review.id == FREE_ID))
    outwards = STOCK.where(Product.id.in_(keys))
    with env.unconcerned(inwards, outwards), env.transaction() as session:
        session.get_one(Category, 2).name = "toys"
        session.execute(update(Product).where(Product.id == 2).values(name="beasts", stock=9))
    with env.change_of(inwards), env.transaction() as session:
        session.get_one(Category, 1).name = "paper"
    with env.change_of(outwards):
        restock(env, 1)


def test_a_subquery_and_a_cte(env: Env) -> None:
    """Their pins are their reader's, and the reader's are theirs."""
    inner = select(Product.id.label("pid"), Product.stock).where(Product.id == 1).limit(1).subquery()
    outwards = select(inner.c.stock, Review.stars).join(Review, Review.product_id == inner.c.pid).order_by(Review.id)
    counts = select(Review.product_id, func.count().label("n")).group_by(Review.product_id).cte()
    inwards = select(counts.c.n).where(counts.c.product_id == 1)
    with env.unconcerned(outwards, inwards), env.transaction() as session:
        session.add(Review(id=FREE_ID, product_id=2, stars=5))
    with env.change_of(outwards, inwards), env.transaction() as session:
        session.add(Review(product_id=1, stars=5))


def test_a_self_join(env: Env) -> None:
    """Each side has rows of its own; the parent's children are those with its key."""
    child = aliased(Category)
    statement = select(Category.name, child.name).join(child, child.parent_id == Category.id).where(Category.id == 1)
    with env.unconcerned(statement), env.transaction() as session:
        session.add(Category(id=FREE_ID + 1, name="toys", parent_id=2))
    with env.change_of(statement), env.transaction() as session:
        session.get_one(Category, 3).name = "short novels"
    with env.change_of(statement), env.transaction() as session:
        session.execute(insert(Category).values(id=FREE_ID, name="maps", parent_id=1))


def test_a_self_join_with_two_pins(sqlite_env: Env) -> None:
    """The rows of both matter, whichever of the two sides of the one table they are on."""
    other = aliased(Product)
    statement = select(Product.stock, other.stock).join(other, other.category_id == Product.category_id)
    statement = statement.where(Product.id == 1, other.id == 2)
    with sqlite_env.unconcerned(statement):
        restock(sqlite_env, 3)
        sell(sqlite_env, 1)
    for id_ in (1, 2):
        with sqlite_env.change_of(statement):
            restock(sqlite_env, id_)


# ------------------------------------------------------------------------------------------------ mapped classes


@pytest.mark.parametrize("load", [joinedload, selectinload, subqueryload])
def test_eager_loads(env: Env, load: Any) -> None:
    """The rows of a relationship are those of the loaded entities."""
    statement = select(Category).where(Category.id == 1).options(load(Category.products))

    def names() -> list[str]:
        with env.session() as session:
            found = session.execute(statement.options(cached())).unique().scalar_one()
            return [each.name for each in found.products]

    assert names() == names() == ["atlas", "bestiary"]
    sell(env, 2)
    with env.traffic() as traffic:
        assert names() == ["atlas", "bestiary"]
    assert not traffic.statements
    with env.transaction() as session:
        session.get_one(Product, 3).category_id = 1
    assert names() == ["atlas", "bestiary", "chess"]


def test_a_limited_eager_load(env: Env) -> None:
    """The ORM puts the entities into a subquery and joins the rest to it."""
    statement = select(Category).where(Category.id == 1).limit(1).options(joinedload(Category.products))
    explained = str(env.cache.explain(statement))
    assert "products: rows pinned by category_id" in explained
    assert "categories: rows pinned by id" in explained


def test_lazy_loads(env: Env) -> None:
    """`customer.orders` reads the orders of that customer."""
    for model in (Customer, Order):
        env.cache.policy(model)

    def orders(customer: int) -> list[int]:
        with env.session() as session:
            return [order.id for order in session.get_one(Customer, customer).orders]

    assert orders(1) == orders(1) == [1, 2]
    with env.transaction() as session:
        session.execute(insert(Order).values(id=FREE_ID, customer_id=2))
    with env.traffic() as traffic:
        assert orders(1) == [1, 2]
    assert not traffic.statements
    assert orders(2) == [FREE_ID]
    with env.transaction() as session:
        session.execute(update(Order).where(Order.id == FREE_ID).values(customer_id=1))
    assert (orders(1), orders(2)) == ([1, 2, FREE_ID], [])


def test_joined_inheritance(env: Env) -> None:
    """Every table of the hierarchy is pinned by the key they share."""
    people = with_polymorphic(Person, "*")
    one = select(Manager).where(Manager.id == 3)
    any_kind = select(people).where(people.id == 3)
    with env.unconcerned(one, any_kind), env.transaction() as session:
        session.get_one(Employee, 2).desk = "z9"
        session.get_one(Person, 1).name = "zack"
    for column in ("name", "desk", "budget"):
        with env.change_of(one, any_kind), env.transaction() as session:
            manager = session.get_one(Manager, 3)
            setattr(manager, column, 7 if column == "budget" else f"new {column}")


def test_single_table_inheritance(env: Env) -> None:
    """The criterion of the class is one more condition."""
    card = select(CardPayment).where(CardPayment.id == 2)
    with env.unconcerned(card), env.transaction() as session:
        session.get_one(Payment, 1).amount = 11
    with env.change_of(card), env.transaction() as session:
        session.get_one(Payment, 2).amount = 21


def test_loader_criteria(env: Env) -> None:
    """Conditions that are added to every select of a class pin like others."""
    statement = select(Product.id, Product.stock).options(with_loader_criteria(Product, Product.id == 1))
    with env.unconcerned(statement):
        restock(env, 2)
    with env.change_of(statement):
        restock(env, 1)


# ---------------------------------------------------------------------------------------------- once per shape


def test_a_shape_is_analysed_once(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other parameters, and lists of other lengths, are filled in."""
    analysed: list[Any] = []

    def counted(statement: Any, *args: Any) -> Any:
        analysed.append(statement)
        return collect(statement, *args)

    monkeypatch.setattr("rowstamp.analysis.reads.collect", counted)
    for number in range(1, 6):
        for _ in range(2):
            env.rows(STOCK.where(Product.id == number))
            env.rows(STOCK.where(Product.id.in_(range(number))))
            env.rows(select(Note).where(Note.product_id.between(number, number)))
    assert len(analysed) == 3
