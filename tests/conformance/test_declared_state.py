"""State of a connection that the cache was told of (`vary=[…]`): such connections are served and fill, and tenants never meet."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any, cast

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache
from rowstamp._sqlalchemy import await_in_greenlet
from tests.conformance.models import Customer, Tag
from tests.conformance.test_connection_state import CUSTOMERS, NAMES, TENANTS, as_user, listening, make_open, secure
from tests.conformance.test_tenants import make_schemas
from tests.harness import Env, Node, Target, read, sync_engine

SCHEMAS = ("north", "south")


def make_places(env: Env) -> None:
    """Tables of the same name in schemas, which are databases in MariaDB."""
    if env.dialect == "postgresql":
        return make_schemas(env)
    with env.behind() as session:
        for place in SCHEMAS:
            session.execute(text(f"CREATE DATABASE {place}"))
            session.execute(text(f"CREATE TABLE {place}.tags (id INT PRIMARY KEY, name VARCHAR(50))"))
            session.execute(text(f"INSERT INTO {place}.tags VALUES (1, '{place}')"))
    return None


def go_to(env: Env, place: str) -> Any:
    return text(f"SET search_path TO {place}" if env.dialect == "postgresql" else f"USE {place}")


def home(env: Env) -> str:
    return "public" if env.dialect == "postgresql" else "shop"


STATES = ["search_path", "database"]


def read_in(node: Node, place: str, stmt: Any = NAMES) -> Any:
    """Read as a tenant whose connection comes from the pool and goes back to it."""
    with node.session() as session:
        session.execute(go_to(node.env, place))
        found = read(session, stmt)
        session.commit()
        return found


def test_tenants_by_schema(server_env: Env) -> None:
    """Each place has results of its own on one pooled connection; a write to one ends them, and those are served again."""
    env = server_env
    make_places(env)
    node = env.new_node(vary=STATES)
    for _ in range(3):
        for place in SCHEMAS:
            assert read_in(node, place) == [(place,)]
    assert node.cache.stats().hits == 4
    with node.transaction() as session:
        session.execute(go_to(env, "north"))
        session.execute(text("UPDATE tags SET name = 'changed'"))
    for _ in range(2):
        assert read_in(node, "north") == [("changed",)]
        assert read_in(node, "south") == [("south",)]
        assert read_in(node, home(env)) == env.truth(NAMES)
    assert node.cache.stats().hits == 7


def test_nobody_says_where_a_pooled_connection_is(server_env: Env) -> None:
    """A session that says nothing is where the connection was left, and so are its results."""
    env = server_env
    make_places(env)
    node = env.new_node(vary=STATES)
    node.warm(NAMES)
    read_in(node, "north")
    for _ in range(2):
        assert node.rows(NAMES) == [("north",)]
        assert node.core_rows(NAMES) == [("north",)]
    assert env.rows(NAMES) == env.truth(NAMES)


def finding_its_session(node: Node) -> Callable[[], list[str]]:
    """A cached function that is given nothing, so that its key knows nothing of connections."""
    target: Any = node.target
    if node.env.asynchronous:

        @cast("AsyncCache", node.cache.real).query()
        async def names() -> list[str]:
            async with AsyncSession(target) as session:
                return list((await session.scalars(NAMES)).all())

        return lambda: await_in_greenlet(names())

    @cast("Cache", node.cache.real).query()
    def names_now() -> list[str]:
        with Session(target) as session:
            return list(session.scalars(NAMES))

    return names_now


def test_a_function_that_finds_its_session_by_itself(server_env: Env) -> None:
    """What it reads on a connection that somebody has left elsewhere is not stored for those who are at home."""
    env = server_env
    make_places(env)
    node, other = env.new_node(vary=STATES), env.new_node(vary=STATES)
    here, there = finding_its_session(node), finding_its_session(other)
    other.rows(CUSTOMERS)  # before its first connection an engine serves no function
    read_in(node, "north")
    assert here() == ["north"]
    assert [(name,) for name in there()] == env.truth(NAMES)


def test_state_that_is_not_declared(server_env: Env) -> None:
    """Beside declared state, any other makes the connection bypass."""
    env = server_env
    node = env.new_node(vary=["search_path", "@tenant"])
    other = "SET ROLE postgres" if env.dialect == "postgresql" else "USE shop"
    with node.session() as session:
        session.execute(text("SET search_path TO public" if env.dialect == "postgresql" else "SET @tenant = 'north'"))
        for _ in range(2):
            read(session, NAMES)
        session.execute(text(other))
        read(session, NAMES)
        session.connection().invalidate()
        session.rollback()
    assert node.cache.stats().hits == 1
    assert [other in reason for reason in node.cache.stats().bypasses] == [True]


@pytest.mark.filterwarnings("ignore::rowstamp.RowstampWarning")
def test_a_function_that_may_change_the_state(postgres_env: Env) -> None:
    """What is called of which nothing is known may change what is declared: the connection is asked afterwards."""
    env = postgres_env
    make_schemas(env)
    body = "SELECT set_config('search_path', 'north', false)"
    with env.behind() as session:
        session.execute(text(f"CREATE FUNCTION public.go_north() RETURNS text AS $$ {body} $$ LANGUAGE SQL"))
    node = env.new_node(vary=["search_path"])
    with node.session() as session:
        session.execute(text("SELECT go_north()"))
        session.commit()
    node.warm(NAMES)
    assert node.rows(NAMES) == [("north",)]
    assert env.rows(NAMES) == env.truth(NAMES)
    with env.behind() as session:
        session.execute(text("DROP FUNCTION public.go_north()"))


def test_temporary_tables_are_no_state_with_a_name(env: Env) -> None:
    """Their rows are those of one connection, whatever is declared."""
    node = env.new_node(vary=["search_path", "role", "database"])
    node.warm(NAMES)
    with node.session() as session:
        session.execute(text("CREATE TEMPORARY TABLE tags (id int, name varchar(50))"))
        assert read(session, NAMES) == []
        session.execute(text("DROP TABLE tags"))
        session.connection().invalidate()
        session.rollback()


UNDOING: dict[str, Callable[[Session], None]] = {
    "rollback": lambda session: session.rollback(),
    "commit": lambda session: session.commit(),
    "savepoint": lambda _session: None,
    "savepoint in SQL": lambda session: (session.execute(text("ROLLBACK TO SAVEPOINT here")), None)[1],
}


@pytest.mark.parametrize("way", UNDOING)
def test_what_is_undone_is_no_state(postgres_env: Env, way: str) -> None:
    """A rollback undoes `SET`, also to a savepoint; a commit ends `SET LOCAL`. What is read then is where it is read."""
    env = postgres_env
    make_schemas(env)
    node = env.new_node(vary=["search_path"])
    node.warm(NAMES)
    with node.session() as session:
        session.execute(text("SELECT 1"))
        nested = session.begin_nested() if way == "savepoint" else None
        if way == "savepoint in SQL":
            session.execute(text("SAVEPOINT here"))
        session.execute(text(f"SET {'LOCAL' if way == 'commit' else ''} search_path TO north"))
        assert read(session, NAMES) == [("north",)]
        if nested is not None:
            nested.rollback()
        UNDOING[way](session)
        for _ in range(2):
            assert read(session, NAMES) == env.truth(NAMES)
        session.rollback()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_to_ask_for_the_state_is_to_read(postgres_env: Env, level: str) -> None:
    """The question may take the snapshot: what is read after it is not stored under newer stamps."""
    env = postgres_env
    node = env.new_node(vary=["search_path"])
    with node.session() as session:
        session.execute(text("SET search_path TO public"))
        session.commit()
        session.connection(execution_options={"isolation_level": level})
        read(session, CUSTOMERS)
        with node.env.elsewhere() as other:
            other.get_one(Tag, 1).name = "later"
        assert "later" not in str(read(session, NAMES))
        session.rollback()
        assert node.rows(NAMES) == env.truth(NAMES)


# ----------------------------------------------------------------------------------------- row-level security


@pytest.fixture
def secured(postgres_env: Env) -> Generator[Env]:
    postgres_env.call(secure, postgres_env)
    yield postgres_env
    postgres_env.call(make_open, postgres_env)


def clerks(env: Env) -> Node:
    """An engine of a role that sees the customers of the tenant in `app.tenant`, and a cache that knows of it."""
    node = Node.__new__(Node)
    node.env, node.cache = env, env.new_cache(vary=["app.tenant"])
    node.target = env.new_engine(env.url.replace("postgres@", "clerk@"))
    node.engine = sync_engine(node.target)
    node.cache.attach(node.target)
    return node


def as_text(tenant: str) -> Any:
    return text("SELECT set_config('app.tenant', :tenant, true)").bindparams(tenant=tenant)


def as_function(tenant: str) -> Any:
    return select(func.set_config("app.tenant", tenant, True))


def as_setting(tenant: str) -> Any:
    return text(f"SET LOCAL app.tenant = '{tenant}'")


@contextmanager
def telling(way: Callable[[str], Any]) -> Generator[None]:
    """The usual recipe: a listener tells the database the session's tenant when its transaction begins."""

    def begun(session: Session, _transaction: Any, connection: Any) -> None:
        tenant = session.info.get("tenant")
        if tenant:
            connection.execute(way(tenant))

    with listening(begun, wanted=True):
        yield


@pytest.mark.parametrize("way", [as_text, as_function, as_setting])
def test_tenants_by_row_level_security(secured: Env, way: Callable[[str], Any]) -> None:
    """Each tenant is served its own rows, and a session without one is shown none, on connections that others have used."""
    env = secured
    with telling(way):
        node = clerks(env)
        for _ in range(2):
            for tenant, rows in {**TENANTS, "": []}.items():
                with env.open_session(node.target, info={"tenant": tenant}) as session:
                    for _ in range(2):
                        assert read(session, CUSTOMERS) == rows
                    session.commit()
                    assert read(session, CUSTOMERS) == rows
        assert node.cache.stats().hits >= 9
        with env.open_session(node.target, info={"tenant": "south"}) as session:
            session.get_one(Customer, 2).name = "bea"
            session.commit()
            assert read(session, CUSTOMERS) == [("bea",)]
        with env.open_session(node.target, info={"tenant": "north"}) as session:
            assert read(session, CUSTOMERS) == TENANTS["north"]


def customers_of(node: Node) -> Callable[[Target, str], list[str]]:
    """A cached function that is given a session of some tenant, which has no connection yet."""
    names = select(Customer.name).order_by(Customer.id)
    if node.env.asynchronous:

        @cast("AsyncCache", node.cache.real).query()
        async def customers(session: AsyncSession) -> list[str]:
            return list((await session.scalars(names)).all())

        async def call(target: Any, tenant: str) -> list[str]:
            async with AsyncSession(target, info={"tenant": tenant}) as session:
                return await customers(session)

        return lambda target, tenant: await_in_greenlet(call(target, tenant))

    @cast("Cache", node.cache.real).query()
    def customers_now(session: Session) -> list[str]:
        return list(session.scalars(names))

    def call_now(target: Any, tenant: str) -> list[str]:
        with closing(Session(target, info={"tenant": tenant})) as session:
            return customers_now(session)

    return call_now


def test_functions_of_tenants(secured: Env) -> None:
    """A function's result is one of its tenant: the session begins before the function is looked up."""
    with telling(as_text):
        node = clerks(secured)
        customers = customers_of(node)
        for _ in range(3):
            for tenant, rows in TENANTS.items():
                assert customers(node.target, tenant) == [name for (name,) in rows]
        assert node.cache.stats().hits == 4


def test_a_setting_leaves_a_trace(secured: Env) -> None:
    """Without a declaration: after `SET LOCAL` a setting of the application's is `''`, not `NULL` as before, and policies may ask."""
    env = secured
    with env.behind() as session:
        session.execute(text("DROP POLICY of_setting ON customers"))
        shown = "coalesce(current_setting('app.tenant', true), tenant)"
        session.execute(text(f"CREATE POLICY of_setting ON customers TO clerk USING (tenant = {shown})"))
    target = as_user(env, "clerk")
    with env.open_session(target) as session:
        assert len(read(session, CUSTOMERS)) == 2
    for _ in range(2):
        with env.open_session(target) as session:
            session.execute(as_text("north"))
            session.commit()
            assert read(session, CUSTOMERS) == []
            session.rollback()
