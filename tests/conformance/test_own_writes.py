"""A transaction sees what it has written itself, and nobody else does before it commits."""

from decimal import Decimal

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from rowstamp import cached
from tests.conformance.models import FIRST_GENERATED, FREE_ID, Product, Tag, product
from tests.harness import Env, everything, read

NAMES = select(Product.name).where(Product.category_id == 1).order_by(Product.id)
BY_KEY = select(Product).where(Product.id == 1)
COUNT = select(func.count()).select_from(Product)


def test_flushed_rows_are_seen_by_their_own_transaction(env: Env) -> None:
    """A read after a flush of its own does not come from the cache."""
    env.warm(NAMES)
    with env.session() as session:
        session.add(product())
        session.flush()
        assert len(read(session, NAMES)) == 3
        session.rollback()


def test_pending_rows_are_flushed_before_a_hit_is_decided(env: Env) -> None:
    """Autoflush comes first, so that a pending row is seen by the query that it matches."""
    env.warm(NAMES)
    with env.session() as session:
        session.add(product())
        assert len(read(session, NAMES)) == 3


def test_without_autoflush_pending_rows_are_not_seen(env: Env) -> None:
    """Under `no_autoflush` a query sees what the database has; from the cache too."""
    env.warm(NAMES)
    with env.session() as session, session.no_autoflush:
        session.add(product())
        with env.traffic() as traffic:
            assert len(read(session, NAMES)) == 2
        assert traffic.statements == []


def test_changed_attributes_are_flushed_before_a_hit_is_decided(env: Env) -> None:
    """A changed attribute of an entity from the cache is flushed, and the list read after it is new."""
    cheap = select(Product.name).where(Product.price < 10).order_by(Product.id)
    env.warm(cheap)
    env.warm(BY_KEY)
    with env.session() as session:
        session.scalars(BY_KEY.options(cached())).one().price = Decimal(1)
        assert read(session, cheap) == [("atlas",), ("bestiary",), ("dominoes",)]


def test_core_writes_are_seen_by_their_own_connection(env: Env) -> None:
    """The same on a Connection, for a row read by its key and for a count."""
    by_key = select(Product.name).where(Product.id == 1)
    env.warm(by_key)
    env.warm(COUNT)
    with env.connect() as connection:
        assert read(connection, by_key) == [("atlas",)]
        connection.execute(update(Product).where(Product.id == 1).values(name="mine"))
        connection.execute(insert(Product).values(id=FREE_ID, name="new", price=1))
        assert read(connection, by_key) == [("mine",)]
        assert read(connection, COUNT) == [(5,)]


def test_own_writes_are_seen_on_the_connection_of_the_session(env: Env) -> None:
    """What a session flushed is seen by Core reads on its connection."""
    env.core_rows(COUNT)
    with env.session() as session:
        session.add(product())
        session.flush()
        assert read(session.connection(), COUNT) == [(5,)]


def test_an_uncommitted_row_is_not_published(env: Env) -> None:
    """What was read after an own write is never stored: a rollback leaves no trace in the cache."""
    with env.session() as session:
        session.add(product())
        assert len(read(session, NAMES)) == 3
        session.rollback()
    assert env.rows(NAMES) == env.rows(NAMES) == env.truth(NAMES)


def test_others_read_the_old_rows_until_the_commit(env: Env) -> None:
    """Between flush and commit other sessions are served what is committed."""
    rows = env.warm(NAMES)
    with env.session() as session:
        session.add(product())
        session.flush()
        assert env.rows(NAMES) == rows
        session.commit()
    assert len(env.rows(NAMES)) == 3


@pytest.mark.parametrize("chosen", [True, False], ids=["key of the application", "key of the database"])
def test_an_own_insert_is_seen_by_who_looked_for_its_key(env: Env, chosen: bool) -> None:
    """A cached "not there" does not hide a row that this transaction inserted, whoever chose the key."""
    key = FREE_ID if chosen else 4 if env.dialect == "sqlite" else FIRST_GENERATED
    stmt = select(Tag.name).where(Tag.id == key)
    assert env.warm(stmt) == []
    with env.session() as session:
        made = Tag(id=key, name="made") if chosen else Tag(name="made")
        session.add(made)
        session.flush()
        assert made.id == key
        assert read(session, stmt) == [("made",)]


def test_what_the_transaction_did_not_touch_is_served(env: Env) -> None:
    """A write of one table does not keep a transaction from being served another."""
    env.warm(everything(Tag))
    with env.session() as session:
        session.add(product())
        session.flush()
        with env.traffic() as traffic:
            read(session, everything(Tag))
        served = env.dialect != "sqlite"  # in SQLite a write begins a transaction, and with it a snapshot
        assert (traffic.statements == []) == served


def test_a_rollback_publishes_nothing_and_loses_nothing(env: Env) -> None:
    """After a rollback the entry is still there, still right."""
    rows = env.warm(NAMES)
    with env.session() as session:
        session.add(product())
        session.flush()
        session.rollback()
        assert read(session, NAMES) == rows
    assert env.served(NAMES)
    assert env.rows(NAMES) == rows


def test_a_session_closed_without_commit_publishes_nothing(env: Env) -> None:
    """`close()` rolls back: the connection that returns to the pool carries nothing on."""
    rows = env.warm(NAMES)
    with env.session() as session:
        session.add(product())
        session.flush()
    assert env.served(NAMES)
    with env.session() as session:
        session.add(Tag(name="other"))
        session.commit()
    assert env.served(NAMES), "effects of the closed transaction were published by the next one of its connection"
    assert env.rows(NAMES) == rows


def test_a_read_after_the_own_commit_is_new_and_cached_again(env: Env) -> None:
    """The committing session itself reads its rows, and may fill the cache again."""
    env.warm(NAMES)
    with env.session() as session:
        session.add(product())
        session.commit()
        assert len(read(session, NAMES)) == 3
    assert env.served(NAMES)


def test_two_writes_of_one_session_end_what_was_cached_between(env: Env) -> None:
    """Each of several commits of a session publishes."""
    with env.session() as session:
        for number in range(3):
            with env.change_of(NAMES):
                session.add(product(FREE_ID + number))
                session.commit()


def test_a_failed_flush_publishes_nothing(env: Env) -> None:
    """A statement that the database refuses ends in a rollback, after which the session is served again."""
    rows = env.warm(everything(Tag))
    with env.session() as session:
        _try_duplicate(session)
        assert read(session, everything(Tag)) == rows
    assert env.served(everything(Tag))


def _try_duplicate(session: Session) -> None:
    session.add(Tag(id=FREE_ID, name="sale"))
    try:
        session.commit()
    except Exception:  # noqa: BLE001 - each driver has its own
        session.rollback()
    else:
        raise AssertionError
