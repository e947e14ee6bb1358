"""Writes that do not say in which list their row stands: exactly the lists it was in and comes to are read again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import bindparam, delete, event, insert, inspect, make_url, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import load_only

from rowstamp import ConfigurationError
from rowstamp.analysis import schema, tables
from tests.conformance.models import Base, Category, Product, Review, Tag, product, product_tags
from tests.harness import Env, skipping_insert, sync_engine, upsert


@pytest.fixture(autouse=True)
def _only_this_shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other modules describe tables of these names with other keys, which writes would have to allow for."""
    monkeypatch.setattr(tables, "mapped_metadata", lambda: {Base.metadata})
    monkeypatch.setattr(tables, "_known", tables._Known())


P = Product
T = P.metadata.tables["products"]
BOOKS, GAMES, NOVELS = (select(P).where(P.category_id == number).order_by(P.id) for number in (1, 2, 3))
HOMELESS = select(P).where(P.category_id.is_(None)).order_by(P.id)
LISTS = (BOOKS, GAMES, NOVELS)


@contextmanager
def only(env: Env, *changed: Any, among: tuple[Any, ...] = LISTS) -> Generator[None]:
    """Inside the block the results of these lists change; those of the others are still served afterwards."""
    others = [each for each in among if not any(each is one for one in changed)]
    for each in others:
        env.warm(each)
    with env.change_of(*changed):
        yield
    # Not a word of this block may warm them again.
    assert [env.served(each) for each in others] == [True] * len(others)


def test_an_update_by_key_ends_the_list_the_row_is_in(env: Env) -> None:
    """`UPDATE … WHERE id = 1` says nothing of the category."""
    with only(env, BOOKS), env.transaction() as session:
        session.execute(update(P).where(P.id == 1).values(price=Decimal(7)))


@pytest.mark.parametrize("state", ["loaded", "expired", "never loaded"])
def test_a_change_of_an_entity_ends_the_list_it_is_in(env: Env, state: str) -> None:
    """Whatever the session knows of its category."""
    with only(env, BOOKS), env.transaction() as session:
        found = session.get_one(P, 1, options=[load_only(P.name)] if state == "never loaded" else [])
        if state == "expired":
            session.expire(found)
        found.price = Decimal(7)
        assert ("category_id" in inspect(found).dict) is (state == "loaded")


@pytest.mark.parametrize("state", ["loaded", "expired", "never loaded"])
def test_an_entity_that_moves_ends_both_lists(env: Env, state: str) -> None:
    """Nobody has to have loaded the category that it leaves."""
    with only(env, BOOKS, NOVELS), env.transaction() as session:
        found = session.get_one(P, 1, options=[load_only(P.name)] if state == "never loaded" else [])
        if state == "expired":
            session.expire(found)
        found.category_id = 3


def test_pairs_of_other_rows_stay(env: Env) -> None:
    """What is added to a many-to-many collection or taken from it concerns both its rows, and no others."""
    pairs = {number: select(product_tags).where(product_tags.c.product_id == number) for number in (1, 3)}
    tagged = {number: select(product_tags).where(product_tags.c.tag_id == number) for number in (1, 2, 3)}
    among = (*pairs.values(), *tagged.values())
    with only(env, pairs[3], tagged[3], among=among), env.transaction() as session:
        chess = session.get_one(P, 3)
        chess.tags.append(session.get_one(Tag, 3))
    with only(env, pairs[3], tagged[2], among=among), env.transaction() as session:
        chess = session.get_one(P, 3)
        chess.tags.remove(session.get_one(Tag, 2))


def test_a_row_that_is_deleted_ends_its_list(env: Env) -> None:
    """By the unit of work and by a statement."""
    with only(env, GAMES), env.transaction() as session:
        session.execute(delete(P.metadata.tables["order_items"]))
        session.delete(session.get_one(P, 3))
    with only(env, BOOKS), env.transaction() as session:
        session.execute(delete(P).where(P.id == 2))


def test_many_sets_of_parameters_end_the_lists_of_their_rows(env: Env) -> None:
    """`executemany`, and bulk updates by primary key."""
    with only(env, BOOKS), env.transaction() as session:
        statement = update(T).where(T.c.id == bindparam("which")).values(stock=bindparam("count"))
        session.connection().execute(statement, [{"which": 1, "count": 40}, {"which": 2, "count": 41}])
    with only(env, GAMES), env.transaction() as session:
        session.execute(update(P), [{"id": 3, "stock": 50}, {"id": 4, "stock": 51}])


def test_the_whole_list_of_keys_is_asked_for(env: Env) -> None:
    """`WHERE id IN (…)`."""
    with only(env, BOOKS, GAMES), env.transaction() as session:
        session.execute(update(P).where(P.id.in_([1, 3])).values(stock=9))


def test_a_row_without_a_category_is_in_a_list_too(env: Env) -> None:
    """NULL is a value of the key."""
    with only(env, HOMELESS, among=(*LISTS, HOMELESS)), env.transaction() as session:
        session.execute(update(P).where(P.id == 4).values(stock=9))


def test_new_rows_end_the_list_they_come_to(env: Env) -> None:
    """Nothing has to be asked."""
    with only(env, NOVELS), env.transaction() as session:
        session.add(product(category_id=3))
    with only(env, GAMES), env.transaction() as session:
        session.execute(insert(P), [{"id": 200 + n, "name": "x", "price": 1, "category_id": 2} for n in range(3)])


def test_a_row_that_another_transaction_has_moved_since_it_was_loaded(env: Env) -> None:
    """What the session has loaded does not say in which list the row is by now."""
    with env.session() as session:
        found = session.get_one(P, 1)
        session.commit()
        found.name  # noqa: B018 - loaded again
        with env.elsewhere() as other:
            other.execute(update(P).where(P.id == 1).values(category_id=3))
        if env.dialect == "mysql":
            session.rollback()  # its snapshot is older than the move, so the rest is another scenario
            found = session.get_one(P, 1)
        with env.change_of(NOVELS):
            found.price = Decimal(7)
            session.commit()


def test_an_image_costs_one_statement(env: Env) -> None:
    """And in SQLite one more, which begins the transaction; the database's rights are asked for once."""
    warm_up, measured = (update(P).where(P.id == 1).values(stock=number) for number in (8, 9))
    with env.transaction() as session:
        session.execute(warm_up)
    with env.traffic() as traffic, env.transaction() as session:
        session.execute(measured)
    assert len(traffic) == (3 if env.dialect == "sqlite" else 2)


def test_nothing_is_asked_where_the_statement_says_it_all(env: Env) -> None:
    """Inserts, and rows whose keys are all in WHERE."""
    tags = P.metadata.tables["product_tags"]
    with env.traffic() as traffic, env.transaction() as session:
        session.execute(delete(tags).where(tags.c.product_id == 1, tags.c.tag_id == 2))
        session.execute(insert(tags).values(product_id=1, tag_id=3))
    assert len(traffic) == 2


def test_without_row_images_the_lists_of_all_rows_end(env: Env) -> None:
    """Nothing is asked, and too much is read again."""
    plain = env.new_node(row_images=False, namespace="plain")
    plain.warm(BOOKS)
    plain.warm(GAMES)
    with plain.traffic() as traffic, plain.transaction() as session:
        session.execute(update(P).where(P.id == 1).values(stock=9))
    assert len(traffic) == 1
    assert [plain.served(BOOKS), plain.served(GAMES)] == [False, False]


def test_a_write_that_commits_by_itself_is_not_preceded_by_an_image(env: Env) -> None:
    """No lock would survive until the write."""
    env.warm(GAMES)
    with env.traffic() as traffic, env.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(update(P).where(P.id == 1).values(stock=9))
    assert len(traffic) == 1
    assert not env.served(GAMES)


def test_a_row_that_is_not_there_is_in_no_list(env: Env) -> None:
    """If the write counts one row, it has not met another that came in between."""
    with only(env, BOOKS), env.transaction() as session:
        session.execute(update(P).where(P.id.in_([1, 99])).values(stock=9))
    with only(env), env.transaction() as session:
        session.execute(update(P).where(P.id == 99).values(stock=9))


def test_rows_by_another_key(env: Env) -> None:
    """`WHERE category_id = 1` says nothing of the primary key, and further conditions choose among the rows."""
    rows = tuple(select(P).where(P.id == number) for number in (1, 2, 3))
    with only(env, rows[0], BOOKS, among=(*rows, *LISTS)), env.transaction() as session:
        session.execute(update(P).where(P.category_id == 1, P.stock > 0).values(stock=9))
    with only(env, rows[0], rows[1], BOOKS, NOVELS, among=(*rows, *LISTS)), env.transaction() as session:
        session.execute(update(P).where(P.category_id == 1).values(category_id=3))


def test_an_upsert_of_a_row_that_is_there_and_of_one_that_is_not(env: Env) -> None:
    """The row that stood in its way is looked up afterwards, with the keys that VALUES does not say."""
    rows = tuple(select(P).where(P.id == number) for number in (1, 2, 77))
    row = {"id": 1, "name": "x", "price": 1, "category_id": 3}
    with only(env, rows[0], BOOKS, among=(*rows, *LISTS)), env.transaction() as session:
        session.execute(upsert(env, T, row, by="id", change={"stock": 9}))
    with only(env, rows[2], NOVELS, among=(*rows, *LISTS)), env.transaction() as session:
        session.execute(upsert(env, T, row | {"id": 77}, by="id", change={"stock": 9}))


def test_an_insert_that_does_nothing_where_a_row_is_there(env: Env) -> None:
    """A row that it makes is looked up with the key that VALUES leaves out; one that is there already stays as it was."""
    absent, row = select(P).where(P.id == 77), {"id": 1, "name": "x", "price": 1}
    with only(env, among=(select(P).where(P.id == 1), absent, HOMELESS, *LISTS)), env.transaction() as session:
        session.execute(skipping_insert(env, T, row))
    with only(env, absent, HOMELESS), env.transaction() as session:
        session.execute(skipping_insert(env, T, row | {"id": 77}))


def test_an_upsert_that_sets_a_key_ends_all_lists_by_it(env: Env) -> None:
    """Nobody knows which the row was in before; but it is one row."""
    rows = tuple(select(P).where(P.id == number) for number in (1, 2))
    env.warm(rows[1])
    with env.change_of(rows[0], BOOKS, NOVELS), env.transaction() as session:
        values = {"id": 1, "name": "x", "price": 1, "category_id": 2}
        session.execute(upsert(env, T, values, by="id", change={"category_id": 3}))
    assert env.served(rows[1])


def test_a_row_that_comes_in_between_makes_the_write_wide(server_env: Env) -> None:
    """It is committed after the image was asked for: then the write counts one row more than the image shows."""
    env = server_env
    games = select(P).where(P.id == 3)
    env.warm(games)

    def interfere(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FOR NO KEY UPDATE" in statement or statement.endswith("FOR UPDATE"):
            with env.behind() as other:
                other.execute(text("UPDATE products SET category_id = 1 WHERE id = 3"))

    with env.session() as session:
        session.connection(execution_options={"isolation_level": "READ COMMITTED"})
        event.listen(env.engine, "after_cursor_execute", interfere)
        session.execute(update(P).where(P.category_id == 1).values(stock=9))
        event.remove(env.engine, "after_cursor_execute", interfere)
        session.commit()
    assert not env.served(games)


@pytest.mark.parametrize("number", [100, 101])
def test_images_are_limited(env: Env, number: int) -> None:
    """Of more rows nothing is known."""
    with env.transaction() as session:
        session.add(Category(id=50, name="many"))
        session.flush()
        session.execute(insert(P), [{"id": 300 + n, "name": "x", "price": 1, "category_id": 50} for n in range(number)])
    env.warm(GAMES)
    with env.transaction() as session:
        session.execute(update(P), [{"id": 300 + n, "stock": 5} for n in range(number)])
    assert env.served(GAMES) is (number == 100)


def test_own_writes_are_seen_in_the_lists_they_are_in(env: Env) -> None:
    """A transaction reads its own list from the database; on SQLite every list."""
    env.warm(BOOKS)
    with env.session() as session:
        session.execute(update(P).where(P.id == 1).values(stock=77))
        assert [found.stock for found in session.scalars(BOOKS)] == [77, 0]


def test_reviews_of_other_products_stay(env: Env) -> None:
    """The list of a foreign key, in a table whose rows are written by primary key."""
    reviews = [select(Review).where(Review.product_id == number).order_by(Review.id) for number in (1, 4)]
    with only(env, reviews[0], among=tuple(reviews)), env.transaction() as session:
        session.get_one(Review, 2).stars = 1


@contextmanager
def clerk(env: Env) -> Generator[str]:
    """A role that may delete products and see nothing of them but their number."""
    with env.behind() as session:
        session.execute(text("DROP ROLE IF EXISTS clerk"))
        session.execute(text("CREATE ROLE clerk LOGIN"))
        session.execute(text("GRANT SELECT (id), DELETE ON products TO clerk"))
    try:
        yield "clerk"
    finally:
        with env.behind() as session:
            session.execute(text("DROP OWNED BY clerk"))
            session.execute(text("DROP ROLE clerk"))


def test_a_role_that_may_not_lock_rows_is_not_made_to_fail(postgres_env: Env) -> None:
    """In PostgreSQL a refused image would end the application's transaction; so the rights are looked up first."""
    env = postgres_env
    with clerk(env) as role:
        target = env.new_engine(make_url(env.url).set(username=role, password=None).render_as_string())
        env.cache.attach(target, database="another name")
        try:
            with env.open_session(target) as session:
                session.execute(delete(P).where(P.id == 4))
                session.commit()
            assert len(env.truth(select(P.id))) == 3
        finally:
            env.cache.detach(target)
            sync_engine(target).dispose()


def test_a_role_that_a_transaction_takes_on_is_not_made_to_fail(postgres_env: Env) -> None:
    """What was looked up are the rights of the role that had logged in."""
    env = postgres_env
    with env.session() as session:
        session.execute(delete(P).where(P.id == 4))
        session.rollback()
    with clerk(env) as role, env.change_of(select(P.id).order_by(P.id)), env.transaction() as session:
        session.execute(text(f"SET LOCAL ROLE {role}"))
        session.execute(delete(P).where(P.id == 4))


def test_the_question_is_asked_by_the_only_writer(sqlite_env: Env) -> None:
    """Nobody else can move the row between the image and the write: whoever tries is refused while it is asked."""
    env, refused = sqlite_env, list[bool]()

    def interfere(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            with sync_engine(env.plain).connect() as other:
                other.exec_driver_sql("PRAGMA busy_timeout = 0")
                try:
                    other.execute(update(P).where(P.id == 1).values(category_id=3))
                except OperationalError:
                    refused.append(True)

    event.listen(env.engine, "before_cursor_execute", interfere)
    with env.transaction() as session:
        session.execute(update(P).where(P.id == 1).values(stock=9))
    event.remove(env.engine, "before_cursor_execute", interfere)
    assert refused == [True]


def test_keys_named_by_a_policy(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are kept apart by columns of which the metadata says nothing, also by several together."""
    monkeypatch.setattr(schema, "_named", WeakKeyDictionary[Any, Any]())
    env.cache.policy(P, keys=["stock", ("stock", "category_id")])
    stocks = tuple(select(P).where(P.stock == number).order_by(P.id) for number in (3, 7))
    with only(env, stocks[0], among=stocks), env.transaction() as session:
        session.get_one(P, 1).price = Decimal(7)
    named = tuple(select(P).where(P.category_id == 2, P.stock == number) for number in (7, 8))
    with only(env, named[0], among=named), env.transaction() as session:
        session.get_one(P, 3).price = Decimal(8)


@pytest.mark.parametrize("way", ["update", "upsert"])
def test_a_program_that_was_told_of_no_keys(env: Env, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """It writes, and cannot know by which columns another program keeps results apart."""
    monkeypatch.setattr(schema, "_named", WeakKeyDictionary[Any, Any]())
    env.cache.policy(P, keys=["stock"])
    with env.change_of(select(P).where(P.stock == 1000)), monkeypatch.context() as forgetting:
        forgetting.setattr(schema, "_named", WeakKeyDictionary[Any, Any]())
        with env.transaction() as session:
            if way == "update":
                session.get_one(P, 1).stock = 1000
            else:
                row = {"id": 1, "name": "x", "price": Decimal(1)}
                session.execute(upsert(env, P, row, by="id", change={"stock": 1000}))


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (["colour"], "'colour' is no column attribute"),
        ([("stock", "colour")], "'colour' is no column attribute"),
        ("stock", "write keys="),
        ([()], "made of columns"),
        ([5], "not a collection of names"),
    ],
    ids=str,
)
def test_keys_that_are_none(sqlite_env: Env, keys: Any, complaint: str) -> None:
    """They are refused when they are named."""
    with pytest.raises(ConfigurationError, match=complaint):
        sqlite_env.cache.policy(P, keys=keys)
