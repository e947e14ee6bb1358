"""``Repository[Model]`` and ``AsyncRepository[Model]``: the everyday reads and writes of one mapped class, cached where they read.

They add no way of invalidating: they are the ORM underneath, whose commits the cache notices. What they do is written once, for a
``Session`` (:class:`_Operations`); the asynchronous class runs the same inside SQLAlchemy's greenlet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args

from sqlalchemy import inspect, select
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapper, Session, sessionmaker
from sqlalchemy.sql import ColumnElement, Select

from rowstamp.errors import ConfigurationError
from rowstamp.operations import Operations, Page
from rowstamp.orm.option import cached

if TYPE_CHECKING:
    from rowstamp.cache import AsyncCache, Cache

__all__ = ["AsyncRepository", "Page", "Repository"]

M = TypeVar("M")
T = TypeVar("T")

Criterion = ColumnElement[bool]
Order = Any


class _Base(Generic[M]):
    """What repositories of both colours share: their class, and how it is read."""

    model: type[M]
    """The mapped class; taken from the base class ``Repository[Model]``."""

    ttl: ClassVar[float | None] = None
    """How long results may be kept, in seconds; ``None`` for the cache's own."""

    tags: ClassVar[Collection[str]] = ()
    """Names by which all results of the repository can be invalidated."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and argument is not Any:
                    cls.model = argument
        model = getattr(cls, "model", None)
        if model is not None:
            _require_mapped(cls, model)

    def statement(self) -> Select[Any]:
        """Return the select that every read of entities starts from: override it to join, filter or load eagerly."""
        return select(self.model)

    def _operations(self, *, use_cache: bool) -> Operations[M]:
        model = getattr(self, "model", None)
        if model is None:
            msg = f"{type(self).__name__} has no model: write class {type(self).__name__}(Repository[Model])"
            raise ConfigurationError(msg)
        option: cached | Literal[False] = cached(ttl=self.ttl, tags=self.tags) if use_cache else False
        overridden = type(self).statement is not _Base.statement
        return Operations(model, option, self.statement() if overridden else None)


def _require_mapped(repository: type[Any], model: Any) -> None:
    try:
        mapper: Any = inspect(model)
    except NoInspectionAvailable:
        mapper = None
    if not isinstance(mapper, Mapper):
        msg = f"{repository.__name__}: {model!r} is not mapped: give a mapped class, as in Repository[Product]"
        raise ConfigurationError(msg)


def _require_attached(cache: Cache | AsyncCache | None, session: Any) -> None:
    """Refuse a session whose reads the cache would not see."""
    bind = session.kw.get("bind") if isinstance(session, sessionmaker | async_sessionmaker) else session.bind
    if cache is not None and bind is not None and not cache.is_attached(bind):
        msg = f"the session's engine {bind!r} is not attached to {cache!r}: call cache.attach(engine) first"
        raise ConfigurationError(msg)


class Repository(_Base[M]):
    """Reads and writes one mapped class; ``class ProductRepository(Repository[Product])``.

    Reads take ``use_cache=False`` to go to the database. With a session, writes are flushed and the caller commits; with a
    sessionmaker each call has a session of its own, is committed, and returns detached entities.

    Args:
        session: a session, or a sessionmaker.
        cache: the cache that is meant, to be told at once if the session's engine is not attached to it.

    Raises:
        ConfigurationError: the class has no model, or the engine is not attached.
    """

    def __init__(self, session: Session | sessionmaker[Any], *, cache: Cache | None = None) -> None:
        _require_attached(cache, session)
        self._operations(use_cache=False)
        self.session = session

    def _run(self, work: Callable[[Session], T]) -> T:
        if isinstance(self.session, Session):
            return work(self.session)
        with self.session() as session:
            return _alone(session, work)

    def get(self, key: Any, *, use_cache: bool = True) -> M | None:
        """Return the entity with a primary key (a tuple if it has several columns), or ``None``."""
        return self._run(lambda session: self._operations(use_cache=use_cache).get(session, key))

    def get_many(self, keys: Iterable[Any], *, use_cache: bool = True) -> dict[Any, M]:
        """Return the entities with these primary keys that exist, by key; one statement for those not in the session."""
        return self._run(lambda session: self._operations(use_cache=use_cache).get_many(session, keys))

    def get_by(self, *, use_cache: bool = True, **values: Any) -> M | None:
        """Return the one entity with these attributes, or ``None``.

        Raises:
            sqlalchemy.exc.MultipleResultsFound: there are several.
        """
        return self._run(lambda session: self._operations(use_cache=use_cache).get_by(session, values))

    def list(
        self,
        *criteria: Criterion,
        order_by: Order = (),
        limit: int | None = None,
        offset: int | None = None,
        use_cache: bool = True,
    ) -> Sequence[M]:
        """Return the entities that meet all criteria; ordered by primary key unless told otherwise."""
        operations = self._operations(use_cache=use_cache)
        return self._run(lambda session: operations.list(session, criteria, order_by, limit, offset))

    def page(
        self,
        *criteria: Criterion,
        order_by: Order = (),
        size: int = 50,
        after: str | None = None,
        number: int | None = None,
        use_cache: bool = True,
    ) -> Page[M]:
        """Return one page: that after a cursor (the previous page's ``next``), or that of a number, counted from 1.

        Args:
            criteria: conditions.
            order_by: columns that are never NULL, ``.desc()`` allowed; the primary key is added, so that the order is total.
            size: most entities on a page.
            after: the cursor. Pages by cursor neither repeat nor skip rows when others are inserted, and cost the same
                however far back they are.
            number: the number of the page; the result then also has the ``total``.
            use_cache: whether the cache may be used.

        Raises:
            ValueError: the cursor is not one of this order, or both ``after`` and ``number`` are given.
        """
        operations = self._operations(use_cache=use_cache)
        return self._run(lambda session: operations.page(session, criteria, order_by, size, after, number))

    def count(self, *criteria: Criterion, use_cache: bool = True) -> int:
        """Return how many entities meet all criteria."""
        return self._run(lambda session: self._operations(use_cache=use_cache).count(session, criteria))

    def exists(self, *criteria: Criterion, use_cache: bool = True) -> bool:
        """Return whether an entity meets all criteria."""
        return self._run(lambda session: self._operations(use_cache=use_cache).exists(session, criteria))

    def add(self, entity: M) -> M:
        """Insert an entity; its generated key is there when this returns."""
        return self.add_many([entity])[0]

    def add_many(self, entities: Iterable[M]) -> Sequence[M]:
        """Insert several entities."""
        return self._run(lambda session: self._operations(use_cache=False).add_many(session, entities))

    def update(self, target: Any, **values: Any) -> M | None:
        """Change attributes of an entity, given itself or by its primary key; ``None`` if there is none of that key."""
        return self._run(lambda session: self._operations(use_cache=False).update(session, target, values))

    def upsert(self, values: Mapping[str, Any], *, on: Collection[str] = ()) -> M:
        """Insert a row, or update the one that has the same values in the attributes ``on`` (the primary key by default).

        Raises:
            ConfigurationError: the database has no statement for that.
        """
        return self._run(lambda session: self._operations(use_cache=False).upsert(session, values, on))

    def delete(self, target: Any) -> bool:
        """Delete an entity, given itself or by its primary key; return whether it was there."""
        return self._run(lambda session: self._operations(use_cache=False).delete(session, target))


class AsyncRepository(_Base[M]):
    """The same for ``AsyncSession`` and ``async_sessionmaker``; see :class:`Repository`."""

    def __init__(self, session: AsyncSession | async_sessionmaker[Any], *, cache: AsyncCache | None = None) -> None:
        _require_attached(cache, session)
        self._operations(use_cache=False)
        self.session = session

    async def _run(self, work: Callable[[Session], T]) -> T:
        if isinstance(self.session, AsyncSession):
            return await self.session.run_sync(work)
        async with self.session() as session:
            found: T = await session.run_sync(_alone, work)
            return found

    async def get(self, key: Any, *, use_cache: bool = True) -> M | None:
        """See :meth:`Repository.get`."""
        return await self._run(lambda session: self._operations(use_cache=use_cache).get(session, key))

    async def get_many(self, keys: Iterable[Any], *, use_cache: bool = True) -> dict[Any, M]:
        """See :meth:`Repository.get_many`."""
        return await self._run(lambda session: self._operations(use_cache=use_cache).get_many(session, keys))

    async def get_by(self, *, use_cache: bool = True, **values: Any) -> M | None:
        """See :meth:`Repository.get_by`."""
        return await self._run(lambda session: self._operations(use_cache=use_cache).get_by(session, values))

    async def list(
        self,
        *criteria: Criterion,
        order_by: Order = (),
        limit: int | None = None,
        offset: int | None = None,
        use_cache: bool = True,
    ) -> Sequence[M]:
        """See :meth:`Repository.list`."""
        operations = self._operations(use_cache=use_cache)
        return await self._run(lambda session: operations.list(session, criteria, order_by, limit, offset))

    async def page(
        self,
        *criteria: Criterion,
        order_by: Order = (),
        size: int = 50,
        after: str | None = None,
        number: int | None = None,
        use_cache: bool = True,
    ) -> Page[M]:
        """See :meth:`Repository.page`."""
        operations = self._operations(use_cache=use_cache)
        return await self._run(lambda session: operations.page(session, criteria, order_by, size, after, number))

    async def count(self, *criteria: Criterion, use_cache: bool = True) -> int:
        """See :meth:`Repository.count`."""
        return await self._run(lambda session: self._operations(use_cache=use_cache).count(session, criteria))

    async def exists(self, *criteria: Criterion, use_cache: bool = True) -> bool:
        """See :meth:`Repository.exists`."""
        return await self._run(lambda session: self._operations(use_cache=use_cache).exists(session, criteria))

    async def add(self, entity: M) -> M:
        """See :meth:`Repository.add`."""
        return (await self.add_many([entity]))[0]

    async def add_many(self, entities: Iterable[M]) -> Sequence[M]:
        """See :meth:`Repository.add_many`."""
        return await self._run(lambda session: self._operations(use_cache=False).add_many(session, entities))

    async def update(self, target: Any, **values: Any) -> M | None:
        """See :meth:`Repository.update`."""
        return await self._run(lambda session: self._operations(use_cache=False).update(session, target, values))

    async def upsert(self, values: Mapping[str, Any], *, on: Collection[str] = ()) -> M:
        """See :meth:`Repository.upsert`."""
        return await self._run(lambda session: self._operations(use_cache=False).upsert(session, values, on))

    async def delete(self, target: Any) -> bool:
        """See :meth:`Repository.delete`."""
        return await self._run(lambda session: self._operations(use_cache=False).delete(session, target))


def _alone(session: Session, work: Callable[[Session], T]) -> T:
    """Do the work in a session of its own. What is loaded stays loaded: the entities leave before the commit expires them."""
    found = work(session)
    session.flush()
    session.expunge_all()
    session.commit()
    return found
