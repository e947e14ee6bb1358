"""Who is cached and who is not: options, policies, and the ways to turn the cache off."""

from typing import Any

from sqlalchemy import select, text, update

from rowstamp import cached
from tests.conformance.models import Category, Employee, Manager, Person, Product, product
from tests.harness import Env, read

FIRST = select(Product).where(Product.id == 1)
JOINED = select(Product.name, Category.name).join(Product.category)


def test_nothing_is_cached_unasked(env: Env) -> None:
    """A statement without `cached()` and without a policy goes to the database each time."""
    for _ in range(2):
        assert not env.served(FIRST, rowstamp=None)
    assert (env.cache.stats().hits, env.cache.stats().fills, env.cache.stats().misses) == (0, 0, 0)


def test_as_an_option_of_the_statement(env: Env) -> None:
    """`.options(cached())` works on an ORM select, a Core select and text()."""
    for statement in (FIRST, JOINED, select(Product.__table__), text("SELECT name FROM products ORDER BY id")):
        asked = statement.options(cached())
        assert not env.served(asked, rowstamp=None)
        assert env.served(asked, rowstamp=None)
        assert env.core_served(select(Product.__table__.c.name).options(cached()), rowstamp=None) is False
        env.cache.clear()


def test_as_an_execution_option(env: Env) -> None:
    """The execution option "rowstamp" on the statement, the call, the connection or the engine."""
    stmt = select(Product.name)
    assert not env.core_served(stmt)
    asked = {"rowstamp": cached()}
    with env.connect() as connection, env.traffic() as traffic:
        connection.execute(stmt, execution_options=asked).all()
        connection.execute(stmt.execution_options(**asked)).all()
        connection.execution_options(**asked).execute(stmt).all()
        with env.engine.execution_options(**asked).connect() as other:
            other.execute(stmt).all()
    assert traffic.statements == []


def test_the_execution_option_false(env: Env) -> None:
    """`False` turns the cache off for a statement that asks, and for one under a policy."""
    env.cache.policy(Product)
    asked = FIRST.options(cached())
    env.warm(asked)
    assert not env.served(asked, rowstamp=False)
    assert not env.served(FIRST, rowstamp=False)
    assert env.served(FIRST, rowstamp=None)


def test_a_policy_for_all_tables(env: Env) -> None:
    """A select is cached if each of its tables has a policy, and not if one has none."""
    env.cache.policy(Product)
    assert [env.served(JOINED, rowstamp=None) for _ in range(2)] == [False, False]
    assert [env.served(FIRST, rowstamp=None) for _ in range(2)] == [False, True]
    env.cache.policy(Category)
    assert [env.served(JOINED, rowstamp=None) for _ in range(2)] == [False, True]


def test_a_policy_covers_get_and_loads_of_expired_attributes(env: Env) -> None:
    """`session.get` and the load of an expired entity are selects under the policy."""
    env.cache.policy(Product)
    with env.session() as session:
        found = session.get_one(Product, 1)
    with env.session() as session, env.traffic() as traffic:
        found = session.get_one(Product, 1)
        session.expire(found)
        assert found.name == "atlas"
    assert len(traffic) <= 1
    with env.session() as session, env.traffic() as traffic:
        found = session.get_one(Product, 1)
        session.expire(found)
        assert found.name == "atlas"
    assert traffic.statements == []


def test_the_shortest_policy_counts(env: Env) -> None:
    """Of several tables' times to live the shortest is the result's."""
    env.cache.policy(Product, ttl=100)
    env.cache.policy(Category, ttl=10)
    env.warm(JOINED, rowstamp=None)
    env.clock.advance(11)
    assert not env.served(JOINED, rowstamp=None)


def test_a_policy_of_a_hierarchy(env: Env) -> None:
    """A policy of a class covers the tables of its subclasses."""
    env.cache.policy(Person)
    env.cache.policy(Employee)
    for model in (Person, Employee, Manager):
        with env.session() as session:
            session.scalars(select(model)).all()
        with env.session() as session, env.traffic() as traffic:
            session.scalars(select(model)).all()
        assert traffic.statements == []


def test_policy_of_a_core_connection(env: Env) -> None:
    """Policies hold on Connections too."""
    env.cache.policy(Product.__table__)
    stmt = select(Product.__table__.c.name)
    assert [env.core_served(stmt, rowstamp=None) for _ in range(2)] == [False, True]


def test_disabled_serves_and_fills_nothing(env: Env) -> None:
    """Inside `disabled()` everything is read from the database and nothing stored."""
    env.warm(FIRST)
    with env.cache.disabled():
        assert not env.served(FIRST)
        assert not env.served(JOINED)
        assert not env.core_served(JOINED)
    assert env.served(FIRST)
    assert not env.served(JOINED)


def test_disabled_still_invalidates(env: Env) -> None:
    """Writes inside `disabled()` end what is cached."""
    with env.change_of(FIRST), env.cache.disabled(), env.transaction() as session:
        session.get_one(Product, 1).stock = 99


def test_a_session_that_does_not_want_it(env: Env) -> None:
    """`session.info["rowstamp"] = False` turns it off for a session, whose writes still invalidate."""
    env.cache.policy(Product)
    env.warm(FIRST)
    with env.change_of(FIRST), env.session() as session, env.traffic() as traffic:
        session.info["rowstamp"] = False
        read(session, FIRST)
        assert session.get_one(Product, 2).name == "bestiary"
        assert len(traffic) == 2
        session.add(product())
        session.execute(update(Product).where(Product.id == 1).values(stock=98))
        session.commit()


def test_a_session_made_so(env: Env) -> None:
    """`Session(info={"rowstamp": False})` is the same, and a session may change its mind."""
    env.warm(FIRST)
    with env.session(info={"rowstamp": False}) as session, env.traffic() as traffic:
        read(session, FIRST)
        assert len(traffic) == 1
        session.info["rowstamp"] = None
        session.expunge_all()
        read(session, FIRST)
        assert len(traffic) == 1


def test_get_takes_the_option(env: Env) -> None:
    """`session.get(…, execution_options=…)` and `options=[cached()]` ask for one row."""
    ways: list[dict[str, Any]] = [{"execution_options": {"rowstamp": cached()}}, {"options": [cached(ttl=9)]}]
    for how in ways:
        for expected in (1, 0):
            with env.session() as session, env.traffic() as traffic:
                session.get_one(Product, 1, **how)
            assert len(traffic) == expected
        env.cache.clear()
