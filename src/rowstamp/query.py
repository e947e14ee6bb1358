"""``@cache.query``: functions whose results are cached until a row they depend on changes.

What the function reads while it runs is recorded, so nobody lists dependencies. The key is made of the function's name, a version
the user may raise, the class of ``self``, the databases of the sessions it is given, and its arguments by meaning.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from sqlalchemy.orm import Session

from rowstamp._sqlalchemy import run_in_greenlet
from rowstamp.calls import Call, Calls, Seen, drive, drive_async
from rowstamp.config import check_tags, check_ttl
from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.events import Stats
from rowstamp.orm.record import found_in_identity_map, verify_arguments
from rowstamp.quick import MISS, Attempt, QuickAnswers
from rowstamp.recording import active
from rowstamp.signature import BoundCall, CallSignature
from rowstamp.stampede import Staleness
from rowstamp.values import pack_result, unpack_result

if TYPE_CHECKING:
    from rowstamp.core import Core
    from rowstamp.orm.attachment import Attachment

__all__ = [
    "AsyncCachedFunction",
    "AsyncQueries",
    "AsyncQueryDecorator",
    "CachedFunction",
    "Queries",
    "QueryDecorator",
    "QueryOptions",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """How the results of a function are cached.

    Attributes:
        ttl: how long they may live, in seconds; ``None`` for the cache's own.
        tags: names by which they can be invalidated, or a function of the arguments it names that returns some.
        key_version: part of the key: raise it when the code means something else.
        ignore: parameters that are not part of the key.
        ttl_empty: how long ``None`` and empty results may live, in seconds; ``None`` makes no difference.
        jitter: up to which share of it a time to live is shortened at random, 0 to 1.
        stale: what of old results may be served.
    """

    ttl: float | None = None
    tags: Collection[str] | Callable[..., Collection[str]] = ()
    key_version: int | str = 0
    ignore: Collection[str] = ()
    ttl_empty: float | None = None
    jitter: float = 0.0
    stale: Staleness = Staleness()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.ttl is not None:
            check_ttl(self.ttl)
        if self.ttl_empty is not None:
            check_ttl(self.ttl_empty, "ttl_empty")
        if not callable(self.tags):
            check_tags(self.tags)
        if not 0 <= self.jitter < 1:
            msg = f"jitter={self.jitter!r} is not a share: give a number from 0 to just below 1, such as jitter=0.1"
            raise ConfigurationError(msg)
        if isinstance(self.ignore, str):
            msg = f"ignore={self.ignore!r} is not a collection of names: write ignore=[{self.ignore!r}]"
            raise ConfigurationError(msg)


class _Cached(Generic[P]):
    """What cached functions of both colours share."""

    def __init__(
        self,
        function: Callable[..., Any],
        options: QueryOptions,
        core: Core,
        calls: Calls,
        attachments: list[Attachment],
        *,
        owner: object = None,
    ) -> None:
        functools.update_wrapper(cast("Any", self), function)
        self._function = function
        self._options = options
        self._core = core
        self._calls = calls
        self._attachments = attachments
        self._owner = owner
        self._counters = core.counters.member()
        self._signature = CallSignature(function, ignore=options.ignore, tags=options.tags)
        if options.stale.while_revalidate:
            self._signature.require_no_handles("stale_while_revalidate")
        self._quick = QuickAnswers(core, calls.quick, attachments, self._unpack, self._counters)

    def _unpack(self, body: bytes, sessions: Sequence[Session]) -> Any:
        return unpack_result(self._signature.plan, body, sessions)

    def __repr__(self) -> str:
        return f"<cached {self._signature.name}>"

    def stats(self) -> Stats:
        """Return what the cache has done for this function; a frozen snapshot."""
        return self._counters.snapshot()

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BoundCall:
        self._core.require_open()
        return self._signature.bind(self._core, self._attachments, args, kwargs)

    def _attempt(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attempt | None:
        """Return how a call may be answered the short way."""
        if self._options.stale.longest:
            return None
        tags = self._signature.tags_of_call(args, kwargs)
        return None if tags is None else self._quick.attempt(args, kwargs, tags)

    def _call(self, bound: BoundCall, attempt: Attempt | None = None, seen: Seen | None = None) -> Call:
        options, core = self._options, self._core
        plan, situation = self._signature.plan, bound.situation
        entry = bound.entry(options.key_version)
        return Call(
            entry=entry,
            entry_now=lambda: bound.entry(options.key_version),
            required=bound.required(),
            situation=situation,
            ttl=options.ttl or core.config.ttl,
            ttl_empty=options.ttl_empty,
            jitter=options.jitter,
            stale=options.stale,
            pack=lambda value: pack_result(plan, value, situation.sessions),
            unpack=lambda body: unpack_result(plan, body, situation.sessions, _found if active() is not None else None),
            counters=(self._counters,),
            keep=None if attempt is None else functools.partial(self._quick.remember, attempt, entry),
            seen=seen,
        )

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = self._signature.bind(self._core, self._attachments, args, kwargs, partial=True)
        return bound.entry(self._options.key_version).hex()

    def _own_effects(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = self._signature.bind(self._core, self._attachments, args, kwargs, partial=True)
        self._core.require_open()
        return self._core.invalidation({bound.own_dependency()})

    def _all_effects(self) -> Any:
        self._core.require_open()
        return self._core.invalidation({self._signature.dependency})


class CachedFunction(_Cached[P], Generic[P, R]):
    """A function whose results are cached; called like the function itself. Made by ``@cache.query``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, from the cache if it is there and valid.

        Raises:
            UnsupportedArgument: an argument cannot be part of a key.
        """
        attempt, seen = self._attempt(args, kwargs), None
        if attempt is not None and (call := attempt[1]) is not None:
            if self._core.follows and (value := self._quick.answer_at_once(call, attempt[2])) is not MISS:
                return value  # type: ignore[no-any-return]
            try:
                reply: Any = self._core.store.read(call.entry, call.stamps)
                value = self._quick.answer(call, reply, attempt[2])
            except StoreError as exc:
                reply, value = exc, MISS
            if value is not MISS:
                return value  # type: ignore[no-any-return]
            seen = None if call.entry is None else Seen(call.stamps, reply)
        return self._answer(args, kwargs, serve=True, attempt=attempt, seen=seen)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function whatever is stored, and store its result."""
        return self._answer(args, kwargs, serve=False)

    def _answer(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        serve: bool,
        attempt: Attempt | None = None,
        seen: Seen | None = None,
    ) -> R:
        bound = self._bind(args, kwargs)

        def load() -> Any:
            if active() is not None:
                verify_arguments(bound.entities)
            return self._function(*args, **kwargs)

        return drive(self._core, self._calls.answer(self._call(bound, attempt, seen), serve=serve), load)  # type: ignore[no-any-return]

    def uncached(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function as if it were not decorated."""
        return self._function(*args, **kwargs)  # type: ignore[no-any-return]

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Make the result of one call unusable, for all sessions; loads in flight included.

        Args:
            args: the call's arguments; sessions, ``self`` and ignored parameters may be left out.
            kwargs: the same by name.
        """
        self._core.run_blocking(self._own_effects(args, kwargs))

    def invalidate_all(self) -> None:
        """Make the results of all calls unusable, whatever their arguments."""
        self._core.run_blocking(self._all_effects())

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call's entry in hexadecimal; sessions, ``self`` and ignored parameters may be left out."""
        return self._key(args, kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type[Any]) -> CachedFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return _bound(self, instance)


class AsyncCachedFunction(_Cached[P], Generic[P, R]):
    """A coroutine function whose results are cached; see :class:`CachedFunction`."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, from the cache if it is there and valid."""
        attempt, seen = self._attempt(args, kwargs), None
        if attempt is not None and (call := attempt[1]) is not None:
            if self._core.follows and (value := self._quick.answer_at_once(call, attempt[2])) is not MISS:
                return value  # type: ignore[no-any-return]
            try:
                reply: Any = self._core.store.read(call.entry, call.stamps)
                if hasattr(reply, "__await__"):
                    reply = await reply
                value = self._quick.answer(call, reply, attempt[2])
            except StoreError as exc:
                reply, value = exc, MISS
            if value is not MISS:
                return value  # type: ignore[no-any-return]
            seen = None if call.entry is None else Seen(call.stamps, reply)
        return await self._answer(args, kwargs, serve=True, attempt=attempt, seen=seen)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function whatever is stored, and store its result."""
        return await self._answer(args, kwargs, serve=False)

    async def _answer(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        serve: bool,
        attempt: Attempt | None = None,
        seen: Seen | None = None,
    ) -> R:
        bound = self._bind(args, kwargs)

        async def load() -> Any:
            if active() is not None and bound.entities:
                await run_in_greenlet(verify_arguments, bound.entities)
            return await self._function(*args, **kwargs)

        return await drive_async(self._core, self._calls.answer(self._call(bound, attempt, seen), serve=serve), load)  # type: ignore[no-any-return]

    async def uncached(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function as if it were not decorated."""
        return await self._function(*args, **kwargs)  # type: ignore[no-any-return]

    async def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Make the result of one call unusable; see :meth:`CachedFunction.invalidate`."""
        await self._core.run_async(self._own_effects(args, kwargs))

    async def invalidate_all(self) -> None:
        """Make the results of all calls unusable, whatever their arguments."""
        await self._core.run_async(self._all_effects())

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call's entry in hexadecimal; sessions, ``self`` and ignored parameters may be left out."""
        return self._key(args, kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(
        self: AsyncCachedFunction[Concatenate[S, Q], R], instance: S, owner: type[Any]
    ) -> AsyncCachedFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return _bound(self, instance)


def _found(session: Session, entity: object) -> None:
    """Report an entity of a hit that is given out as the session has it, to the calls that the hit becomes part of."""
    found_in_identity_map(session, entity, sql_allowed=False)


def _bound(function: Any, instance: Any) -> Any:
    """Return a cached function with its first argument filled in, as a method of an instance is."""
    if instance is None:
        return function
    bound: Any = object.__new__(cast("Any", type(function)))
    vars(bound).update(vars(function))
    bound._function = functools.partial(function._function, instance)  # noqa: SLF001
    bound._signature = function._signature.bound_to(instance)  # noqa: SLF001
    return bound


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
                time to live, and if a write has ended it, for so many seconds after it was loaded. For functions that are given no
                session.
            stale_if_error: the same if the load fails because the database is not there.

        Raises:
            ConfigurationError: an option is wrong, or (when a function is decorated) the function is of the wrong colour, a
                generator, or annotated with a type whose values cannot be kept.
        """
        self._core.require_open()
        options = QueryOptions(
            ttl=ttl,
            tags=tags,
            key_version=key_version,
            ignore=ignore,
            ttl_empty=ttl_empty,
            jitter=jitter,
            stale=Staleness(while_revalidate=stale_while_revalidate, if_error=stale_if_error),
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
    ) -> AsyncQueryDecorator:
        """Return a decorator that caches the results of a coroutine function. See :meth:`Cache.query`."""
        self._core.require_open()
        options = QueryOptions(
            ttl=ttl,
            tags=tags,
            key_version=key_version,
            ignore=ignore,
            ttl_empty=ttl_empty,
            jitter=jitter,
            stale=Staleness(while_revalidate=stale_while_revalidate, if_error=stale_if_error),
        )
        return AsyncQueryDecorator(options, self._core, self._calls, self._attachments)
