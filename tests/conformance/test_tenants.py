"""One statement, several meanings: nobody is served another tenant's rows."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from rowstamp import cached
from tests.conformance.models import FREE_ID, Base, Category, Customer, Product, Tag
from tests.harness import Env, Node, Target, everything, read, sync_engine

NAMES = select(Tag.name).order_by(Tag.id)
CUSTOMERS = select(Customer.name).order_by(Customer.id)
FIRST_TAG = select(Tag).where(Tag.id == 1)


def make_schemas(env: Env) -> None:
    with env.behind() as session:
        for schema in ("north", "south"):
            session.execute(text(f"CREATE SCHEMA {schema}"))
            session.execute(text(f"CREATE TABLE {schema}.tags (LIKE public.tags INCLUDING ALL)"))
            session.execute(text(f"INSERT INTO {schema}.tags VALUES (1, '{schema}')"))


def of(schema: str) -> dict[str, Any]:
    return {"schema_translate_map": {None: schema}}


@pytest.mark.parametrize("stmt", [NAMES, FIRST_TAG])
def test_schema_translate_map(postgres_env: Env, stmt: Any) -> None:
    """Each tenant's schema has entries of its own, in sessions and on connections."""
    env = postgres_env
    make_schemas(env)
    for _ in range(2):
        for schema in ("north", "south"):
            assert schema in str(env.rows(stmt, **of(schema)))
            assert schema in str(env.core_rows(stmt, **of(schema)))
    assert env.served(stmt, **of("north"))
    assert "new" in str(env.rows(stmt))


def test_a_write_under_a_schema_translate_map(postgres_env: Env) -> None:
    """A write to one tenant's table ends that tenant's results, and leaves the other's."""
    env = postgres_env
    make_schemas(env)
    for stmt in (NAMES, FIRST_TAG):
        env.warm(stmt, **of("north"))
        env.warm(stmt, **of("south"))
        with env.session() as session:
            session.connection(execution_options=of("north"))
            session.execute(text("SELECT 1"))
            session.get_one(Tag, 1).name = "changed"
            session.commit()
        assert env.rows(stmt, **of("north")) == env.truth(stmt, **of("north"))
        assert "changed" in str(env.rows(stmt, **of("north")))
        assert env.served(stmt, **of("south"))
        with env.behind() as session:
            session.execute(text("UPDATE north.tags SET name = 'north'"))
        env.cache.clear()


def test_an_engine_with_a_schema_translate_map(postgres_env: Env) -> None:
    """`engine.execution_options(schema_translate_map=…)`, one for each tenant, share one attachment."""
    env = postgres_env
    make_schemas(env)
    for _ in range(2):
        for schema in ("north", "south"):
            engine = env.engine.execution_options(**of(schema))
            with Session(engine) as session:
                assert read(session, NAMES) == [(schema,)]
    with Session(env.engine.execution_options(**of("north"))) as session:
        session.get_one(Tag, 1).name = "changed"
        session.commit()
    assert env.rows(NAMES, **of("north")) == [("changed",)]


def test_raw_sql_names_a_tenants_table(postgres_env: Env) -> None:
    """Text that qualifies the name, or leaves it to the search path, reaches the translated table's results."""
    env = postgres_env
    make_schemas(env)
    env.warm(NAMES, **of("north"))
    with env.transaction() as session:
        session.execute(text("UPDATE north.tags SET name = 'one'"))
    assert env.rows(NAMES, **of("north")) == [("one",)]
    env.warm(NAMES, **of("north"))
    with env.transaction() as session:
        session.execute(text("SET LOCAL search_path TO north"))
        session.execute(text("UPDATE tags SET name = 'two'"))
    assert env.rows(NAMES, **of("north")) == [("two",)]


def test_the_search_path_of_a_connection(postgres_env: Env) -> None:
    """After SET search_path the same SQL means other tables: that connection is neither served nor fills."""
    env = postgres_env
    make_schemas(env)
    env.warm(NAMES)
    with env.connect() as connection:
        connection.execute(text("SET search_path TO north"))
        assert read(connection, NAMES) == [("north",)]
        connection.commit()
        assert read(connection, NAMES) == [("north",)]
        connection.invalidate()
    assert env.rows(NAMES) == env.truth(NAMES)


@pytest.mark.parametrize("sql", ["SELECT set_config('search_path', 'north', false)", "SET ROLE postgres", "RESET ALL"])
def test_other_ways_to_change_a_connection(postgres_env: Env, sql: str) -> None:
    """`set_config`, `SET ROLE` and the like make the connection bypass as well."""
    env = postgres_env
    make_schemas(env)
    env.warm(NAMES)
    with env.connect() as connection:
        connection.execute(text(sql))
        expected = [("north",)] if "north" in sql else env.truth(NAMES)
        assert read(connection, NAMES) == expected
        connection.invalidate()
    assert env.rows(NAMES) == env.truth(NAMES)


SET_CONFIG = func.set_config("search_path", "north", False)
SETTING: dict[str, Any] = {
    "select": select(SET_CONFIG),
    "fragment": select(text("set_config('search_path', 'north', false)")),
    "write": update(Tag).where(Tag.id == 1).values(name=SET_CONFIG),
}


@pytest.mark.parametrize("way", SETTING)
def test_set_config_as_a_function(postgres_env: Env, way: str) -> None:
    """`func.set_config(…)` changes the connection like its text does, wherever it is called."""
    env = postgres_env
    make_schemas(env)
    env.warm(NAMES)
    with env.session() as session:
        session.execute(SETTING[way].execution_options(synchronize_session=False))
        assert read(session, NAMES) == [("north",)]
        session.connection().invalidate()
        session.rollback()
    assert env.rows(NAMES) == env.truth(NAMES)


def test_a_temporary_table_of_that_name(env: Env) -> None:
    """A temporary table hides the real one on its connection only."""
    env.warm(NAMES)
    with env.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE tags (id int, name varchar(50))"))
        assert read(connection, NAMES) == []
        connection.execute(text("DROP TABLE tags"))
        connection.invalidate()
    assert env.rows(NAMES) == env.truth(NAMES)


def test_attached_files(sqlite_env: Env) -> None:
    """SQLite's ATTACH: the same table name in two files, told apart by the schema."""
    env = sqlite_env
    target = env.new_engine()

    def attach(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("ATTACH ':memory:' AS north")
        cursor.execute("CREATE TABLE north.tags (id integer PRIMARY KEY, name text)")
        cursor.execute("INSERT INTO north.tags VALUES (1, 'north')")
        cursor.close()
        connection.commit()

    event.listen(sync_engine(target), "connect", attach)
    env.cache.attach(target)
    for _ in range(2):
        with env.open_session(target) as session:
            assert read(session, NAMES, **of("north")) == [("north",)]
            assert len(read(session, NAMES)) == 3


def test_vary_of_the_cache(env: Env) -> None:
    """What `vary` returns is part of every key."""
    tenant = ["a"]
    node = env.new_node(vary=lambda: tenant[0])
    node.warm(NAMES)
    tenant[0] = "b"
    assert not node.served(NAMES)
    tenant[0] = "a"
    assert node.served(NAMES)


def test_vary_of_a_statement(env: Env) -> None:
    """`cached(vary=…)` keeps apart what the statement alone does not."""
    env.warm(NAMES, rowstamp=cached(vary=("north", 1)))
    assert not env.served(NAMES, rowstamp=cached(vary=("south", 1)))
    assert not env.served(NAMES, rowstamp=cached(vary=("north", True)))
    assert env.served(NAMES, rowstamp=cached(vary=("north", 1)))


def test_loader_criteria_as_options(env: Env) -> None:
    """`with_loader_criteria` with different values is a different statement."""
    stmts = {t: CUSTOMERS.options(with_loader_criteria(Customer, Customer.tenant == t)) for t in ("north", "south")}
    for _ in range(2):
        assert [env.rows(stmts["north"]), env.rows(stmts["south"])] == [[("ann",)], [("bob",)]]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("how", ["lambda", "where"])
def test_a_listener_that_adds_criteria(env: Env, order: str, how: str) -> None:
    """A `do_orm_execute` listener that adds the tenant's criteria is heard, whether it came before the cache or after."""

    def add_criteria(state: ORMExecuteState) -> None:
        tenant = state.session.info.get("tenant")
        if tenant and state.is_select and how == "lambda":
            state.statement = state.statement.options(
                with_loader_criteria(Customer, lambda cls: cls.tenant == tenant, include_aliases=True)
            )
        elif tenant and state.is_select:
            state.statement = state.statement.where(Customer.tenant == tenant)  # type: ignore[attr-defined]

    event.listen(Session, "do_orm_execute", add_criteria, insert=order == "before")
    try:
        env.cache.policy(Customer)
        for _ in range(2):
            for tenant, name in (("north", "ann"), ("south", "bob")):
                with env.session(info={"tenant": tenant}) as session:
                    assert read(session, CUSTOMERS) == [(name,)]
                    hidden = 2 if tenant == "north" else 1
                    assert how == "where" or session.get(Customer, hidden) is None
    finally:
        event.remove(Session, "do_orm_execute", add_criteria)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", ["before_cursor_execute", "before_execute"])
def test_a_listener_that_rewrites_the_sql(env: Env, order: str, name: str) -> None:
    """Statements that a `retval=True` listener rewrites for a tenant are never served to another."""
    tenant = ["north"]

    def rewrite_text(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return sql.replace("ORDER BY", f"WHERE tenant = '{tenant[0]}' ORDER BY"), parameters

    def rewrite(_c: Any, element: Any, multi: Any, params: Any, _options: Any) -> tuple[Any, Any, Any]:
        return element.where(Customer.tenant == tenant[0]), multi, params

    target = env.new_engine()
    listener = rewrite if name == "before_execute" else rewrite_text
    if order == "after":
        env.cache.attach(target)
    event.listen(sync_engine(target), name, listener, retval=True)
    if order == "before":
        env.cache.attach(target)
    env.warm(CUSTOMERS)
    for _ in range(3):
        for tenant[0], expected in (("north", "ann"), ("south", "bob")):
            with env.open_session(target) as session, sync_engine(target).connect() as connection:
                assert read(session, CUSTOMERS) == [(expected,)]
                assert read(connection, CUSTOMERS) == [(expected,)]
    assert len(env.rows(CUSTOMERS)) == 2


def rewriting(env: Env, listener: Callable[..., tuple[str, Any]]) -> Target:
    """Attach an engine with a listener that returns the text and the values to send."""
    target = env.new_engine()
    env.cache.attach(target)
    event.listen(sync_engine(target), "before_cursor_execute", listener, retval=True)
    return target


@pytest.mark.parametrize("way", ["flush", "many", "update"])
def test_a_write_that_a_listener_rewrites(env: Env, way: str) -> None:
    """What a `retval=True` listener sends to another table ends what is read of that, and leaves the one it was meant for."""

    def rewrite(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return sql.replace("tags", "categories"), parameters

    tags, theirs = everything(Tag), select(Category.id, Category.name).order_by(Category.id)
    target = rewriting(env, rewrite)
    with env.unconcerned(tags), env.change_of(theirs), env.open_session(target) as session:
        if way == "update":
            session.execute(update(Tag).where(Tag.id == 1).values(name="changed"))
        else:
            session.add_all([Tag(id=FREE_ID + number, name=str(number)) for number in range(3 if way == "many" else 1)])
        session.commit()


def test_a_read_that_a_listener_rewrites(env: Env) -> None:
    """It depends on the tables and rows of what is sent, not on those of what was compiled."""

    def rewrite(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return sql.replace("tags", "categories"), parameters

    target = rewriting(env, rewrite)
    stmt = select(Tag.name).where(Tag.id == 1)
    for name in ("one", "two"):
        with env.transaction() as session:
            session.get_one(Category, 1).name = name
        for _ in range(2):
            with env.open_session(target) as session:
                assert read(session, stmt) == [(name,)]


def test_a_listener_that_changes_the_values(env: Env) -> None:
    """A read depends on what was asked for with the values that are sent, and a write ends what it changed with them."""

    def change(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        values = [2 if value == 1 else value for value in getattr(parameters, "values", lambda: parameters)()]
        return sql, dict(zip(parameters, values, strict=True)) if hasattr(parameters, "values") else tuple(values)

    target = rewriting(env, change)
    stmt = select(Tag.name).where(Tag.id == 1)
    for name in ("one", "two"):
        with env.transaction() as session:
            session.execute(update(Tag).where(Tag.id == 2).values(name=name))
        for _ in range(2):
            with env.open_session(target) as session:
                assert read(session, stmt) == [(name,)]
    with env.change_of(select(Tag.name).where(Tag.id == 2)), env.open_session(target) as session:
        session.execute(update(Tag).where(Tag.id == 1).values(name="changed"))
        session.commit()


def test_a_listener_that_adds_a_comment(env: Env) -> None:
    """What tracers add changes nothing: writes end the rows that they change and no others."""

    def trace(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return f"/* a */ {sql} /* trace='b' */", parameters

    target = rewriting(env, trace)
    with env.unconcerned(select(Tag.name).where(Tag.id == 2)), env.open_session(target) as session:
        session.execute(update(Tag).where(Tag.id == 1).values(name="changed"))
        session.add_all([Tag(id=FREE_ID + number, name=str(number)) for number in range(3)])
        session.commit()


def test_two_databases_are_two(sqlite_env: Env) -> None:
    """The same statement on engines of different databases shares nothing; a name for the database joins them."""
    env = sqlite_env
    other = env.new_engine(f"sqlite+{env.backend.driver}:///{env.url.rpartition('/')[0].partition(':///')[2]}/other.db")
    env.cache.attach(other)
    with sync_engine(other).begin() as connection:
        Base.metadata.create_all(connection)
    env.warm(NAMES)
    with env.open_session(other) as session:
        assert read(session, NAMES) == []
    assert len(env.rows(NAMES)) == 3


def test_engines_with_one_database_name_are_one(env: Env) -> None:
    """`attach(engine, database="shop")` on both: writes through one end what was read through the other."""
    replica = Node.__new__(Node)
    replica.env, replica.cache = env, env.cache
    replica.target = env.new_engine(f"{env.url}{'&' if '?' in env.url else '?'}{_HARMLESS[env.backend.driver]}")
    replica.engine = sync_engine(replica.target)
    primary = env.new_engine()
    env.cache.attach(replica.target, database="one shop")
    env.cache.attach(primary, database="one shop")
    stmt = select(Product.name).order_by(Product.id)
    replica.warm(stmt)
    with env.open_session(primary) as session:
        session.get_one(Product, 1).name = "changed"
        session.commit()
    assert replica.rows(stmt) == env.truth(stmt)


_HARMLESS = {
    "pysqlite": "timeout=7",
    "aiosqlite": "timeout=7",
    "psycopg": "application_name=replica",
    "asyncpg": "prepared_statement_cache_size=50",
    "pymysql": "connect_timeout=9",
    "asyncmy": "connect_timeout=9",
}
