"""One way to write a scenario for every driver, synchronous or not.

A scenario is a plain function of an `Env`. On an asynchronous driver the whole function runs inside SQLAlchemy's greenlet, on an
event loop of the `Env` (see `tests/conformance/conftest.py`): the very same text then uses AsyncEngine, AsyncSession, AsyncCache
and a store that is awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import await_only, greenlet_spawn

from rowstamp import AsyncCache, Cache, Explanation, Stats, cached
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock
from tests.tricks import AwaitedStore, TrickStore

T = TypeVar("T")

Target: TypeAlias = Engine | AsyncEngine
"""What a cache of either kind is attached to."""
Maker: TypeAlias = "sessionmaker[Session] | async_sessionmaker[AsyncSession]"
Rows: TypeAlias = list[Any]


@dataclass(frozen=True)
class Backend:
    """A database and the driver that reaches it.

    Attributes:
        once: whether the scenarios that it runs are not repeated on the other line of SQLAlchemy.
    """

    dialect: str
    driver: str
    asynchronous: bool
    awaited_store: bool = False
    id: str = ""
    once: bool = False

    def __str__(self) -> str:
        return self.id or self.driver


@dataclass
class Traffic:
    """What reached the database: statements (hits on a Connection are not among them) and connections taken."""

    statements: list[str] = field(default_factory=list[str])
    checkouts: int = 0

    def __len__(self) -> int:
        return len(self.statements)


class CacheFace:
    """A cache of either kind with methods that return when they are done."""

    def __init__(self, cache: Cache | AsyncCache) -> None:
        self.real = cache

    def invalidate(
        self, target: object = None, /, *, tags: Collection[str] | None = None, session: object = None, **values: object
    ) -> None:
        self._done(self.real.invalidate(target, tags=tags, session=session, **values))

    def clear(self) -> None:
        self._done(self.real.clear())

    def close(self) -> None:
        if isinstance(self.real, Cache):
            self.real.close()
        else:
            await_only(self.real.aclose())

    def attach(self, target: object, **options: Any) -> None:
        self.real.attach(target, **options)

    def detach(self, target: object) -> None:
        self.real.detach(target)

    def policy(
        self, model: object, *, ttl: float | None = None, ignore: Collection[str] = (), keys: Collection[Any] = ()
    ) -> None:
        self.real.policy(model, ttl=ttl, ignore=ignore, keys=keys)

    def declare(self, name: object, **what: Any) -> None:
        self.real.declare(name, **what)

    def explain(self, statement: object, *, engine: object = None) -> Explanation:
        return self.real.explain(statement, engine=engine)

    def stats(self) -> Stats:
        return self.real.stats()

    def disabled(self) -> AbstractContextManager[None]:
        return self.real.disabled()

    @staticmethod
    def _done(result: Any) -> None:
        if result is not None:
            await_only(result)


class Node:
    """A process with a cache: one engine that is attached to it, and sessions and connections of that engine."""

    def __init__(self, env: Env, **options: Any) -> None:
        self.env = env
        self.cache = env.new_cache(**options)
        self.target = env.new_engine()
        self.engine = sync_engine(self.target)
        self.cache.attach(self.target)

    def session(self, **options: Any) -> Session:
        """Open a session; a context manager."""
        return self.env.open_session(self.target, **options)

    def connect(self) -> Connection:
        """Open a connection; a context manager."""
        return self.engine.connect()

    @contextmanager
    def transaction(self) -> Generator[Session]:
        """Open a session and commit it."""
        with self.session() as session:
            yield session
            session.commit()

    @contextmanager
    def traffic(self) -> Generator[Traffic]:
        """Record what reaches the database through this node's engine."""
        with watching(self.engine) as traffic:
            yield traffic

    # -------------------------------------------------------------------------------------------------- reading

    def rows(self, statement: Any, parameters: Any = None, **options: Any) -> Rows:
        """Read a statement that asks to be cached in a session of its own."""
        with self.session() as session:
            return read(session, statement, parameters, **options)

    def core_rows(self, statement: Any, parameters: Any = None, **options: Any) -> Rows:
        """Read a statement that asks to be cached on a Connection of its own."""
        with self.connect() as connection:
            return read(connection, statement, parameters, **options)

    def served(self, statement: Any, parameters: Any = None, **options: Any) -> bool:
        """Tell whether a read is served from the cache: the database hears nothing of it."""
        with self.traffic() as traffic:
            self.rows(statement, parameters, **options)
        return not traffic.statements

    def core_served(self, statement: Any, parameters: Any = None, **options: Any) -> bool:
        """The same on a Connection."""
        with self.traffic() as traffic:
            self.core_rows(statement, parameters, **options)
        return not traffic.statements

    def warm(self, statement: Any, parameters: Any = None, **options: Any) -> Rows:
        """Read until it is cached; return the rows."""
        rows = self.rows(statement, parameters, **options)
        assert self.served(statement, parameters, **options), "the statement is not cached at all"
        return rows

    # ------------------------------------------------------------------------------------------------ scenarios

    @contextmanager
    def change_of(self, *statements: Any) -> Generator[None]:
        """Inside the block the results of these cached statements change: afterwards nobody is served the old ones."""
        before = [self.warm(statement) for statement in statements]
        core = [self.core_rows(statement) for statement in statements]
        yield
        for statement, rows, core_rows in zip(statements, before, core, strict=True):
            now, core_now = self.env.truth(statement), self.env.core_truth(statement)
            assert now != rows, "the scenario does not change the result"
            assert (self.rows(statement), self.core_rows(statement)) == (now, core_now)
            assert core_now != core_rows
            assert self.served(statement), "it is not cached again"
            assert self.rows(statement) == now

    @contextmanager
    def no_change_of(self, *statements: Any) -> Generator[None]:
        """Inside the block nothing is committed that changes these results: afterwards nobody is served others."""
        before = [self.warm(statement) for statement in statements]
        yield
        for statement, rows in zip(statements, before, strict=True):
            assert self.env.truth(statement) == rows, "the scenario changes the result"
            assert [self.rows(statement), self.rows(statement)] == [rows, rows]

    @contextmanager
    def unconcerned(self, *statements: Any) -> Generator[None]:
        """Inside the block nothing is written on which these results depend: afterwards they are served as before."""
        before = [self.warm(statement) for statement in statements]
        yield
        for statement, rows in zip(statements, before, strict=True):
            assert self.env.truth(statement) == rows, "the scenario changes the result"
            assert self.served(statement), "the result was made unusable without need"


class Env(Node):
    """A database of its own for one scenario, a cache, and what else a scenario needs."""

    def __init__(self, backend: Backend, url: str, runner: asyncio.Runner) -> None:
        self.backend = backend
        self.url = url
        self.clock = FakeClock()
        self.memory = MemoryStore(clock=self.clock)
        self.store = TrickStore(self.memory)
        self._runner = runner
        self._caches: list[CacheFace] = []
        self._engines: list[Engine] = []
        self._connections: dict[int, int] = {}
        self._others: list[Target] = []
        self.plain = self.new_engine()
        """An engine of which the cache knows nothing."""
        super().__init__(self)

    @property
    def dialect(self) -> str:
        return self.backend.dialect

    @property
    def asynchronous(self) -> bool:
        return self.backend.asynchronous

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call a function where it may use the database."""
        if not self.asynchronous:
            return function(*args, **kwargs)
        return self._runner.run(greenlet_spawn(function, *args, **kwargs))

    def close(self) -> None:
        """Close everything, and complain about what was left open."""
        for cache in self._caches:
            cache.close()
        taken = [engine for engine in self._engines if self._connections[id(engine)]]
        for engine in self._engines:
            engine.dispose()
        self.memory.check()
        assert not taken, "a scenario leaves a connection checked out"

    # ------------------------------------------------------------------------------------------------- new parts

    def new_cache(self, **options: Any) -> CacheFace:
        """Make another cache on the same store, as another process would."""
        options = {"store": AwaitedStore(self.store) if self.backend.awaited_store else self.store, **options}
        face = CacheFace(AsyncCache(**options) if self.asynchronous else Cache(**options))
        self._caches.append(face)
        return face

    def new_engine(self, url: str | None = None, **options: Any) -> Target:
        """Make another engine on the same database, not attached to anything."""
        if self.dialect == "mariadb":
            # Its default, REPEATABLE READ, has scenarios of its own: they say isolation_level=None.
            options = {"isolation_level": "READ COMMITTED", **options}
        target = (create_async_engine if self.asynchronous else create_engine)(url or self.url, **options)
        engine = sync_engine(target)
        self._engines.append(engine)
        self._connections[id(engine)] = 0

        def count(number: int) -> Callable[..., None]:
            def counted(*_: Any) -> None:
                self._connections[id(engine)] += number

            return counted

        if not isinstance(engine.pool, StaticPool):  # which gives one connection to everybody
            event.listen(engine, "checkout", count(1))
            event.listen(engine, "checkin", count(-1))
        if self.dialect == "sqlite":
            event.listen(engine, "connect", _enforce_foreign_keys)
        return target

    def new_node(self, **options: Any) -> Node:
        """Make another process that shares the store."""
        return Node(self, **options)

    def open_session(self, target: Target, **options: Any) -> Session:
        if isinstance(target, AsyncEngine):
            return AsyncSession(target, **options).sync_session
        return Session(target, **options)

    def maker(self, target: Target, **options: Any) -> Maker:
        if isinstance(target, AsyncEngine):
            return async_sessionmaker(target, **options)
        return sessionmaker(target, **options)

    # ---------------------------------------------------------------------------------------- the database's view

    @property
    def checked_out(self) -> int:
        """How many connections of this engine are in use."""
        return self._connections[id(self.engine)]

    @contextmanager
    def elsewhere(self) -> Generator[Session]:
        """A session on a second engine that is attached to the same cache; committed at the end."""
        if not self._others:
            self._others.append(self.new_engine())
            self.cache.attach(self._others[0])
        with self.open_session(self._others[0]) as session:
            yield session
            session.commit()

    @contextmanager
    def behind(self) -> Generator[Session]:
        """A session of which the cache hears nothing, committed at the end: what was cached stays, and is now wrong."""
        with self.open_session(self.plain) as session:
            yield session
            session.commit()

    def truth(self, statement: Any, parameters: Any = None, **options: Any) -> Rows:
        """What a session reads without a cache."""
        with self.open_session(self.plain) as session:
            return read(session, statement, parameters, **options)

    def core_truth(self, statement: Any, parameters: Any = None, **options: Any) -> Rows:
        """What a connection reads without a cache."""
        with sync_engine(self.plain).connect() as connection:
            return read(connection, statement, parameters, **options)


def sync_engine(target: Target) -> Engine:
    return target.sync_engine if isinstance(target, AsyncEngine) else target


def open_with(maker: Maker) -> Session:
    """Open a session of a sessionmaker of either kind."""
    session = maker()
    return session.sync_session if isinstance(session, AsyncSession) else session


@contextmanager
def watching(engine: Engine) -> Generator[Traffic]:
    """Record what reaches the database through an engine."""
    traffic = Traffic()

    def executed(_conn: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        if not (context is not None and context.execution_options.get("rowstamp_hit")):
            traffic.statements.append(statement)

    def checked_out(*_: Any) -> None:
        traffic.checkouts += 1

    event.listen(engine, "after_cursor_execute", executed)
    event.listen(engine, "checkout", checked_out)
    try:
        yield traffic
    finally:
        event.remove(engine, "after_cursor_execute", executed)
        event.remove(engine, "checkout", checked_out)


def read(where: Session | Connection, statement: Any, parameters: Any = None, **options: Any) -> Rows:
    """Read a statement that asks to be cached; return plain values that can be compared."""
    options.setdefault("rowstamp", cached())
    unique = options.pop("unique", False)
    result: Any = cast("Any", where).execute(statement, parameters, execution_options=options)
    return [tuple(plain(value) for value in row) for row in (result.unique() if unique else result)]


def plain(value: object, _above: Sequence[object] = ()) -> object:
    """Return an entity as its class and what is loaded of it; any other value as it is."""
    state: Any = inspect(value, raiseerr=False)
    if state is None or not hasattr(state, "mapper") or isinstance(value, type):
        return value
    if any(value is each for each in _above):
        return type(value).__name__
    above = (*_above, value)
    names = [attribute.key for attribute in state.mapper.attrs if attribute.key in state.dict]
    return type(value).__name__, {name: _attribute(state.dict[name], above) for name in sorted(names)}


def _attribute(value: object, above: Sequence[object]) -> object:
    if isinstance(value, list | set | tuple):
        return [plain(each, above) for each in cast("list[object]", value)]
    return plain(value, above)


def upsert(env: Env, target: Any, values: dict[str, Any], *, by: str, change: dict[str, Any]) -> Any:
    """Make an INSERT that changes the row that is there already, told by a unique column, in the database's own words."""
    if env.dialect == "mariadb":
        return mysql.insert(target).values(values).on_duplicate_key_update(change)
    made: Any = (sqlite if env.dialect == "sqlite" else postgresql).insert(target).values(values)
    return made.on_conflict_do_update(index_elements=[by], set_=change)


def skipping_insert(env: Env, target: Any, values: dict[str, Any]) -> Any:
    """Make an INSERT that does nothing where a row is there already, in the database's own words."""
    if env.dialect == "mariadb":
        return mysql.insert(target).values(values).prefix_with("IGNORE")
    made: Any = (sqlite if env.dialect == "sqlite" else postgresql).insert(target).values(values)
    return made.on_conflict_do_nothing()


def _enforce_foreign_keys(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def everything(model: Any) -> Any:
    """Select all rows of a mapped class in a fixed order."""
    return select(model).order_by(*inspect(model).primary_key)
