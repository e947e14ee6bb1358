"""Whatever is not cached is counted under its reason, and `explain` says the same before anything is executed."""

from __future__ import annotations

import fractions
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Date, Sequence, String, cast, event, func, insert, literal, select, text, update

from rowstamp import cached
from rowstamp.analysis.text import LONGEST
from tests.conformance.models import FREE_ID, Product
from tests.harness import Env, read, sync_engine

FIRST = select(Product.name).where(Product.id == 1)
COUNT = select(func.count()).select_from(Product)

ANYWHERE: dict[str, tuple[Any, str]] = {
    "row lock": (FIRST.with_for_update(), "it locks rows"),
    "shared row lock": (FIRST.with_for_update(read=True), "it locks rows"),
    "volatile function": (select(Product.id, func.now()), "volatile function now()"),
    "volatile function in text": (text("SELECT id, CURRENT_TIMESTAMP FROM products"), "volatile function current_timestamp()"),
    "streaming": (FIRST.execution_options(stream_results=True), "streaming"),
    "yield_per": (FIRST.execution_options(yield_per=5), "streaming"),
    "populate_existing": (select(Product).execution_options(populate_existing=True), "populate_existing"),
    "no source": (select(literal(1)), "it reads no table"),
    "no source in text": (text("SELECT 1"), "it reads no table"),
    "text that is not understood": (text("SELECT id FROM products" + " " * LONGEST), "not understood: longer than"),
}  # fmt: skip
SERVERS: dict[str, tuple[Any, str]] = {
    "row lock in text": (text("SELECT id FROM products FOR UPDATE"), "it locks rows"),
    "system catalog": (text("SELECT count(*) FROM information_schema.tables"), "it reads the system catalog"),
}
POSTGRESQL: dict[str, tuple[Any, str]] = {
    "sequence": (select(Product.id, Sequence("tags_id_seq").next_value()), "it advances a sequence"),
    "sequence in text": (text("SELECT nextval('tags_id_seq') FROM products"), "volatile function nextval()"),
    "hint that locks": (FIRST.with_statement_hint("FOR UPDATE"), "it locks rows"),
    "moment": (select(Product.id, cast(literal("today", String), Date)), "may mean the present moment"),
    "moment, rendered": (
        select(Product.id, cast(literal("today", String, literal_execute=True), Date)),
        "may mean the present moment",
    ),
    "settings": (select(Product.id, func.set_config("a.b", "c", True)), "it changes the connection's settings"),
}


def check(env: Env, stmt: Any, reason: str) -> None:
    assert reason in env.cache.explain(stmt).reason
    assert reason in str(env.cache.explain(stmt))
    for where in (env.session, env.connect):
        before = dict(env.cache.stats().bypasses)
        with where() as opened:
            opened.execute(stmt, execution_options={"rowstamp": cached()}).all()
        more = {each for each, number in env.cache.stats().bypasses.items() if number != before.get(each, 0)}
        assert len(more) == 1, more
        assert reason in more.pop()


@pytest.mark.filterwarnings("ignore::rowstamp.RowstampWarning")
@pytest.mark.parametrize("case", ANYWHERE)
def test_a_reason_of_the_statement(env: Env, case: str) -> None:
    """Reasons that every database knows."""
    check(env, *ANYWHERE[case])


@pytest.mark.parametrize("case", SERVERS)
def test_a_reason_of_servers(server_env: Env, case: str) -> None:
    """Reasons that only servers have."""
    check(server_env, *SERVERS[case])


@pytest.mark.parametrize("case", POSTGRESQL)
def test_a_reason_of_postgresql(postgres_env: Env, case: str) -> None:
    """Reasons that only PostgreSQL has."""
    check(postgres_env, *POSTGRESQL[case])


def test_a_function_nothing_is_known_of(sqlite_env: Env) -> None:
    """An application's function may return something else each time."""

    def register(connection: Any, _record: Any) -> None:
        connection.create_function("thrice", 1, lambda number: number * 3)

    event.listen(sqlite_env.engine, "connect", register)
    check(sqlite_env, select(func.thrice(Product.id)), "unknown function thrice()")


def test_a_refresh(env: Env) -> None:
    """`session.refresh` under a policy; no statement to explain."""
    env.cache.policy(Product)
    with env.session() as session:
        product = session.get_one(Product, 1)
        session.refresh(product)
    assert dict(env.cache.stats().bypasses) == {"refresh": 1}


def test_a_disabled_cache(env: Env) -> None:
    """Inside `disabled()`."""
    with env.cache.disabled():
        assert env.cache.explain(FIRST).reason == "disabled"


def test_data_that_is_changed(env: Env) -> None:
    """A write is no read."""
    assert env.cache.explain(update(Product).values(stock=1)).reason == "it changes data"


def test_an_unasked_statement(env: Env) -> None:
    """Nobody asked: `explain` says so, and nothing is counted."""
    assert "nobody asked" in env.cache.explain(FIRST).reason
    env.rows(FIRST, rowstamp=None)
    assert dict(env.cache.stats().bypasses) == {}


IN_TRANSACTIONS_OF_POSTGRESQL: dict[str, tuple[Callable[[Any], Any], str]] = {
    "search path": (
        lambda connection: connection.exec_driver_sql("SET search_path TO public"),
        "connection state: SET",
    ),
    "role": (lambda connection: connection.exec_driver_sql("SET ROLE postgres"), "connection state: SET ROLE"),
    "temporary table": (
        lambda connection: connection.exec_driver_sql("CREATE TEMPORARY TABLE products (id int) ON COMMIT DROP"),
        "connection state: CREATE TEMPORARY",
    ),
}


def check_in_transaction(env: Env, act: Callable[[Any], Any], reason: str) -> None:
    with env.connect() as connection:
        act(connection)
        connection.execute(COUNT, execution_options={"rowstamp": cached()})
        connection.rollback()
    assert [reason in each for each in env.cache.stats().bypasses] == [True]


SNAPSHOT = "the transaction's snapshot is older than the stamps"


def test_own_writes(env: Env) -> None:
    """A transaction sees what it has written; in SQLite it has its snapshot since then, which says as much."""
    reason = SNAPSHOT if env.dialect == "sqlite" else "own writes"
    new = insert(Product).values(id=FREE_ID, name="chisel", price=1, stock=1, category_id=1)
    check_in_transaction(env, lambda connection: connection.execute(new), reason)


@pytest.mark.parametrize("case", IN_TRANSACTIONS_OF_POSTGRESQL)
def test_a_reason_of_the_connection(postgres_env: Env, case: str) -> None:
    """What the same SQL means there may be something else."""
    check_in_transaction(postgres_env, *IN_TRANSACTIONS_OF_POSTGRESQL[case])


def test_a_transaction_begun_as_text(env: Env) -> None:
    """Under AUTOCOMMIT, BEGIN as text makes a transaction that nobody else knows of."""
    with env.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("BEGIN")
        read(connection, FIRST)
        connection.exec_driver_sql("COMMIT")
    reason = SNAPSHOT if env.dialect == "sqlite" else "transaction begun by SQL text"
    assert dict(env.cache.stats().bypasses) == {reason: 1}


def test_an_older_snapshot(postgres_env: Env) -> None:
    """Under REPEATABLE READ only the first statement sees what the stamps say."""
    engine = postgres_env.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM tags")
        read(connection, FIRST)
    assert dict(postgres_env.cache.stats().bypasses) == {SNAPSHOT: 1}


def test_a_value_that_cannot_be_kept(sqlite_env: Env) -> None:
    """A driver's own object in a result, or in a parameter, names its type."""
    stmt = text('SELECT name AS "name [fraction]" FROM products WHERE id = 1')
    sqlite3.register_converter("fraction", lambda _raw: fractions.Fraction(1, 3))
    try:
        target = sqlite_env.new_engine(connect_args={"detect_types": sqlite3.PARSE_COLNAMES})
        sqlite_env.cache.attach(target)
        with sync_engine(target).connect() as connection:
            found = read(connection, stmt)
        assert found == [(fractions.Fraction(1, 3),)]
        assert ["Fraction" in each for each in sqlite_env.cache.stats().bypasses] == [True]
    finally:
        sqlite3.converters.pop("FRACTION")


def test_a_parameter_that_cannot_be_kept(sqlite_env: Env) -> None:
    """A parameter that has no exact representation cannot be part of a key."""
    sqlite3.register_adapter(fractions.Fraction, str)
    try:
        stmt = text("SELECT name FROM products WHERE name <> :half")
        assert sqlite_env.rows(stmt, {"half": fractions.Fraction(1, 2)})
    finally:
        sqlite3.adapters.pop((fractions.Fraction, sqlite3.PrepareProtocol))
    assert ["parameter cannot be part of a key" in each for each in sqlite_env.cache.stats().bypasses] == [True]


def test_an_undeclared_function_of_a_server(server_env: Env) -> None:
    """A function of the application on a server may write as well; a declared one is none of the reasons."""
    stmt = select(func.no_such_function(Product.id))
    assert "unknown function no_such_function()" in server_env.cache.explain(stmt).reason
    server_env.cache.declare("no_such_function", depends_on=[])
    assert server_env.cache.explain(stmt).cacheable
