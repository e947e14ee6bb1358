"""A connection on which the same SQL means other rows than on others: tenants never meet."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    cast,
    event,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

from tests.conformance.models import Customer, Tag
from tests.harness import Env, Target, read, sync_engine

CUSTOMERS = select(Customer.name).order_by(Customer.id)
NAMES = select(Tag.name).order_by(Tag.id)
TENANTS = {"north": [("ann",)], "south": [("bob",)]}


# ------------------------------------------------------------------------------------- row-level security


@pytest.fixture
def secured(postgres_env: Env) -> Generator[Env]:
    """Customers are shown to their own tenant only: each is a role, and `app.tenant` names one for the role `clerk`."""
    postgres_env.call(secure, postgres_env)
    yield postgres_env
    postgres_env.call(make_open, postgres_env)


ROLES = ("north", "south", "clerk")


def secure(env: Env) -> None:
    with env.behind() as session:
        for role in ROLES:
            session.execute(text(f"CREATE ROLE {role} LOGIN"))
            session.execute(text(f"GRANT SELECT, UPDATE ON customers TO {role}"))
        session.execute(text("ALTER TABLE customers ENABLE ROW LEVEL SECURITY"))
        session.execute(text("CREATE POLICY of_role ON customers USING (tenant = current_user)"))
        session.execute(
            text("CREATE POLICY of_setting ON customers TO clerk USING (tenant = current_setting('app.tenant', true))")
        )


def make_open(env: Env) -> None:
    with env.behind() as session:
        session.execute(text("DROP POLICY of_role ON customers"))
        session.execute(text("DROP POLICY of_setting ON customers"))
        session.execute(text("ALTER TABLE customers DISABLE ROW LEVEL SECURITY"))
        for role in ROLES:
            session.execute(text(f"DROP OWNED BY {role}"))
            session.execute(text(f"DROP ROLE {role}"))


def as_user(env: Env, user: str) -> Target:
    target = env.new_engine(env.url.replace("postgres@", f"{user}@"))
    env.cache.attach(target)
    return target


def test_engines_of_several_users(secured: Env) -> None:
    """Who is connected is part of the key; a write of one ends what the others were shown."""
    env = secured
    engines = {tenant: as_user(env, tenant) for tenant in TENANTS}
    env.warm(CUSTOMERS)
    for _ in range(3):
        for tenant, rows in TENANTS.items():
            with env.open_session(engines[tenant]) as session:
                assert read(session, CUSTOMERS) == rows
    with env.open_session(engines["south"]) as session:
        session.get_one(Customer, 2).name = "bea"
        session.commit()
    assert env.rows(CUSTOMERS) == [("ann",), ("bea",)]
    for tenant, rows in {"north": [("ann",)], "south": [("bea",)]}.items():
        with env.open_session(engines[tenant]) as session:
            assert read(session, CUSTOMERS) == rows


SWITCHES = {
    "role": "SET ROLE {}",
    "role of the transaction": "SET LOCAL ROLE {}",
    "authorization": "SET SESSION AUTHORIZATION {}",
    "setting": "SET app.tenant = '{}'",
    "setting of the transaction": "SET LOCAL app.tenant = '{}'",
    "set_config": "SELECT set_config('app.tenant', '{}', false)",
    "set_config of the transaction": "SELECT set_config('app.tenant', '{}', true)",
}


@pytest.mark.parametrize("way", SWITCHES)
def test_a_tenant_by_statement(secured: Env, way: str) -> None:
    """Sessions of one engine that switch to a tenant see its rows, whatever was cached before and by whom."""
    env = secured
    by_setting = "set" in way and "role" not in way
    target = as_user(env, "clerk") if by_setting else env.target
    env.warm(CUSTOMERS)
    for _ in range(2):
        for tenant, rows in TENANTS.items():
            with env.open_session(target) as session:
                session.execute(text(SWITCHES[way].format(tenant)))
                assert read(session, CUSTOMERS) == rows
                assert read(session, CUSTOMERS) == rows
                session.connection().invalidate()
                session.rollback()
    assert env.served(CUSTOMERS), "to become a tenant is no write"
    assert len(env.rows(CUSTOMERS)) == 2


@pytest.mark.parametrize("when", ["before attach", "after attach"])
def test_a_tenant_for_each_transaction(secured: Env, when: str) -> None:
    """The usual recipe: a listener tells the database the session's tenant when its transaction begins."""
    env = secured

    def begun(session: Session, _transaction: Any, connection: Any) -> None:
        tenant = session.info.get("tenant")
        if tenant:
            connection.execute(text("SELECT set_config('app.tenant', :tenant, true)"), {"tenant": tenant})

    with listening(begun, when == "before attach"):
        target = as_user(env, "clerk")
        with listening(begun, when == "after attach"):
            for _ in range(3):
                for tenant, rows in TENANTS.items():
                    with env.open_session(target, info={"tenant": tenant}) as session:
                        assert read(session, CUSTOMERS) == rows
                        session.commit()
                        assert read(session, CUSTOMERS) == rows


@contextmanager
def listening(listener: Any, wanted: bool) -> Generator[None]:
    if wanted:
        event.listen(Session, "after_begin", listener)
    try:
        yield
    finally:
        if wanted:
            event.remove(Session, "after_begin", listener)


# ------------------------------------------------------------------------------------------------ engines


@pytest.mark.parametrize("way", ["new", "connected before it was attached", "by a later listener"])
def test_engines_that_open_their_connections_with_other_settings(postgres_env: Env, way: str) -> None:
    """What `connect_args` or a `do_connect` listener say is as good as `SET`: such an engine shares no entries with others, though its database is theirs."""
    moment = cast(literal("2024-01-01 23:30+00", String), DateTime(timezone=True))
    stmt = select(cast(moment, Date), Tag.name).where(Tag.id == 1)
    settings = {"timezone": "Asia/Tokyo"}
    arguments: dict[str, Any] = (
        {"server_settings": settings}
        if postgres_env.backend.driver == "asyncpg"
        else {"options": "-ctimezone=Asia/Tokyo"}
    )
    plain, other = (_attached(postgres_env, way, each) for each in ({}, arguments))
    assert postgres_env.warm(stmt)[0][0].day == 1
    for target, day, missed in [(plain, 1, 0), (other, 2, 1), (plain, 1, 0), (other, 2, 0)]:
        misses = postgres_env.cache.stats().misses
        with postgres_env.open_session(target) as session:
            assert read(session, stmt)[0][0].day == day
        assert postgres_env.cache.stats().misses == misses + missed
    with postgres_env.change_of(stmt), postgres_env.open_session(other) as session:
        session.get_one(Tag, 1).name = "changed"
        session.commit()


def _attached(env: Env, way: str, arguments: dict[str, Any]) -> Target:
    listens = way == "by a later listener"
    target = env.new_engine(connect_args={} if listens else arguments)
    if way == "connected before it was attached":
        with env.open_session(target) as session:
            session.connection()
    env.cache.attach(target)
    if listens:
        event.listen(sync_engine(target), "do_connect", lambda _d, _r, _a, named: named.update(arguments))
    return target


# --------------------------------------------------------------------------------------------- databases


def make_north(env: Env) -> None:
    """Make another database of the server, with a table of tags."""
    with env.behind() as session:
        session.execute(text("CREATE DATABASE north"))
        session.execute(text("CREATE TABLE north.tags (id INT PRIMARY KEY, name VARCHAR(50))"))
        session.execute(text("INSERT INTO north.tags VALUES (1, 'north')"))


def test_use_another_database(mariadb_env: Env) -> None:
    """After `USE` an unqualified name is another table: that connection is neither served nor fills, in the pool too."""
    env = mariadb_env
    make_north(env)
    node = env.new_node()
    node.warm(NAMES)
    for _ in range(2):
        with node.session() as session:
            session.execute(text("USE north"))
            assert read(session, NAMES) == [("north",)]
            session.commit()
            assert read(session, NAMES) == [("north",)]
    assert env.rows(NAMES) == env.truth(NAMES)
    with node.session() as session:  # the same connection, from the pool
        assert read(session, NAMES) == [("north",)]
        session.connection().invalidate()


def test_a_write_after_use(mariadb_env: Env) -> None:
    """What is written there ends what is read of the qualified name, and nothing is left stale at home."""
    env = mariadb_env
    make_north(env)
    there = text("SELECT name FROM north.tags")
    with env.change_of(there), env.connect() as connection:
        connection.execute(text("USE north"))
        connection.execute(text("UPDATE tags SET name = 'changed'"))
        connection.commit()
        connection.invalidate()
    assert env.rows(NAMES) == env.truth(NAMES)


def test_an_engine_of_another_database_of_the_server(mariadb_env: Env) -> None:
    """What an engine writes in its own database another reads by its qualified name; and each has entries of its own."""
    env = mariadb_env
    make_north(env)
    target = env.new_engine(env.url.replace("/shop?", "/north?"))
    env.cache.attach(target)
    tags = Table(
        "tags",
        MetaData(),
        Column[int]("id", Integer, primary_key=True),
        Column[str]("name", String(50)),
        schema="north",
    )
    there = select(tags.c.name).where(tags.c.id == 1)
    with env.change_of(there), env.open_session(target) as session:
        session.execute(update(Tag).where(Tag.id == 1).values(name="changed"))
        session.commit()
    for _ in range(2):
        assert env.rows(NAMES) == env.truth(NAMES)
        with env.open_session(target) as session:
            assert read(session, NAMES) == [("changed",)]


# --------------------------------------------------------------------------------------- temporary tables


@pytest.mark.parametrize("way", ["construct", "text", "metadata"])
def test_a_temporary_table_that_hides_a_real_one(env: Env, way: str) -> None:
    """However it was made, its rows are shown to its own connection alone, and are never stored."""
    hiding = Table(
        "tags",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", String(50)),
        prefixes=["TEMPORARY"],
    )
    rows = env.warm(NAMES)
    with env.session() as session:
        connection = session.connection()
        if way == "metadata":
            hiding.create(connection, checkfirst=False)
        else:
            made = CreateTable(hiding)
            connection.execute(made if way == "construct" else text(str(made.compile(dialect=connection.dialect))))
        connection.execute(insert(hiding).values(id=1, name="hidden"))
        for _ in range(2):
            assert read(session, NAMES) == [("hidden",)]
        session.execute(text("DROP TABLE tags"))
        session.connection().invalidate()
        session.rollback()
    assert env.rows(NAMES) == rows == env.truth(NAMES)
