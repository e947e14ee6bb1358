"""Writes of many rows at once, whose rows nobody has in hand."""

from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, delete, insert, literal, select, update

from tests.conformance.models import FIRST_GENERATED, FREE_ID, Category, Product, Review, Tag
from tests.harness import Env, everything, upsert

IN_BOOKS = select(Product).where(Product.category_id == 1).order_by(Product.id)
BY_KEY = select(Product).where(Product.id == 1)
NEW = {"name": "new", "price": Decimal(1), "category_id": 1}


def test_orm_update_by_condition(env: Env) -> None:
    """`update(Model).where(…)` ends lists and single rows alike."""
    with env.change_of(IN_BOOKS, BY_KEY), env.transaction() as session:
        session.execute(update(Product).where(Product.price > 20).values(stock=Product.stock + 1))


def test_orm_delete_by_condition(env: Env) -> None:
    """`delete(Model).where(…)` ends lists and single rows alike."""
    with env.change_of(everything(Review), select(Review).where(Review.id == 1)), env.transaction() as session:
        session.execute(delete(Review).where(Review.stars > 4))


def test_orm_update_by_primary_key_in_bulk(env: Env) -> None:
    """`session.execute(update(Model), [{id…}])`, the bulk UPDATE by primary key."""
    with env.change_of(IN_BOOKS, BY_KEY), env.transaction() as session:
        session.execute(update(Product), [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])


def test_orm_bulk_insert(env: Env) -> None:
    """`session.execute(insert(Model), [...])` is seen in lists, and by those who looked for the new keys."""
    one = select(Product).where(Product.id == FREE_ID)
    with env.change_of(IN_BOOKS, one), env.transaction() as session:
        session.execute(insert(Product), [{"id": FREE_ID, **NEW}, {"id": FREE_ID + 1, **NEW}])


def test_orm_bulk_insert_with_keys_of_the_database(env: Env) -> None:
    """Rows whose keys the database assigns are found by those who looked for them."""
    next_id = select(Product.name).where(Product.id.in_([5, FIRST_GENERATED]))
    with env.change_of(IN_BOOKS, next_id), env.transaction() as session:
        session.execute(insert(Product), [NEW])


def test_a_flush_of_many_rows(env: Env) -> None:
    """`insertmanyvalues` in batches: every row is seen."""
    ids = [*range(5, 8), *range(FIRST_GENERATED, FIRST_GENERATED + 3)]
    with env.change_of(select(Product.id, Product.name).where(Product.id.in_(ids))), env.transaction() as session:
        session.add_all([Product(**NEW) for _ in range(3)])


def test_insert_with_returning(env: Env) -> None:
    """`INSERT … RETURNING` is a write, though it returns rows."""
    with env.change_of(IN_BOOKS), env.transaction() as session:
        assert session.scalars(insert(Product).returning(Product.name), [{"id": FREE_ID, **NEW}]).all() == ["new"]


def test_entities_from_an_insert_with_returning(env: Env) -> None:
    """`select(…).from_statement(insert(…).returning(…))` is the same write."""
    made = insert(Product).values([{"id": FREE_ID, **NEW}, {"id": FREE_ID + 1, **NEW}]).returning(Product)
    with env.change_of(IN_BOOKS), env.transaction() as session:
        assert {each.id for each in session.scalars(select(Product).from_statement(made))} == {FREE_ID, FREE_ID + 1}


def test_update_with_returning(returning_env: Env) -> None:
    """`UPDATE … RETURNING` is a write, though it returns rows."""
    with returning_env.change_of(IN_BOOKS, BY_KEY), returning_env.transaction() as session:
        session.execute(update(Product).where(Product.id == 1).values(stock=9).returning(Product.id)).all()


def test_executemany_on_a_connection(env: Env) -> None:
    """One UPDATE with many parameter sets touches the row of each."""
    second = select(Product).where(Product.id == 2)
    table: Any = Product.__table__
    stmt = update(table).where(table.c.id == bindparam("key")).values(stock=bindparam("n"))
    with env.change_of(BY_KEY, second), env.connect() as connection:
        connection.execute(stmt, [{"key": 1, "n": 70}, {"key": 2, "n": 71}])
        connection.commit()


def test_insert_of_several_values(env: Env) -> None:
    """`insert().values([…])` with several rows in one statement."""
    one = select(Product.name).where(Product.id == FREE_ID + 1)
    with env.change_of(IN_BOOKS, one), env.connect() as connection:
        connection.execute(insert(Product).values([{"id": FREE_ID, **NEW}, {"id": FREE_ID + 1, **NEW}]))
        connection.commit()


def test_insert_from_select(env: Env) -> None:
    """`INSERT … FROM SELECT`: nobody knows the keys before."""
    one = select(Tag.name).where(Tag.id == FREE_ID + 1)
    source = select(Category.id + literal(FREE_ID), Category.name)
    with env.change_of(everything(Tag), one), env.transaction() as session:
        session.execute(insert(Tag).from_select(["id", "name"], source))


def test_insert_on_conflict_do_update(env: Env) -> None:
    """An upsert changes a row that is there, found by another key than the one inserted."""
    stmt = upsert(env, Tag, {"id": FREE_ID, "name": "sale"}, by="name", change={"name": "bargain"})
    with env.change_of(everything(Tag), select(Tag).where(Tag.id == 2)), env.transaction() as session:
        session.execute(stmt)


def test_update_from_another_table(env: Env) -> None:
    """`UPDATE … FROM` touches its target."""
    stmt = update(Product).where(Product.category_id == Category.id, Category.name == "books").values(stock=55)
    with env.change_of(IN_BOOKS, BY_KEY), env.transaction() as session:
        session.execute(stmt.execution_options(synchronize_session=False))


def test_a_changed_primary_key(env: Env) -> None:
    """A row that moves to another key is gone from the old one and found at the new one."""
    old, new = select(Tag.name).where(Tag.id == 3), select(Tag.name).where(Tag.id == FREE_ID)
    with env.change_of(old, new), env.transaction() as session:
        session.get_one(Tag, 3).id = FREE_ID


def test_bulk_save_and_mappings(env: Env) -> None:
    """The legacy bulk methods write like everybody else."""
    with env.change_of(IN_BOOKS), env.transaction() as session:
        session.bulk_insert_mappings(Product, [{"id": FREE_ID, **NEW}])
    with env.change_of(IN_BOOKS, BY_KEY), env.transaction() as session:
        session.bulk_update_mappings(Product, [{"id": 1, "stock": 66}])


def test_a_data_changing_cte(postgres_env: Env) -> None:
    """A SELECT from `WITH … UPDATE … RETURNING` writes."""
    changed = update(Product).where(Product.id == 1).values(stock=77).returning(Product.id).cte("changed")
    with postgres_env.change_of(IN_BOOKS, BY_KEY), postgres_env.transaction() as session:
        assert session.execute(select(changed.c.id)).all() == [(1,)]
