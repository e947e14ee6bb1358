"""AUTOCOMMIT, and the transactions of SQLite. Snapshots of other databases: `test_snapshots.py`."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, select, update

from rowstamp import cached
from tests.conformance.models import FIRST_GENERATED, Product, Tag, product
from tests.harness import Env, everything, read, sync_engine

NAMES = select(Product.name).order_by(Product.id)
TAGS = everything(Tag)


def test_autocommit_writes_are_published_at_once(env: Env) -> None:
    """On an AUTOCOMMIT connection each write is a transaction; there is nothing to roll back."""
    autocommit = env.engine.execution_options(isolation_level="AUTOCOMMIT")
    with env.change_of(NAMES), autocommit.connect() as connection:
        connection.execute(update(Product).where(Product.id == 1).values(name="at once"))
        assert env.rows(NAMES)[0] == ("at once",)
        connection.rollback()


def test_an_autocommit_engine(env: Env) -> None:
    """`create_engine(isolation_level="AUTOCOMMIT")`: flushes publish at once, inserts with their generated keys."""
    target = env.new_engine(isolation_level="AUTOCOMMIT")
    env.cache.attach(target)
    new = select(Tag.name).where(Tag.id.in_([4, FIRST_GENERATED]))
    with env.change_of(TAGS, new), env.open_session(target) as session:
        session.add(Tag(name="at once"))
        session.flush()
        assert env.rows(TAGS) == env.truth(TAGS)
        assert env.rows(new) == [("at once",)]
        session.rollback()


def test_raw_sql_under_autocommit(env: Env) -> None:
    """Text is published at once as well."""
    with env.change_of(NAMES), env.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        assert env.rows(NAMES)[0] == ("raw",)


def test_hits_under_autocommit(env: Env) -> None:
    """An AUTOCOMMIT connection is served, and fills."""
    autocommit = env.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection, env.traffic() as traffic:
        read(connection, NAMES)
        read(connection, NAMES)
    assert len(traffic) == 1


def begin_recipe(engine: Engine, words: str = "BEGIN") -> None:
    """SQLAlchemy's recipe for transactions on SQLite that really begin."""

    def no_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql(words)

    event.listen(engine, "connect", no_begin)
    event.listen(engine, "begin", begin)


def test_sqlite_with_the_begin_recipe(sqlite_env: Env) -> None:
    """With BEGIN sent by a listener each transaction has one snapshot: reads in it are never newer than that."""
    env = sqlite_env
    target = env.new_engine()
    begin_recipe(sync_engine(target))
    env.cache.attach(target)
    env.warm(NAMES)
    with env.open_session(target) as session:
        assert read(session, TAGS) == env.truth(TAGS)
        first = read(session, NAMES)
        assert first == env.truth(NAMES)
    with env.change_of(NAMES), env.open_session(target) as session:
        session.get_one(Product, 1).name = "recipe"
        session.commit()
    with env.no_change_of(NAMES), env.open_session(target) as session:
        session.get_one(Product, 1).name = "undone"
        session.flush()
        session.rollback()


def test_sqlite_with_the_begin_recipe_does_not_mix_moments(sqlite_env: Env) -> None:
    """A second connection commits (WAL lets it) while the first is inside its snapshot."""
    env = sqlite_env
    with env.behind() as session:
        session.connection().exec_driver_sql("PRAGMA journal_mode=WAL")
    target = env.new_engine()
    begin_recipe(sync_engine(target))
    env.cache.attach(target)
    env.warm(NAMES)
    with env.open_session(target) as session:
        first = read(session, NAMES)
        tags = session.execute(TAGS, execution_options={"rowstamp": False}).scalars().all()
        assert len(tags) == 3
        with env.elsewhere() as other:
            other.get_one(Product, 1).name = "later"
            other.add(Tag(name="later"))
        env.warm(NAMES)
        env.warm(TAGS)
        assert len(read(session, TAGS)) == 3
        assert read(session, NAMES) == first
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.rows(TAGS) == env.truth(TAGS)


def test_sqlite_inside_a_written_transaction(sqlite_env: Env) -> None:
    """After its first write an SQLite transaction has a snapshot; what it reads later is neither served nor stored."""
    env = sqlite_env
    with env.behind() as session:
        session.connection().exec_driver_sql("PRAGMA journal_mode=WAL")
    env.warm(TAGS)
    with env.session() as session:
        session.add(product())
        session.flush()
        assert read(session, TAGS) == env.truth(TAGS)
        session.rollback()


@contextmanager
def in_memory(env: Env) -> Generator[Any]:
    from sqlalchemy.pool import StaticPool

    from tests.conformance.models import build

    url = f"sqlite+{env.backend.driver}://"
    target = env.new_engine(url, poolclass=StaticPool)
    env.cache.attach(target)
    with sync_engine(target).begin() as connection:
        build(connection)
    yield target


def test_sqlite_in_memory_with_one_connection(sqlite_env: Env) -> None:
    """Two sessions on one driver connection: what the other has not committed is read, but never stored."""
    with in_memory(sqlite_env) as target:
        with sqlite_env.open_session(target) as writer, sqlite_env.open_session(target) as reader:
            writer.add(product())
            writer.flush()
            assert len(read(reader, NAMES)) == 5  # it is one connection: that is what the database says
            writer.rollback()
        with sqlite_env.open_session(target) as reader:
            assert len(read(reader, NAMES)) == 4


def test_sqlite_in_memory_with_one_connection_and_an_entry(sqlite_env: Env) -> None:
    """The same with an entry: it is what was committed, and stays so."""
    with in_memory(sqlite_env) as target:
        with sqlite_env.open_session(target) as reader:
            assert len(read(reader, NAMES)) == 4
        with sqlite_env.open_session(target) as writer, sqlite_env.open_session(target) as reader:
            writer.add(product())
            writer.flush()
            assert len(read(writer, NAMES)) == 5
            assert len(read(reader, NAMES)) in {4, 5}
            writer.rollback()
        with sqlite_env.open_session(target) as reader:
            assert len(read(reader, NAMES)) == 4


def test_sqlite_in_memory_rolled_back_by_another_session(sqlite_env: Env) -> None:
    """A rollback by one session undoes what the other wrote on the same connection; its commit publishes nothing wrong."""
    with in_memory(sqlite_env) as target:
        with sqlite_env.open_session(target) as writer, sqlite_env.open_session(target) as other:
            writer.add(product())
            writer.flush()
            other.connection()
            other.rollback()
            writer.commit()
        for _ in range(2):
            with sqlite_env.open_session(target) as reader:
                assert len(read(reader, NAMES)) == 4


def test_sqlite_in_memory_is_followed(sqlite_env: Env) -> None:
    """Hits and invalidations on an in-memory database."""
    with in_memory(sqlite_env) as target:
        for count in (4, 5, 6):
            for _ in range(2):
                with sqlite_env.open_session(target) as session:
                    assert len(read(session, NAMES)) == count
            with sqlite_env.open_session(target) as session:
                session.add(product(100 + count))
                session.commit()
    assert sqlite_env.cache.stats().hits == 3


def test_sqlite_read_uncommitted(sqlite_env: Env) -> None:
    """A READ UNCOMMITTED connection may see what nobody committed: it neither serves nor fills."""
    env = sqlite_env
    env.warm(NAMES)
    dirty = env.engine.execution_options(isolation_level="READ UNCOMMITTED")
    with dirty.connect() as connection, env.traffic() as traffic:
        connection.execute(NAMES, execution_options={"rowstamp": cached()}).all()
    assert len(traffic) == 1
