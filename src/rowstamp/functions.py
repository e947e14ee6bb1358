"""Functions whose results are cached until a row they depend on changes.

What the function reads while it runs is recorded, so nobody lists dependencies. The key is made of the function's name, a version
the user may raise, the class of ``self``, the databases of the sessions it is given, and its arguments by meaning.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from sqlalchemy.orm import Session

from rowstamp._sqlalchemy import run_in_greenlet
from rowstamp.calls import Call, Calls, Detach, Steps, drive, drive_async
from rowstamp.config import check_tags, check_ttl
from rowstamp.errors import ConfigurationError
from rowstamp.events import Stats
from rowstamp.orm.record import found_in_identity_map, verify_arguments
from rowstamp.quick import MISS, Attempt, QuickAnswers, Seen
from rowstamp.recording import active
from rowstamp.signature import BoundCall, CallSignature
from rowstamp.stampede import NO_TIMEOUTS, Staleness, Timeouts, check_early
from rowstamp.values import pack_result, unpack_result

if TYPE_CHECKING:
    from rowstamp.core import Core
    from rowstamp.orm.attachment import Attachment

__all__ = ["AsyncCachedFunction", "CachedFunction", "QueryOptions"]

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
        early: the factor by which results are likely to be loaded anew before they end; 0 for never.
        stale: what of old results may be served.
        timeouts: how long callers wait for a load.
        refresh_with: makes the session of loads that go on without their caller.
    """

    ttl: float | None = None
    tags: Collection[str] | Callable[..., Collection[str]] = ()
    key_version: int | str = 0
    ignore: Collection[str] = ()
    ttl_empty: float | None = None
    jitter: float = 0.0
    early: float = 0.0
    stale: Staleness = Staleness()  # noqa: RUF009 - frozen
    timeouts: Timeouts = NO_TIMEOUTS
    refresh_with: Callable[[], Any] | None = None

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
        check_early(self.early)
        refresh_with: object = self.refresh_with
        if refresh_with is not None and not callable(refresh_with):
            msg = f"refresh_with={refresh_with!r} makes no sessions: give a sessionmaker, or a function that returns a session"
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
        self._is_plain = not callable(options.tags)
        """Whether the arguments that it is called with are all that its key is made of: it is no method, nor has it tags by call."""
        self._signature = CallSignature(function, ignore=options.ignore, tags=options.tags)
        self._check_sessions()
        self._quick = QuickAnswers(core, calls.quick, attachments, self._unpack, self._counters)

    def _check_sessions(self) -> None:
        options = self._options
        if options.refresh_with is not None:
            self._signature.require_one_session("refresh_with")
            return
        for option, given in (
            ("stale_while_revalidate", options.stale.while_revalidate),
            ("soft_timeout", options.timeouts.soft),
            ("timeout", options.timeouts.hard),
        ):
            if given:
                self._signature.require_no_handles(option)

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
        if not callable(self._options.tags):
            return self._quick.attempt(args, kwargs, None, self._signature.instance)
        tags = self._signature.tags_of_call(args, kwargs)
        return None if tags is None else self._quick.attempt(args, kwargs, tuple(tags), self._signature.instance)

    def _steps(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        attempt: Attempt | None = None,
        seen: Seen | None = None,
        *,
        serve: bool = True,
    ) -> tuple[Steps, Callable[[], Any]]:
        """Return the steps that answer a call, and its load."""
        bound = self._bind(args, kwargs)
        load = self._loader(bound, args, kwargs)
        detach = self._detach(bound, load, lambda: self._in_own_session(args, kwargs))
        return self._calls.answer(self._call(bound, attempt, seen, detach), serve=serve), load

    def _loader(self, bound: BoundCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Return what runs the function."""
        raise NotImplementedError

    def _in_own_session(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Open a session, and give the call that means the same in it and its load."""
        raise NotImplementedError

    def _detach(self, bound: BoundCall, load: Callable[[], Any], in_session: Callable[[], Any]) -> Detach | None:
        """Return what a load opens that goes on without the caller; ``None`` if it could not do without what it was given."""
        if bound.entities:
            return None
        if bound.situation.is_empty:
            return lambda call: nullcontext((call, load))
        if self._options.refresh_with is None or not bound.situation.is_one_session:
            return None
        return lambda _call: in_session()

    def _call(
        self,
        bound: BoundCall,
        attempt: Attempt | None = None,
        seen: Seen | None = None,
        detach: Detach | None = None,
    ) -> Call:
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
            early=options.early,
            stale=options.stale,
            timeouts=options.timeouts,
            detach=detach,
            adopts=situation.is_empty,
            pack=lambda value: pack_result(plan, value, situation.sessions),
            unpack=lambda body: unpack_result(plan, body, situation.sessions, _found if active() is not None else None),
            counters=(self._counters,),
            keep=None
            if attempt is None
            else functools.partial(self._quick.remember, attempt, entry, options.early, None),
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
        quick, seen = self._quick, None
        attempt = quick.attempt(args, kwargs) if self._is_plain else self._attempt(args, kwargs)
        if attempt is not None:
            value, seen = quick.ask(attempt)
            if value is not MISS:
                return value  # type: ignore[no-any-return]
        steps, load = self._steps(args, kwargs, attempt, seen)
        return drive(self._core, steps, load)  # type: ignore[no-any-return]

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function whatever is stored, and store its result."""
        steps, load = self._steps(args, kwargs, serve=False)
        return drive(self._core, steps, load)  # type: ignore[no-any-return]

    def _loader(self, bound: BoundCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        def load() -> Any:
            if active() is not None:
                verify_arguments(bound.entities)
            return self._function(*args, **kwargs)

        return load

    @contextmanager
    def _in_own_session(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[tuple[Call, Any]]:
        with cast("Any", self._options.refresh_with)() as session:
            args, kwargs = self._signature.with_session(args, kwargs, session)
            bound = self._bind(args, kwargs)
            yield self._call(bound), self._loader(bound, args, kwargs)

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
        quick, seen = self._quick, None
        attempt = quick.attempt(args, kwargs) if self._is_plain else self._attempt(args, kwargs)
        if attempt is not None:
            value, seen = await quick.ask_awaited(attempt) if quick.awaited else quick.ask(attempt)
            if value is not MISS:
                return value  # type: ignore[no-any-return]
        steps, load = self._steps(args, kwargs, attempt, seen)
        return await drive_async(self._core, steps, load)  # type: ignore[no-any-return]

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function whatever is stored, and store its result."""
        steps, load = self._steps(args, kwargs, serve=False)
        return await drive_async(self._core, steps, load)  # type: ignore[no-any-return]

    def _loader(self, bound: BoundCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
        async def load() -> Any:
            if active() is not None and bound.entities:
                await run_in_greenlet(verify_arguments, bound.entities)
            return await self._function(*args, **kwargs)

        return load

    @asynccontextmanager
    async def _in_own_session(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[tuple[Call, Any]]:
        async with cast("Any", self._options.refresh_with)() as session:
            args, kwargs = self._signature.with_session(args, kwargs, session)
            bound = self._bind(args, kwargs)
            yield self._call(bound), self._loader(bound, args, kwargs)

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
    bound.__dict__ = {
        **function.__dict__,
        "_is_plain": False,
        "_function": functools.partial(function._function, instance),  # noqa: SLF001
        "_signature": function._signature.bound_to(instance),  # noqa: SLF001
    }
    return bound
