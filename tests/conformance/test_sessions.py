"""A hit leaves sessions, connections and the pool as a query would, or better."""

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from rowstamp import cached
from tests.conformance.models import Product, Tag, product
from tests.harness import Env, everything, read

FIRST = select(Product).where(Product.id == 1)
NAMES = select(Product.name).order_by(Product.id)


def test_a_hit_takes_no_connection(env: Env) -> None:
    """A session that is served everything never asks the pool."""
    env.warm(FIRST)
    env.warm(NAMES)
    with env.session() as session, env.traffic() as traffic:
        session.scalars(FIRST.options(cached())).one()
        read(session, NAMES)
        assert env.checked_out == 0
        session.commit()
    assert (traffic.statements, traffic.checkouts) == ([], 0)


def test_a_hit_gives_entities_of_the_session(env: Env) -> None:
    """Entities from the cache are persistent, attached, and one object for one row."""
    env.warm(FIRST)
    with env.session() as session:
        found = session.scalars(FIRST.options(cached())).one()
        assert inspect(found).persistent
        assert found in session
        assert session.get(Product, 1) is found
        assert not session.dirty
        found.name = "changed"
        session.commit()
    assert env.truth(NAMES)[0] == ("changed",)


def test_a_hit_does_not_overwrite_a_modified_entity(env: Env) -> None:
    """What the session has changed or loaded before stays as it is."""
    env.warm(FIRST)
    with env.session() as session, session.no_autoflush:
        mine = session.get_one(Product, 1)
        mine.name = "mine"
        with env.traffic() as traffic:
            assert session.scalars(FIRST.options(cached())).one() is mine
        assert traffic.statements == []
        assert mine.name == "mine"


def test_a_hit_does_not_overwrite_a_loaded_entity(env: Env) -> None:
    """An entity loaded earlier keeps its values, as after a query."""
    with env.session() as session:
        mine = session.get_one(Product, 1)
        with env.elsewhere() as other:
            other.get_one(Product, 1).name = "newer"
        env.warm(FIRST)
        assert session.scalars(FIRST.options(cached())).one() is mine
        assert mine.name == "atlas"


def test_a_hit_refreshes_an_expired_entity(env: Env) -> None:
    """An expired entity is filled from the cached row."""
    env.warm(FIRST)
    with env.session() as session:
        mine = session.get_one(Product, 1)
        session.expire(mine)
        with env.traffic() as traffic:
            session.scalars(FIRST.options(cached())).one()
            assert mine.name == "atlas"
        assert traffic.statements == []


def test_a_deleted_row_that_is_still_pending(env: Env) -> None:
    """A row deleted in this session and flushed is not served to it."""
    env.warm(everything(Tag))
    with env.session() as session:
        session.delete(session.get_one(Tag, 3))
        assert len(read(session, everything(Tag))) == 2
        session.rollback()
        assert len(read(session, everything(Tag))) == 3


def test_a_hit_begins_the_session(env: Env) -> None:
    """After a hit the session is in a transaction, as after a query."""
    env.warm(NAMES)
    with env.session() as session:
        assert not session.in_transaction()
        read(session, NAMES)
        assert session.in_transaction()


def errors_of(session: Session) -> list[str]:
    found: list[str] = []
    for options in ({"rowstamp": False}, {"rowstamp": cached()}):
        with pytest.raises(InvalidRequestError) as caught:
            session.execute(NAMES, execution_options=options)
        found.append(f"{type(caught.value).__name__}: {caught.value}")
    return found


def test_a_session_without_autobegin(env: Env) -> None:
    """`autobegin=False` refuses a hit as it refuses a query."""
    env.warm(NAMES)
    with env.session(autobegin=False) as session:
        miss, hit = errors_of(session)
        assert miss == hit
        session.begin()
        with env.traffic() as traffic:
            read(session, NAMES)
        assert traffic.statements == []


def test_a_session_that_has_to_be_rolled_back(env: Env) -> None:
    """After a failed flush a hit is refused as a query is."""
    env.warm(NAMES)
    with env.session() as session:
        session.add(Tag(id=1, name="double"))
        with pytest.raises(DBAPIError):
            session.flush()
        session.expunge_all()
        miss, hit = errors_of(session)
        assert miss == hit
        assert hit.startswith("PendingRollbackError")
        session.rollback()
        assert len(read(session, NAMES)) == 4


def test_a_hit_inside_a_finished_block(env: Env) -> None:
    """Inside `with session.begin():` after its commit both are refused."""
    env.warm(NAMES)
    with env.session() as session, session.begin():
        session.commit()
        miss, hit = errors_of(session)
        assert miss == hit


def test_a_closed_session_begins_anew(env: Env) -> None:
    """After `close()` a hit begins a new transaction; `close_resets_only=False` refuses."""
    env.warm(NAMES)
    session = env.session()
    session.close()
    with env.traffic() as traffic:
        read(session, NAMES)
    session.close()
    assert traffic.statements == []
    final = env.session(close_resets_only=False)
    final.close()
    miss, hit = errors_of(final)
    assert miss == hit


def test_a_hit_then_a_write_of_the_same_session(env: Env) -> None:
    """A session that was served may write afterwards."""
    env.warm(FIRST)
    with env.change_of(NAMES), env.session() as session:
        session.scalars(FIRST.options(cached())).one().name = "written"
        session.add(product())
        session.commit()


def test_an_expired_instance_loads_from_the_cache_under_a_policy(env: Env) -> None:
    """Loads of expired attributes are selects like others."""
    env.cache.policy(Product)
    with env.session() as session:
        mine = session.get_one(Product, 1)
        session.commit()
        assert mine.name == "atlas"
        with env.elsewhere() as other:
            other.get_one(Product, 1).name = "newer"
        assert mine.name == "atlas"
        session.commit()
        assert mine.name == "newer"


def test_a_hit_is_what_the_listener_of_loads_sees(env: Env) -> None:
    """`load` events fire for entities from the cache as for others."""
    from sqlalchemy import event

    heard: list[str] = []

    def loaded(target: Product, _context: object) -> None:
        heard.append(target.name)

    event.listen(Product, "load", loaded)
    try:
        env.warm(FIRST)
    finally:
        event.remove(Product, "load", loaded)
    assert heard == ["atlas", "atlas"]


def test_core_hits_are_marked_for_tracers(env: Env) -> None:
    """A hit on a Connection passes the events of an execution, marked by an execution option."""
    from sqlalchemy import event

    marks: list[object] = []

    def executed(*args: object) -> None:
        marks.append(args[4].execution_options.get("rowstamp_hit"))  # type: ignore[attr-defined]

    event.listen(env.engine, "after_cursor_execute", executed)
    for _ in range(2):
        env.core_rows(NAMES)
    event.remove(env.engine, "after_cursor_execute", executed)
    assert marks == [None, True]


def test_a_hit_inside_a_flush(env: Env) -> None:
    """Statements that run inside the flush before a hit do not take its place."""
    env.cache.policy(Tag)
    env.cache.policy(Product)
    env.warm(everything(Tag))
    with env.session() as session:
        first = session.get_one(Product, 1)
        session.expire(first)
        first.stock = 70
        assert len(read(session, everything(Tag))) == 3
        assert first.name == "atlas"
        session.commit()
    assert env.rows(FIRST) == env.truth(FIRST)
