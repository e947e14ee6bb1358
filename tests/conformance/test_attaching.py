"""What is attached, what is not, and how to undo it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.events import SessionEvents

from rowstamp import AsyncCache, AttachError, Cache, ClosedError, ConfigurationError, RowstampError, cached
from tests.conformance.models import Category, Product, Tag, product
from tests.harness import Env, everything, open_with, read, sync_engine, watching

NAMES = select(Product.name).order_by(Product.id)


def test_the_first_connection_of_an_attached_engine(env: Env) -> None:
    """An engine may be attached before it has ever connected."""
    target = env.new_engine()
    env.cache.attach(target)
    with env.open_session(target) as session:
        assert len(read(session, NAMES)) == 4
    assert sync_engine(target).dialect.server_version_info or env.dialect == "sqlite"


def test_a_detached_engine_is_as_before(env: Env) -> None:
    """After `detach` nothing is served, filled or noticed, and no listener of the cache is left on the engine."""
    target = env.new_engine()
    engine = sync_engine(target)
    before = listeners(engine)
    env.cache.attach(target)
    assert listeners(engine) != before
    with env.open_session(target) as session:
        read(session, NAMES)
    env.cache.detach(target)
    assert listeners(engine) == before
    rows = env.warm(NAMES)
    calls = len(env.store.calls)
    with env.open_session(target) as session, watching(engine) as traffic:
        read(session, NAMES)
        session.get_one(Product, 1).name = "unseen"
        session.commit()
        assert len(traffic) == 3
    assert len(env.store.calls) == calls
    assert env.rows(NAMES) == rows


def listeners(engine: Engine) -> list[Any]:
    names = ("do_execute", "do_executemany", "do_execute_no_params", "before_cursor_execute", "after_cursor_execute",
             "before_execute", "after_execute", "commit", "rollback", "begin")  # fmt: skip
    found: list[Any] = [name for name in names for _ in getattr(engine.dispatch, name, ())]
    found += [name for name in names for _ in getattr(engine.dialect.dispatch, name, ())]
    return found + sorted(name for name in vars(engine.dialect) if name.startswith("do_"))


def test_attaching_while_others_go_through_their_listeners(env: Env) -> None:
    """A second engine may be attached while threads execute statements: the listeners of all sessions are left as they are."""
    dispatch = Session().dispatch
    gone_through = [iter(getattr(dispatch, name)) for name in ("do_orm_execute", "after_begin", "after_commit")]
    for listeners_of_one_event in gone_through:
        next(listeners_of_one_event)
    env.cache.attach(env.new_engine())
    for listeners_of_one_event in gone_through:
        list(listeners_of_one_event)


def test_attached_again(env: Env) -> None:
    """`detach` and `attach` may follow each other; what was cached before is still right."""
    env.warm(NAMES)
    env.cache.detach(env.target)
    env.cache.attach(env.target)
    with env.change_of(NAMES), env.transaction() as session:
        session.add(product())


def test_detach_and_attach_after_somebody_cleared_the_listeners(env: Env) -> None:
    """Test fixtures clear all session events: `detach` does not fail, and `attach` works again."""
    env.warm(NAMES)
    SessionEvents._clear()
    with (
        env.session() as session
    ):  # nothing is served without listeners where a connection is needed to tell; never wrong
        read(session, NAMES)
        session.get_one(Product, 1).stock += 1
        session.commit()
    env.cache.detach(env.target)
    env.cache.attach(env.target)
    with env.change_of(NAMES), env.transaction() as session:
        session.add(product())


def test_writes_are_seen_when_somebody_cleared_the_listeners(env: Env) -> None:
    """Invalidation does not hang on session events."""
    env.warm(NAMES)
    other = env.new_node()
    other.warm(NAMES)
    SessionEvents._clear()
    try:
        with env.transaction() as session:
            session.add(product())
    finally:
        env.cache.detach(env.target)
        env.cache.attach(env.target)
    assert env.rows(NAMES) == other.rows(NAMES) == env.truth(NAMES)


def test_a_sessionmaker_serves_its_sessions_only(env: Env) -> None:
    """Attached to a sessionmaker, its sessions are served; others on the engine are not, and their writes count."""
    target = env.new_engine()
    maker = env.maker(target)
    env.cache.attach(maker)
    for expected in (1, 0):
        with open_with(maker) as session, watching(sync_engine(target)) as traffic:
            read(session, NAMES)
        assert len(traffic) == expected
    with env.open_session(target) as session, watching(sync_engine(target)) as traffic:
        read(session, NAMES)
        assert len(traffic) == 1
        session.add(product())
        session.commit()
    with sync_engine(target).connect() as connection, watching(sync_engine(target)) as traffic:
        assert len(read(connection, NAMES)) == 5
        assert len(read(connection, NAMES)) == 5
        assert len(traffic) == 2
    with open_with(maker) as session:
        assert len(read(session, NAMES)) == 5


def test_a_detached_sessionmaker(env: Env) -> None:
    """`detach` of a sessionmaker: sessions made afterwards are not served, and the engine is as before."""
    target = env.new_engine()
    before = listeners(sync_engine(target))
    maker = env.maker(target, info={"mine": 1})
    env.cache.attach(maker)
    env.cache.detach(maker)
    assert listeners(sync_engine(target)) == before
    for _ in range(2):
        with open_with(maker) as session, watching(sync_engine(target)) as traffic:
            read(session, NAMES)
            assert session.info == {"mine": 1}
        assert len(traffic) == 1


def test_an_engine_and_its_sessionmaker(env: Env) -> None:
    """Both may be attached; detaching one leaves the other."""
    target = env.new_engine()
    maker = env.maker(target)
    env.cache.attach(maker)
    env.cache.attach(target)
    env.cache.detach(maker)
    for expected in (1, 0):
        with env.open_session(target) as session, watching(sync_engine(target)) as traffic:
            read(session, NAMES)
        assert len(traffic) == expected


def test_an_engine_detached_before_its_sessionmaker(env: Env) -> None:
    """Detaching the engine does not take its sessionmaker's writes from the cache."""
    target = env.new_engine()
    maker = env.maker(target)
    env.cache.attach(target)
    env.cache.attach(maker)
    env.cache.detach(target)
    env.warm(NAMES)
    with open_with(maker) as session:
        read(session, NAMES)
        session.add(product())
        session.commit()
    assert env.rows(NAMES) == env.truth(NAMES)


def test_several_binds(env: Env) -> None:
    """A session with an engine for each class: each statement is served and followed on its own engine."""
    one, two = env.new_engine(), env.new_engine()
    env.cache.attach(one)
    env.cache.attach(two)
    binds: Any = {Product: sync_engine(one), Tag: sync_engine(two)}
    for number in range(2):
        with Session(binds=binds) as session, env.traffic() as traffic:
            with watching(sync_engine(one)) as first, watching(sync_engine(two)) as second:
                read(session, everything(Product))
                read(session, everything(Tag))
            assert (len(first), len(second), len(traffic)) == (1 - number, 1 - number, 0)
    with env.change_of(NAMES, everything(Tag)), Session(binds=binds) as session:
        session.add(product())
        session.flush()
        session.rollback()
        session.add(Tag(name="bound"))
        session.commit()
        session.add(product())
        session.commit()


def test_one_of_two_engines_attached(env: Env) -> None:
    """A session with one attached engine and one that is not: the second is left alone."""
    binds: Any = {Product: env.engine, Tag: sync_engine(env.plain)}
    for _ in range(2):
        with Session(binds=binds) as session, watching(sync_engine(env.plain)) as traffic:
            read(session, everything(Tag))
            read(session, NAMES)
        assert len(traffic) == 1


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint", "control_fully"])
def test_a_session_inside_an_outer_transaction(postgres_env: Env, mode: Any) -> None:
    """The recipe for test suites: a session on a Connection whose transaction is rolled back in the end."""
    env = postgres_env
    rows = env.warm(NAMES)
    with env.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode=mode) as session:
            session.add(product())
            session.commit()
            if outer.is_active:
                assert len(read(session, NAMES)) == 5
            committed = mode == "control_fully"
            assert env.rows(NAMES) == env.truth(NAMES)
            assert (env.rows(NAMES) != rows) == committed
        if outer.is_active:
            outer.rollback()
    assert env.rows(NAMES) == env.truth(NAMES)
    assert (env.rows(NAMES) != rows) == committed


def test_get_bind_of_an_application(env: Env) -> None:
    """A Session class that chooses its engine itself, with a signature of its own."""
    engine = env.engine

    class Routing(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None) -> Engine:  # type: ignore[override]
            return engine

    for expected in (1, 0):
        with Routing() as session, env.traffic() as traffic:
            read(session, NAMES)
        assert len(traffic) == expected
    with env.change_of(NAMES), Routing() as session:
        session.add(product())
        session.commit()


def test_a_closed_cache_serves_nothing(env: Env) -> None:
    """After `close()` the engine is as before, and the cache refuses to be used."""
    node = env.new_node()
    node.warm(NAMES)
    node.cache.close()
    node.cache.close()
    assert not node.served(NAMES)
    uses: list[Callable[[], None]] = [
        lambda: node.cache.attach(env.new_engine()),
        lambda: node.cache.policy(Product),
        lambda: node.cache.invalidate(Product),
        node.cache.clear,
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="closed"):
            use()


def test_attached_twice(env: Env) -> None:
    """A second `attach` of the same engine, by this cache or another, is refused with the remedy."""
    with pytest.raises(AttachError, match=r"detach\(\)"):
        env.cache.attach(env.target)
    other = env.new_cache()
    with pytest.raises(AttachError, match=r"detach\(\)"):
        other.attach(env.target)
    maker = env.maker(env.new_engine())
    env.cache.attach(maker)
    with pytest.raises(AttachError, match=r"detach\(\)"):
        env.cache.attach(maker)


def test_a_refused_attach_changes_nothing(env: Env) -> None:
    """After a refused attach the engine still belongs to the first cache."""
    with pytest.raises(AttachError):
        env.new_cache().attach(env.target)
    with env.change_of(NAMES), env.transaction() as session:
        session.add(product())


def test_detach_of_what_is_not_attached(env: Env) -> None:
    """`detach` takes what `attach` was given."""
    for target in (env.new_engine(), env.maker(env.target)):
        with pytest.raises(AttachError, match="not attached"):
            env.cache.detach(target)


@pytest.mark.parametrize("target", [None, "sqlite://", 7, Session(), Product, cached()])
def test_attach_of_the_wrong_kind(target: object) -> None:
    """`attach` says what it takes."""
    for cache in (Cache(), AsyncCache()):
        with pytest.raises(AttachError, match=f"{type(target).__name__}.*Engine, AsyncEngine, sessionmaker"):
            cache.attach(target)


def test_attach_of_the_wrong_colour() -> None:
    """A Cache on an AsyncEngine, and the reverse, name the right class."""
    engine, asynchronous = create_engine("sqlite://"), create_async_engine("sqlite+aiosqlite://")
    for awaited in (asynchronous, async_sessionmaker(asynchronous)):
        with pytest.raises(AttachError, match="use AsyncCache"):
            Cache().attach(awaited)
    for blocking in (engine, sessionmaker(engine)):
        with pytest.raises(AttachError, match="use Cache"):
            AsyncCache().attach(blocking)
    with pytest.raises(AttachError, match="bind=engine"):
        Cache().attach(sessionmaker())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store": "nowhere://"}, "nowhere.*memory://"),
        ({"store": "memory://?size=3"}, "size.*max_bytes"),
        ({"store": object()}, "object.*memory://"),
        ({"ttl": 0}, "ttl=0.*positive"),
        ({"ttl": -1}, "ttl=-1.*positive"),
        ({"ttl": True}, "ttl=True.*positive"),
        ({"ttl": float("inf")}, "ttl=inf.*positive"),
        ({"ttl": "60"}, "ttl='60'.*positive"),
        ({"hold_ttl": 0}, "hold_ttl=0.*positive"),
        ({"namespace": ""}, "namespace=''"),
        ({"vary": "tenant"}, "vary='tenant'.*function"),
        ({"on_store_down": "explode"}, "on_store_down='explode'.*journal"),
    ],
)
def test_a_cache_with_a_wrong_option(options: Any, said: str) -> None:
    """A wrong option is refused when the cache is made, with the value and the remedy."""
    for kind in (Cache, AsyncCache):
        with pytest.raises(ConfigurationError, match=said):
            kind(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"ttl": 0}, "ttl=0"), ({"ttl": -5.0}, "ttl=-5.0"), ({"tags": "home"}, r"tags=\['home'\]"), ({"tags": [7]}, "7"),
     ({"tags": [""]}, "''"), ({"tags": 7}, "tags=7")],
)  # fmt: skip
def test_cached_with_a_wrong_option(options: Any, said: str) -> None:
    """`cached()` refuses what it cannot work with, at once."""
    with pytest.raises(ConfigurationError, match=said):
        cached(**options)


def test_a_wrong_execution_option(env: Env) -> None:
    """An execution option that is neither `cached()` nor False is refused by the call, in sessions and on connections."""
    for read_rows in (env.rows, env.core_rows):
        with pytest.raises(ConfigurationError, match=r"'yes'.*cached"):
            read_rows(NAMES, rowstamp="yes")
    with env.session() as session, pytest.raises(RowstampError):
        session.execute(NAMES.execution_options(rowstamp=60))


def test_wrong_arguments_of_invalidate_and_policy(env: Env) -> None:
    """`invalidate` and `policy` say what they take."""
    mistakes: list[tuple[Any, str]] = [
        (env.cache.invalidate, "of nothing"),
        (lambda: env.cache.invalidate(tags="home"), "collection"),
        (lambda: env.cache.invalidate(Product, color=1), "color.*name"),
        (lambda: env.cache.invalidate(object()), "mapped class"),
        (lambda: env.cache.invalidate(text("x = 1")), "mapped class"),
        (lambda: env.cache.invalidate(Product, session=7), "session=7"),
        (lambda: env.cache.policy(object()), "mapped class"),
        (lambda: env.cache.policy(Category, ttl=0), "ttl=0"),
        (lambda: env.new_cache().invalidate(Product), "attach"),
    ]
    for mistake, said in mistakes:
        with pytest.raises(ConfigurationError, match=said):
            mistake()


def test_a_listener_of_the_application_is_left_alone(env: Env) -> None:
    """`detach` removes no listener but the cache's own."""
    heard: list[str] = []

    def hear(*_: Any) -> None:
        heard.append("one")

    event.listen(Session, "do_orm_execute", hear)
    try:
        node = env.new_node()
        node.cache.detach(node.target)
        with node.session() as session:
            read(session, NAMES)
        assert heard == ["one"]
    finally:
        event.remove(Session, "do_orm_execute", hear)
