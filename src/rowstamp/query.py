"""``@cache.query``: the decorator that makes cached functions of functions.

What the function reads while it runs is recorded, so nobody lists dependencies. The key is made of the function's name, a version
the user may raise, the class of ``self``, the databases of the sessions it is given, and its arguments by meaning.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from rowstamp.calls import Calls
from rowstamp.errors import ConfigurationError
from rowstamp.functions import AsyncCachedFunction, CachedFunction, QueryOptions
from rowstamp.stampede import Staleness, Timeouts

if TYPE_CHECKING:
    from rowstamp.core import Core
    from rowstamp.orm.attachment import Attachment

__all__ = ["AsyncQueries", "AsyncQueryDecorator", "Queries", "QueryDecorator"]

P = ParamSpec("P")
R = TypeVar("R")


class _Decorator:
    """What ``cache.query(...)`` returns: it makes a cached function of a function."""

    asynchronous = False

    def __init__(self, options: QueryOptions, core: Core, calls: Calls, attachments: list[Attachment]) -> None:
        self._options = options
        self._core = core
        self._calls = calls
        self._attachments = attachments

    def _decorate(self, function: Any) -> Any:
        wrapper: Any = next((each for each in (classmethod, staticmethod) if type(function) is each), None)
        if wrapper is not None:
            return wrapper(self._decorate(function.__func__))
        self._check(function)
        made: Any = AsyncCachedFunction if self.asynchronous else CachedFunction
        return made(function, self._options, self._core, self._calls, self._attachments)

    def _check(self, function: Any) -> None:
        name = getattr(function, "__qualname__", repr(function))
        if not callable(function) or isinstance(function, type):
            raise ConfigurationError(
                f"@cache.query on {name}: it decorates functions and methods, with parentheses: @cache.query()"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"@cache.query on {name}: a generator is read once and cannot be kept: return a list"
            )
        if inspect.iscoroutinefunction(function) is not self.asynchronous:
            kind, other = ("a plain function", "Cache") if self.asynchronous else ("a coroutine function", "AsyncCache")
            raise ConfigurationError(f"@cache.query on {name}: it is {kind}, which needs {other}")


class QueryDecorator(_Decorator):
    """Makes cached functions of functions."""

    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]:
        """Return the function with a cache in front of it."""
        return self._decorate(function)  # type: ignore[no-any-return]


class AsyncQueryDecorator(_Decorator):
    """Makes cached coroutine functions of coroutine functions."""

    asynchronous = True

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncCachedFunction[P, R]:
        """Return the coroutine function with a cache in front of it."""
        return self._decorate(function)  # type: ignore[no-any-return]


class _Queries:
    """What the methods of both colours need."""

    _core: Core
    _calls: Calls
    _attachments: list[Attachment]


class Queries(_Queries):
    """The method of :class:`~rowstamp.Cache` that makes cached functions."""

    def query(
        self,
        *,
        ttl: float | None = None,
        tags: Collection[str] | Callable[..., Collection[str]] = (),
        key_version: int | str = 0,
        ignore: Collection[str] = (),
        ttl_empty: float | None = None,
        jitter: float = 0.0,
        stale_while_revalidate: float = 0,
        stale_if_error: float = 0,
        outages: Collection[type[Exception]] = (),
        early: float = 0,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        refresh_with: Callable[[], AbstractContextManager[Session]] | None = None,
    ) -> QueryDecorator:
        """Return a decorator that caches the results of a function until a row they depend on changes.

        What the function reads on attached engines while it runs is recorded, also through other cached functions. Sessions,
        connections, engines and ``self`` are no part of the key; arguments are, by what they mean. The return annotation says
        how results are kept. A call that writes, meets uncommitted writes, or reads what cannot be analysed is not stored.

        Args:
            ttl: how long a result may live, in seconds; by default the cache's own.
            tags: names by which results can be invalidated, or a function of some of the parameters that returns such names.
            key_version: part of the key: change it when the code comes to mean something else.
            ignore: names of parameters that are not part of the key.
            ttl_empty: how long ``None`` and empty results may live, in seconds; by default like others.
            jitter: up to which share of it a time to live is shortened at random.
            stale_while_revalidate: an old result is served, and a new one loaded in the background, for so many seconds after its
                time to live, and if a write has ended it, for so many seconds after it was loaded.
            stale_if_error: the same if the load fails because the database is not there: its connection is lost, refused, or not to
                be had in time. Any other error is raised.
            outages: classes of exceptions that count as that besides, such as those of a service that the function asks.
            early: loads a result anew before its time to live is over, the likelier the nearer that is and the longer it took to load;
                with 1 about its load time before the end. Of many callers one loads, the others are hits.
            soft_timeout: after so many seconds of loading an old result is served as if the load had failed (see
                ``stale_if_error``), and the load goes on.
            timeout: after so many seconds of loading :class:`~rowstamp.LoadTimeout` is raised, and the load goes on.
            refresh_with: a sessionmaker, or a function that returns a session to be used in ``with``: what is loaded in the background uses
                such a session in place of the one the function is given, since the caller's ends with the caller. Needed for
                ``stale_while_revalidate``, ``soft_timeout`` and ``timeout`` of a function that is given a session. A call
                that has to see what its own transaction has written, is part of another cached call, or is given ORM entities loads
                with what it was given, and waits for that.

        Raises:
            ConfigurationError: an option is wrong, or (when a function is decorated) the function is of the wrong colour, a
                generator, annotated with a type whose values cannot be kept, or given a session where ``refresh_with`` is lacking.
        """
        self._core.require_open()
        stale = Staleness(while_revalidate=stale_while_revalidate, if_error=stale_if_error, errors=outages)
        options = QueryOptions(
            ttl=ttl,
            tags=tags,
            key_version=key_version,
            ignore=ignore,
            ttl_empty=ttl_empty,
            jitter=jitter,
            early=early,
            stale=stale,
            timeouts=Timeouts.of(soft_timeout, timeout, stale),
            refresh_with=refresh_with,
        )
        return QueryDecorator(options, self._core, self._calls, self._attachments)


class AsyncQueries(_Queries):
    """The method of :class:`~rowstamp.AsyncCache` that makes cached functions."""

    def query(
        self,
        *,
        ttl: float | None = None,
        tags: Collection[str] | Callable[..., Collection[str]] = (),
        key_version: int | str = 0,
        ignore: Collection[str] = (),
        ttl_empty: float | None = None,
        jitter: float = 0.0,
        stale_while_revalidate: float = 0,
        stale_if_error: float = 0,
        outages: Collection[type[Exception]] = (),
        early: float = 0,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        refresh_with: Callable[[], AbstractAsyncContextManager[AsyncSession]] | None = None,
    ) -> AsyncQueryDecorator:
        """Return a decorator that caches the results of a coroutine function. See :meth:`Cache.query`."""
        self._core.require_open()
        stale = Staleness(while_revalidate=stale_while_revalidate, if_error=stale_if_error, errors=outages)
        options = QueryOptions(
            ttl=ttl,
            tags=tags,
            key_version=key_version,
            ignore=ignore,
            ttl_empty=ttl_empty,
            jitter=jitter,
            early=early,
            stale=stale,
            timeouts=Timeouts.of(soft_timeout, timeout, stale),
            refresh_with=refresh_with,
        )
        return AsyncQueryDecorator(options, self._core, self._calls, self._attachments)
