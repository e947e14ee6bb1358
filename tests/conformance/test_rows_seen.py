"""A joined row is depended on by itself, as the result shows it; the table it is in only where the result does not tell."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session, aliased, contains_eager, joinedload

from tests.conformance.models import (
    FREE_ID,
    Category,
    Employee,
    OrderItem,
    Person,
    Product,
    Review,
    Tag,
    product,
)
from tests.conformance.test_races import once_loaded
from tests.conformance.test_races import prepare as let_writers_in
from tests.harness import Env, read

EAGER = select(Product).options(joinedload(Product.category)).order_by(Product.id)
PAGE = EAGER.limit(2)
INNER = select(Product, Category).join(Product.category).order_by(Product.id)
COLUMNS = select(Product.name, Product.category_id, Category.name).outerjoin(Product.category).order_by(Product.id)


def rename(env: Env, id_: int, name: str = "paper") -> None:
    with env.transaction() as session:
        session.get_one(Category, id_).name = name


@pytest.mark.parametrize("stmt", [EAGER, PAGE, INNER, COLUMNS], ids=["eager", "page", "inner", "columns"])
def test_a_row_that_is_seen(env: Env, stmt: Any) -> None:
    """Its new values are seen; what happens to a row of the same table that no result row shows leaves the result usable."""
    with env.unconcerned(stmt):
        rename(env, 3)
        with env.transaction() as session:
            session.execute(update(Category).where(Category.id == 3).values(name="tales", parent_id=2))
    with env.change_of(stmt):
        rename(env, 1)


def test_rows_that_come_and_go_do_not_matter_to_an_outer_join_that_has_found_its_rows(env: Env) -> None:
    """A key finds one row: others may be inserted and deleted."""
    with env.unconcerned(EAGER, PAGE, COLUMNS):
        with env.transaction() as session:
            session.add(Category(id=FREE_ID, name="maps"))
        with env.transaction() as session:
            session.delete(session.get_one(Category, FREE_ID))


def test_a_row_that_an_outer_join_has_not_found(env: Env) -> None:
    """It is told by the value that was looked for: the row with that key, once it is there, is seen."""
    orphans = Table("orphans", MetaData(), Column("id", Integer, primary_key=True), Column("category", Integer))
    stmt = select(orphans.c.id, orphans.c.category, Category.name).outerjoin(
        Category, Category.id == orphans.c.category
    )
    with tables(env, orphans) as session:
        session.execute(insert(orphans), [{"id": 1, "category": FREE_ID}])
    with env.unconcerned(stmt), env.transaction() as session:
        session.add(Category(id=FREE_ID + 1, name="maps"))
    with env.change_of(stmt), env.transaction() as session:
        session.add(Category(id=FREE_ID, name="atlases"))


def test_an_insert_whose_keys_nobody_tells(env: Env) -> None:
    """What an outer join has found has its key for itself; what it has looked for in vain may be the row that comes."""
    orphans = Table("orphans", MetaData(), Column("id", Integer, primary_key=True), Column("category", Integer))
    some = select(orphans, Category).outerjoin(Category, Category.id == orphans.c.category)
    found, absent = some.where(orphans.c.id == 1), some.where(orphans.c.id == 2)
    with tables(env, orphans) as session:
        session.execute(insert(orphans), [{"id": 1, "category": 1}, {"id": 2, "category": FREE_ID + 1}])
    source = select(Tag.id + literal(FREE_ID), Tag.name).where(Tag.id == 1)
    with env.unconcerned(EAGER, found), env.change_of(absent), env.transaction() as session:
        session.execute(insert(Category).from_select(["id", "name"], source))
    with env.change_of(found), env.transaction() as session:
        session.execute(update(Category).where(Category.name == "books").values(name="paper"))


def test_a_row_that_an_outer_join_has_not_found_where_the_key_looked_for_is_not_shown(env: Env) -> None:
    """Then any row of the table may be the one that is missing."""
    stmt = select(Product.name, Category).outerjoin(Product.category).order_by(Product.id)
    with env.change_of(stmt):
        rename(env, 1)
    env.warm(stmt)
    rename(env, 3)
    assert not env.served(stmt)


def test_a_row_that_an_inner_join_has_not_found(env: Env) -> None:
    """The result does not show what is lacking: any row that comes may be it."""
    orphans = Table("orphans", MetaData(), Column("id", Integer, primary_key=True), Column("category", Integer))
    stmt = select(orphans.c.id, Category).join(Category, Category.id == orphans.c.category)
    with tables(env, orphans) as session:
        session.execute(insert(orphans), [{"id": 1, "category": FREE_ID}, {"id": 2, "category": 1}])
    with env.change_of(stmt), env.transaction() as session:
        session.add(Category(id=FREE_ID, name="atlases"))
    with env.change_of(stmt), env.transaction() as session:
        session.execute(update(orphans).values(category=3))


def test_a_changed_foreign_key(env: Env) -> None:
    """Another row is seen from then on, and the one that was seen before is not."""
    with env.change_of(EAGER, COLUMNS), env.transaction() as session:
        session.get_one(Product, 3).category_id = 3
    with env.unconcerned(EAGER, COLUMNS):
        rename(env, 2)
    with env.change_of(EAGER, COLUMNS):
        rename(env, 3)


def test_what_where_asks_of_a_joined_row_matters_in_every_row(env: Env) -> None:
    """A row that was left out by it shows nowhere."""
    stmt = (
        select(Product)
        .join(Product.category)
        .options(contains_eager(Product.category))
        .where(Category.name == "books")
        .order_by(Product.id)
    )
    with env.change_of(stmt):
        rename(env, 2, "books")
    with env.unconcerned(stmt), env.transaction() as session:
        session.get_one(Category, 3).parent_id = 2
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Category, 1).parent_id = 2


def test_what_order_by_and_limit_ask_of_a_joined_row_matters_in_every_row(env: Env) -> None:
    """Rows beyond the limit show nowhere."""
    stmt = select(Product).options(contains_eager(Product.category)).outerjoin(Product.category)
    by_name = stmt.order_by(Category.name.desc(), Product.id.desc()).limit(1)
    with env.transaction() as session:
        session.get_one(Product, 4).category_id = 2
    with env.change_of(by_name):
        rename(env, 1, "zebras")
    labelled = select(Product.id, Product.category_id, Category.name.label("sorted")).outerjoin(Product.category)
    with env.change_of(labelled.order_by(text("sorted"), Product.id).limit(1)):
        rename(env, 2, "aardvarks")
    with env.change_of(labelled.order_by("sorted", Product.id).limit(1)):
        rename(env, 1, "aaa")
    shown = Category.name.label("sorted")
    inner = select(Product.id, Category.id, Category.parent_id, shown).join(Product.category).limit(1)
    with env.change_of(inner.order_by(shown.desc(), Product.id)):
        rename(env, 2, "zebras")


def test_what_where_asks_of_the_nullable_side_of_an_outer_join(env: Env) -> None:
    """It leaves rows out as an inner join does, also by what is joined by what the joined row holds."""
    stmt = select(Product.id, Product.category_id, Category).outerjoin(Product.category).order_by(Product.id)
    with env.change_of(stmt.where(Category.name == "books")):
        rename(env, 2, "books")
    above = aliased(Category)
    grand = (
        stmt.add_columns(above.id, above.name)
        .outerjoin(above, above.id == Category.parent_id)
        .where(above.name == "novels")
    )
    with env.change_of(grand), env.transaction() as session:
        session.get_one(Category, 2).parent_id = 3


@pytest.mark.parametrize("distinct", [False, True])
def test_rows_of_which_others_are_made(env: Env, distinct: bool) -> None:
    """A count, a group or what is left of equal rows does not show the rows that it was made of."""
    counted = select(func.count(), func.min(Product.category_id), func.min(Category.id)).outerjoin(Product.category)
    grouped = (
        select(Product.category_id, func.count(Category.parent_id))
        .outerjoin(Product.category)
        .group_by(Product.category_id)
        .order_by(Product.category_id)
    )
    with env.change_of(grouped), env.transaction() as session:
        session.get_one(Category, 2).parent_id = 1
    with env.change_of(counted.where(Category.name == "books")):
        rename(env, 2, "books")
    some = select(Product.category_id, Category.name).outerjoin(Product.category).order_by(Product.category_id.desc())
    some = some.where(Product.category_id.is_not(None))
    with env.change_of(some.distinct().limit(2) if distinct else some.distinct()):
        rename(env, 1, "scrolls")


def test_a_row_of_the_same_table(env: Env) -> None:
    """A self-reference: the row itself is pinned, its parent is seen."""
    stmt = select(Category).options(joinedload(Category.parent)).where(Category.id == 3)
    with env.unconcerned(stmt):
        rename(env, 2)
    with env.change_of(stmt):
        rename(env, 1)
    with env.change_of(stmt):
        rename(env, 3)


def test_a_chain_of_joins(env: Env) -> None:
    """The rows of each link are seen."""
    stmt = select(Product).options(joinedload(Product.category).joinedload(Category.parent)).where(Product.id == 1)
    with env.transaction() as session:
        session.get_one(Product, 1).category_id = 3
    with env.unconcerned(stmt):
        rename(env, 2)
    with env.change_of(stmt):
        rename(env, 1)
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Category, 3).parent_id = 2
    with env.unconcerned(stmt):
        rename(env, 1, "old books")
    with env.change_of(stmt):
        rename(env, 2, "old games")


def test_an_eager_collection(env: Env) -> None:
    """The rows of a collection are told by the key of the row they belong to, also those that come."""
    stmt = select(Product).options(joinedload(Product.reviews)).where(Product.stock < 5).order_by(Product.id)
    env.rows(stmt, unique=True)
    with env.transaction() as session:
        session.add(Review(id=FREE_ID, product_id=3, stars=1))
    assert env.served(stmt, unique=True), "a review of a product that is not shown"
    with env.transaction() as session:
        session.add(Review(id=FREE_ID + 1, product_id=2, stars=1))
    assert not env.served(stmt, unique=True)
    assert env.rows(stmt, unique=True) == env.truth(stmt, unique=True)


def test_an_eager_collection_over_an_association_table(env: Env) -> None:
    """Pairs are told by the row they belong to; of their other side rows that come and go count as well."""
    stmt = select(Product).options(joinedload(Product.tags)).order_by(Product.id)
    env.rows(stmt, unique=True)
    with env.transaction() as session:
        session.get_one(Tag, 3).name = "never seen"
    assert env.served(stmt, unique=True)
    for change in (update(Tag).where(Tag.id == 2).values(name="bargain"), insert(Tag).values(id=FREE_ID, name="x")):
        with env.transaction() as session:
            session.execute(change)
        assert not env.served(stmt, unique=True)
        assert env.rows(stmt, unique=True) == env.truth(stmt, unique=True)


def test_joined_inheritance_behind_an_outer_join(env: Env) -> None:
    """The rows of every table of a hierarchy have the key that is looked for."""
    tasks = Table("tasks", MetaData(), Column("id", Integer, primary_key=True), Column("employee", Integer))
    stmt = select(tasks.c.id, tasks.c.employee, Employee).outerjoin(Employee, Employee.id == tasks.c.employee)
    with tables(env, tasks) as session:
        session.execute(insert(tasks), [{"id": 1, "employee": 2}])
    with env.unconcerned(stmt), env.transaction() as session:
        session.get_one(Person, 3).name = "xerxes"
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Employee, 2).name = "yolanda"
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Employee, 2).desk = "a2"


def test_a_composite_key(env: Env) -> None:
    """All columns together tell the row."""
    hints = Table(
        "hints",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("order_id", Integer),
        Column("product_id", Integer),
    )
    stmt = (
        select(hints, OrderItem)
        .outerjoin(OrderItem, (OrderItem.order_id == hints.c.order_id) & (OrderItem.product_id == hints.c.product_id))
        .order_by(hints.c.id)
    )
    with tables(env, hints) as session:
        session.execute(
            insert(hints),
            [
                {"id": 1, "order_id": 1, "product_id": 1},
                {"id": 2, "order_id": 1, "product_id": None},
                {"id": 3, "order_id": 2, "product_id": 1},
            ],
        )
    with env.unconcerned(stmt), env.transaction() as session:
        session.get_one(OrderItem, (1, 3)).quantity = 9
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(OrderItem, (1, 1)).quantity = 9
    with env.change_of(stmt), env.transaction() as session:
        session.add(OrderItem(order_id=2, product_id=1, quantity=1))


def test_a_column_of_a_joined_row_that_is_not_read(env: Env) -> None:
    """A change of it leaves the result usable, in a row that is seen as well."""
    stmt = select(Product.name, Product.category_id, Category.name).outerjoin(Product.category).order_by(Product.id)
    with env.unconcerned(stmt), env.transaction() as session:
        session.get_one(Category, 1).parent_id = 2


@pytest.mark.parametrize(
    "write",
    [
        text("UPDATE categories SET name = 'paper' WHERE id = 1"),
        update(Category).where(Category.name == "books").values(name="paper"),
        update(Category).values(name="paper"),
    ],
    ids=["text", "another column", "all rows"],
)
def test_a_write_that_does_not_say_which_row(env: Env, write: Any) -> None:
    """It may be any of them."""
    with env.change_of(EAGER, INNER), env.transaction() as session:
        session.execute(write)


def test_more_rows_than_can_be_told_apart(env: Env) -> None:
    """Beyond the limit the result depends on the whole table."""
    with env.transaction() as session:
        session.add_all([Category(id=FREE_ID + number, name="shelf") for number in range(70)])
        session.add_all([product(FREE_ID + number, category_id=FREE_ID + number) for number in range(65)])
    env.warm(EAGER)
    rename(env, FREE_ID + 69)
    assert not env.served(EAGER)


class Reversed(TypeDecorator[str]):
    """Keeps texts the other way round."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return None if value is None else value[::-1]

    def process_result_value(self, value: str | None, dialect: object) -> str | None:
        return None if value is None else value[::-1]


def test_a_key_whose_type_is_decorated(sqlite_env: Env) -> None:
    """What is stored is compared, and not what the application is given."""
    metadata, backwards = MetaData(), Reversed()
    codes = Table("codes", metadata, Column("code", backwards, primary_key=True), Column("meaning", String(20)))
    uses = Table("uses", metadata, Column("id", Integer, primary_key=True), Column("code", backwards))
    stmt = select(uses, codes).outerjoin(codes, codes.c.code == uses.c.code)
    with tables(sqlite_env, codes, uses) as session:
        session.execute(insert(codes), [{"code": "ab", "meaning": "one"}, {"code": "cd", "meaning": "two"}])
        session.execute(insert(uses), [{"id": 1, "code": "ab"}])
    with sqlite_env.unconcerned(stmt), sqlite_env.transaction() as session:
        session.execute(update(codes).where(codes.c.code == "cd").values(meaning="another"))
    with sqlite_env.change_of(stmt), sqlite_env.transaction() as session:
        session.execute(update(codes).where(codes.c.code == "ab").values(meaning="another"))


# ------------------------------------------------------------------------------------------ what comes in between


@pytest.mark.parametrize("stmt", [EAGER, INNER], ids=["eager", "inner"])
def test_a_write_to_a_seen_row_during_the_load(env: Env, stmt: Any) -> None:
    """Old rows are not taken for what the row's stamp, captured after the load, stands for."""
    prepare(env)
    with once_loaded(env, lambda: elsewhere_rename(env, 1)):
        env.rows(stmt)
    assert env.rows(stmt) == env.truth(stmt)
    assert env.served(stmt)


def test_a_write_to_another_row_during_the_load(env: Env) -> None:
    """Nobody knows which row it was: the entry is as unusable as if it depended on the whole table."""
    prepare(env)
    with once_loaded(env, lambda: elsewhere_rename(env, 3)):
        env.rows(EAGER)
    assert not env.served(EAGER)
    assert env.served(EAGER)


@pytest.mark.parametrize("moment", ["mint", "read"])
def test_a_write_to_a_seen_row_between_the_steps_after_the_load(env: Env, moment: str) -> None:
    """Whether just before the row's stamp is captured, or just before the table's is read again."""
    prepare(env)
    with once_loaded(env, lambda: env.store.before[moment].append(lambda: elsewhere_rename(env, 1))):
        env.rows(EAGER)
    assert env.rows(EAGER) == env.truth(EAGER)
    assert env.served(EAGER)


def test_a_write_during_the_first_load_of_a_snapshot(snapshot_env: Env) -> None:
    """The rows are as old as the snapshot, which is older than the write."""
    env = snapshot_env
    prepare(env)
    options = {"isolation_level": "REPEATABLE READ"}
    with env.connect() as connection, once_loaded(env, lambda: elsewhere_rename(env, 1)):
        old = read(connection.execution_options(**options), COLUMNS)
    assert old != env.core_rows(COLUMNS) == env.core_truth(COLUMNS)
    with env.connect() as connection:
        read(connection.execution_options(**options), COLUMNS)
    assert env.core_served(COLUMNS), "nothing was written during the second"


def prepare(env: Env) -> None:
    """Have the engine asked its first questions, so that the next statement is the load."""
    let_writers_in(env)
    env.warm(select(Category.id))


def elsewhere_rename(env: Env, id_: int) -> None:
    with env.elsewhere() as session:
        session.get_one(Category, id_).name = f"racer {id_}"


# ------------------------------------------------------------------------------------------------------ its price


def test_round_trips(env: Env) -> None:
    """A fill takes two more: the rows' stamps and the table's again. A hit takes one, but for the first of a process."""
    env.warm(select(Category.id))
    del env.store.calls[:]
    env.rows(EAGER)
    assert env.store.calls == ["read", "mint", "mint", "read", "put"]
    del env.store.calls[:]
    assert env.served(EAGER)
    assert env.store.calls == ["read"]
    node = env.new_node()
    del env.store.calls[:]
    assert node.served(EAGER)
    assert env.store.calls == ["read", "read"]
    del env.store.calls[:]
    assert node.served(EAGER)
    assert env.store.calls == ["read"]
    rename(env, 1)
    env.rows(EAGER)
    node.rows(EAGER)
    del env.store.calls[:]
    assert node.served(EAGER)
    assert env.store.calls == ["read"]


def test_a_near_copy_takes_one_round_trip(env: Env) -> None:
    """A copy in the process stands on the rows seen, like the entry."""
    node = env.new_node(near=1_000_000)
    node.warm(EAGER)
    with node.unconcerned(EAGER):
        rename(env, 3)
    del env.store.calls[:]
    assert node.served(EAGER)
    assert env.store.calls == ["read"]
    with node.change_of(EAGER):
        rename(env, 1)


def test_own_writes_to_a_joined_table_are_seen(env: Env) -> None:
    """In the transaction that has written any row of it, the result comes from the database."""
    env.warm(EAGER)
    with env.session() as session:
        session.get_one(Category, 1).name = "mine"
        with env.traffic() as traffic:
            names = [row.category.name for row in session.scalars(EAGER) if row.category]
    assert names[0] == "mine"
    assert traffic.statements


def test_explain_says_which_rows_count(env: Env) -> None:
    """By which key they are told, and whether other rows count as well."""
    assert "reads categories: rows seen: categories.id, all columns" in str(env.cache.explain(EAGER))
    assert "rows seen: categories.id; rows that come and go, and id of any row" in str(env.cache.explain(INNER))


@contextmanager
def tables(env: Env, *made: Table) -> Generator[Session]:
    """Make tables that only a scenario needs, and fill them."""
    with env.transaction() as session:
        for table in made:
            table.create(session.connection())
        yield session
