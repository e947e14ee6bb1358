"""What goes to the database each time, whoever asks for caching."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, Sequence, Text, column, func, literal_column, select, text
from sqlalchemy.orm import Session, undefer

from rowstamp import RowstampWarning, cached
from tests.conformance.models import Category, Product
from tests.harness import Env, read

FIRST = select(Product).where(Product.id == 1)


def bypassed(env: Env) -> Mapping[str, int]:
    return env.cache.stats().bypasses


def test_for_update(env: Env) -> None:
    """`SELECT … FOR UPDATE` takes a lock each time; on SQLite, which renders nothing for it, too."""
    env.warm(FIRST)
    for stmt in (FIRST.with_for_update(), FIRST.with_for_update(read=True)):
        assert [env.served(stmt), env.served(stmt), env.core_served(stmt)] == [False] * 3
    assert set(bypassed(env)) == {"it locks rows"}


def test_for_update_under_a_policy(env: Env) -> None:
    """`with_for_update` in `session.get` and `refresh` reads from the database."""
    env.cache.policy(Product)
    env.warm(FIRST, rowstamp=None)
    with env.session() as session, env.traffic() as traffic:
        found = session.get_one(Product, 1, with_for_update=True)
        session.refresh(found, with_for_update=True)
    assert len(traffic) == 2


@pytest.mark.parametrize("function", [func.now(), func.random(), func.current_timestamp(), func.current_date()])
def test_volatile_functions(env: Env, function: Any) -> None:
    """A value that changes by itself is never cached, in the select list or in WHERE."""
    for stmt in (select(Product.id, function), select(Product.id).where(function.is_not(None)).order_by(function)):
        assert [env.served(stmt), env.served(stmt)] == [False, False]
    assert sum(bypassed(env).values()) == 4


def test_functions_nothing_is_known_of(postgres_env: Env) -> None:
    """A function of the application may do anything: it is neither cached, nor trusted not to write."""
    env = postgres_env
    with env.behind() as session:
        session.execute(text("CREATE FUNCTION shop_write() RETURNS int LANGUAGE sql AS "
                             "'UPDATE products SET stock = 88 WHERE id = 1 RETURNING stock'"))  # fmt: skip
    try:
        warned = pytest.warns(RowstampWarning, match="shop_write")
        with env.change_of(FIRST), warned, env.transaction() as session:
            assert read(session, select(func.shop_write())) == [(88,)]
        with env.behind() as session:
            session.execute(text("UPDATE products SET stock = 1 WHERE id = 1"))
        env.cache.clear()
        with env.change_of(FIRST), warned, env.transaction() as session:
            session.execute(text("SELECT shop_write()"))
    finally:
        with env.behind() as session:
            session.execute(text("DROP FUNCTION shop_write()"))


def test_populate_existing(env: Env) -> None:
    """`populate_existing` asks for the database's values, and gets them."""
    env.warm(FIRST)
    with env.behind() as session:
        session.get_one(Product, 1).name = "unseen"
    for how in (FIRST.execution_options(populate_existing=True), FIRST):
        options: dict[str, Any] = {} if how is not FIRST else {"populate_existing": True}
        with env.session() as session:
            found = session.scalars(how, execution_options={"rowstamp": cached(), **options}).one()
            assert found.name == "unseen"


def test_refresh(env: Env) -> None:
    """`session.refresh()` asks for the database's values, under a policy too."""
    env.cache.policy(Product)
    with env.session() as session:
        found = session.get_one(Product, 1)
        with env.behind() as other:
            other.get_one(Product, 1).name = "unseen"
        session.refresh(found)
        assert found.name == "unseen"
        with env.traffic() as traffic:
            session.refresh(found, ["name"])
        assert len(traffic) == 1


def test_rows_that_are_fetched_one_by_one(env: Env) -> None:
    """`yield_per` and `stream_results` stay streams: nothing is buffered, nothing stored."""
    for options in ({"yield_per": 1}, {"stream_results": True}):
        for _ in range(2):
            with env.session() as session, env.traffic() as traffic:
                result = session.execute(select(Product), execution_options={"rowstamp": cached(), **options})
                assert len([row for part in result.partitions(2) for row in part]) == 4
            assert len(traffic) == 1
    assert dict(bypassed(env)) == {"streaming": 4}


def test_yield_per_of_the_connection(env: Env) -> None:
    """The option may stand on the Connection or the engine."""
    ways: list[Callable[[], Connection]] = [
        lambda: env.connect().execution_options(yield_per=1),
        lambda: env.engine.execution_options(stream_results=True).connect(),
    ]
    for make in ways:
        for _ in range(2):
            with make() as connection, env.traffic() as traffic:
                assert len(connection.execute(select(Product.id), execution_options={"rowstamp": cached()}).all()) == 4
            assert len(traffic) == 1


def test_a_select_of_nothing(env: Env) -> None:
    """A statement without a table has nothing to depend on."""
    assert [env.served(select(text("1"))), env.served(select(text("1")))] == [False, False]


def test_a_sequence(postgres_env: Env) -> None:
    """`nextval` advances each time."""
    numbers = [postgres_env.rows(select(Product.id, Sequence("tags_id_seq").next_value()).limit(1)) for _ in range(2)]
    assert numbers[0] != numbers[1]
    raw = text("SELECT nextval('tags_id_seq'), id FROM products LIMIT 1")
    assert postgres_env.rows(raw) != postgres_env.rows(raw)


def test_a_text_fragment_with_a_volatile_function(env: Env) -> None:
    """What a fragment of text calls counts, wherever it stands."""
    random = "rand()" if env.dialect == "mariadb" else "random()"
    fragments: list[Any] = [
        select(Product.id, literal_column(random, Text)),
        select(Product.id).where(text(f"{random} IS NOT NULL")),
        select(Product.id, text("CURRENT_TIMESTAMP")),
    ]
    for stmt in fragments:
        assert [env.served(stmt), env.served(stmt)] == [False, False]


def test_a_text_fragment_that_reads_another_table(env: Env) -> None:
    """What a fragment of text reads counts, wherever it stands."""
    fragments: list[Any] = [
        select(Product.name, literal_column("(SELECT max(name) FROM categories)", Text)).order_by(Product.id),
        select(Product.name).where(text("category_id IN (SELECT id FROM categories WHERE name > 'c')")),
        select(Product.name).order_by(text("(SELECT name FROM categories c WHERE c.id = products.category_id)")),
        select(text("name")).select_from(text("categories")).order_by(text("name")),
        select(column("name", Text)).select_from(text("(SELECT name FROM categories) AS c")).order_by(column("name")),
    ]
    for number, stmt in enumerate(fragments):
        assert [env.served(stmt), env.served(stmt)] == [False, True]
        with env.transaction() as session:
            session.add(Category(name=f"zzz{number}"))
            session.get_one(Category, 2).name = "zz games" if number % 2 else "aa games"
            session.get_one(Category, 1).name = "a books" if number % 2 else "z books"
        assert env.rows(stmt) == env.truth(stmt)


def test_a_deferred_column_loaded_later(env: Env) -> None:
    """A deferred column is another statement, cached under a policy, and followed."""
    env.cache.policy(Product)

    def picture(session: Session) -> bytes | None:
        return session.get_one(Product, 1).picture

    for _ in range(2):
        with env.session() as session:
            assert picture(session) == b"\0\xff"
    with env.transaction() as session:
        session.get_one(Product, 1).picture = b"new"
    with env.session() as session:
        assert picture(session) == b"new"
        assert session.scalars(FIRST.options(undefer(Product.picture), cached())).one().picture == b"new"
