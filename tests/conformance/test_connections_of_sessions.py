"""What a session's connection knows (uncommitted writes, options, state) holds for reads that do without it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from sqlalchemy import Sequence, create_engine, event, literal, select, text, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.orm import Session as SyncSession

from rowstamp import Cache, cached
from tests.conformance.models import Product, Tag, product
from tests.harness import Env, read

NAMES = select(Product.name).order_by(Product.id)
FIRST = select(Product.name).where(Product.id == 1)


@pytest.mark.parametrize("depth", [1, 2])
def test_own_writes_are_seen_inside_a_savepoint(env: Env, depth: int) -> None:
    """The transaction's connection belongs to the outer transaction; its writes are seen inside all the same."""
    env.warm(FIRST)
    with env.session() as session:
        session.execute(update(Product).where(Product.id == 1).values(name="mine"))
        for _ in range(depth):
            session.begin_nested()
        assert read(session, FIRST) == [("mine",)]
        session.rollback()


def test_an_invalidation_inside_a_savepoint_waits_for_the_commit(env: Env) -> None:
    """It joins the transaction's connection, which the savepoint does not have."""
    env.warm(NAMES)
    with env.session() as session:
        session.execute(update(Product).where(Product.id == 1).values(name="mine"))
        session.begin_nested()
        env.cache.invalidate(Product, session=session)
        assert env.served(NAMES)
        session.commit()
    assert not env.served(NAMES)


def test_options_of_the_connection_count(env: Env) -> None:
    """`session.connection(execution_options={"rowstamp": False})` turns its reads off."""
    env.warm(NAMES)
    with env.session() as session:
        session.connection(execution_options={"rowstamp": False})
        with env.traffic() as traffic:
            session.execute(NAMES.options(cached())).all()
        assert len(traffic) == 1


def test_the_isolation_level_of_an_engine_copy_counts(postgres_env: Env) -> None:
    """A REPEATABLE READ transaction of `engine.execution_options(...)` sees one moment, whatever is cached."""
    copy: Engine = postgres_env.engine.execution_options(isolation_level="REPEATABLE READ")
    postgres_env.warm(NAMES)
    with SyncSession(copy) as session:
        before = read(session, NAMES)
        with postgres_env.elsewhere() as other:
            other.add(product())
        assert read(session, NAMES) == before


def test_a_listener_that_gives_connections_a_state_is_waited_for(postgres_env: Env) -> None:
    """`after_begin` may set a role or a tenant; until it has, nobody knows whose rows the statement means."""
    postgres_env.warm(NAMES)
    with postgres_env.session() as session:

        @event.listens_for(session, "after_begin")
        def _enter(_session: Session, _transaction: Any, connection: Connection) -> None:
            connection.execute(text("SELECT set_config('rowstamp.tenant', 'north', true)"))

        with postgres_env.traffic() as traffic:
            read(session, NAMES)
        assert any("FROM products" in str(statement) for statement in traffic.statements)


def test_a_setting_of_the_transaction_ends_with_it(postgres_env: Env) -> None:
    """A connection on which `set_config(…, true)` was called is served again once its transaction is over.

    One of PostgreSQL's own settings: one of the application's is `''` afterwards, and was `NULL` before.
    """
    postgres_env.warm(NAMES)
    with postgres_env.connect() as connection:
        connection.execute(text("SELECT set_config('search_path', 'pg_catalog, public', true)"))
        with postgres_env.traffic() as traffic:
            read(connection, NAMES)
        assert len(traffic) == 1
        connection.rollback()
        with postgres_env.traffic() as traffic:
            read(connection, NAMES)
        assert len(traffic) == 0


def test_a_listener_gets_the_sessions_real_connection(env: Env) -> None:
    """`session.connection()` in a `do_orm_execute` listener is no stand-in."""
    found: list[type[Any]] = []
    with env.session() as session:

        @event.listens_for(session, "do_orm_execute")
        def _ask(state: ORMExecuteState) -> None:
            found.append(type(state.session.connection()))

        read(session, NAMES)
    assert found == [Connection]


def test_a_listener_of_the_connection_that_rewrites_is_seen(env: Env) -> None:
    """What a `retval=True` listener of the session's own connection makes of a statement is what is looked up."""
    rows = env.warm(FIRST)
    with env.session() as session:

        @event.listens_for(session.connection(), "before_cursor_execute", retval=True)
        def _rewrite(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
            return sql.replace("products.id = ", "products.id = 1 + "), parameters

        assert read(session, FIRST) != rows


def test_the_row_count_of_a_hit_is_that_of_the_miss(env: Env) -> None:
    """Drivers that count the rows of a SELECT are heard before their cursor is closed."""
    counts: list[int] = []
    for _ in range(2):
        with env.connect() as connection:
            counts.append(connection.execute(NAMES, execution_options={"rowstamp": cached()}).rowcount)
    assert counts[0] == counts[1]


def test_defaults_are_executed_as_without_a_cache(postgres_env: Env) -> None:
    """`session.scalar(Sequence(...))` is no query, and no business of the cache."""
    with postgres_env.transaction() as session:
        session.execute(text("CREATE SEQUENCE IF NOT EXISTS numbers_of_a_test"))
        assert session.scalar(Sequence("numbers_of_a_test").next_value()) >= 1


@pytest.mark.parametrize("catalog", ["sqlite_master", "sqlite_schema"])
def test_the_system_catalog_is_not_cached(sqlite_env: Env, catalog: str) -> None:
    """Definitions change it, and no write names it."""
    explanation = sqlite_env.cache.explain(text(f"SELECT name FROM {catalog}").options(cached()))
    assert "system catalog" in str(explanation)


def test_other_listeners_hear_what_is_sent(env: Env) -> None:
    """An application's `do_execute` listener is asked on a miss, though the cache executes by itself."""
    heard: list[str] = []

    @event.listens_for(env.engine, "do_execute")
    def _hear(_cursor: Any, statement: str, _parameters: Any, _context: Any) -> None:
        heard.append(statement)

    env.rows(NAMES)
    assert any("products" in statement for statement in heard)
    event.remove(env.engine, "do_execute", _hear)


def test_attached_engines_are_collected() -> None:
    """Nothing keeps an engine alive that was neither detached nor closed."""
    engine = create_engine("sqlite://")
    cache = Cache()
    cache.attach(engine)
    with engine.connect() as connection:
        connection.execute(select(literal(1)))
    gone = weakref.ref(engine.dialect)
    del engine, cache, connection
    gc.collect()
    assert gone() is None


def test_the_parameters_of_an_insert_are_not_kept_until_the_commit(env: Env) -> None:
    """It waits for its keys, and they are there once it was executed."""
    with env.session() as session:
        session.add(Tag(name="fresh"))
        session.flush()
        connection = session.connection()
        assert connection.connection.info["rowstamp"].insert is None
        session.rollback()
