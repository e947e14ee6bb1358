"""Values under keys of the user's own: for what comes from elsewhere, or is worked out from several things.

They are entries like others. Each stands on a stamp of its own key, so that ``set`` and ``delete`` win against loads in flight: what
such a load stores afterwards carries the old token, and nobody is served it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from rowstamp.calls import Calls, Steps, drive, drive_async
from rowstamp.config import check_tags
from rowstamp.errors import CorruptEntry
from rowstamp.keyed import (
    MISSING,
    Keyed,
    Waits,
    attempt_of,
    delete_values,
    get_value,
    get_values,
    returned_type,
    set_values,
    touch_value,
)
from rowstamp.keyed_many import ManyCall
from rowstamp.quick import MISS, Attempt, QuickAnswers, Seen
from rowstamp.remembered import QuickHits

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["AsyncKeyValues", "KeyValues", "value_answers"]

T = TypeVar("T")
D = TypeVar("D")
K = TypeVar("K")


class _Asked(NamedTuple):
    """A value that is asked for, and how it is loaded."""

    key: object
    load: Callable[[], Any]
    as_: Any
    tags: Collection[str]
    ttl: float | None
    ttl_empty: float | None
    jitter: float
    stale_while_revalidate: float
    stale_if_error: float
    early: float
    soft_timeout: float | None
    timeout: float | None

    def attempt(self, quick: QuickAnswers) -> Attempt | None:
        """Return how it may be answered the short way."""
        key, load, as_, tags, *numbers = self
        return attempt_of(quick, key, load, as_, (check_tags(tags) if tags else (), *numbers))


def value_answers(core: Core, hits: QuickHits) -> QuickAnswers:
    """Return the short way to the values of a cache."""

    def unpack(body: bytes, _sessions: Sequence[Any]) -> Any:
        raise CorruptEntry(f"of {len(body)} bytes nobody has said what they are")  # each is remembered with its own way

    return QuickAnswers(core, hits, (), unpack, core.counters)


class _Base:
    """What the methods of both colours need."""

    _core: Core
    _calls: Calls
    _quick: QuickAnswers

    def _answer(self, asked: _Asked, attempt: Attempt | None, seen: Seen | None) -> Steps:
        self._core.require_open()
        call = Keyed(self._core, asked.key).call(
            ttl=asked.ttl,
            tags=asked.tags,
            ttl_empty=asked.ttl_empty,
            jitter=asked.jitter,
            as_=returned_type(asked.load, asked.as_),
            waits=Waits.of(
                asked.stale_while_revalidate,
                asked.stale_if_error,
                asked.early,
                asked.soft_timeout,
                asked.timeout,
            ),
            load=asked.load,
            quick=self._quick,
            attempt=attempt,
            seen=seen,
        )
        return self._calls.answer(call)


class KeyValues(_Base):
    """The methods of :class:`~rowstamp.Cache` for values under keys of the user's own."""

    def get_or_load(
        self,
        key: object,
        load: Callable[[], T],
        *,
        ttl: float | None = None,
        tags: Collection[str] = (),
        ttl_empty: float | None = None,
        jitter: float = 0.0,
        stale_while_revalidate: float = 0,
        stale_if_error: float = 0,
        early: float = 0,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        as_: Any = Any,
    ) -> T:
        """Return the value under a key, or load it and keep it.

        What ``load`` reads on attached engines is recorded: the value lasts until a row it depends on changes.

        Args:
            key: a string, or a tuple of plain values.
            load: returns the value; called if there is none. Callers who miss together wait for one load.
            ttl: how long the value may live, in seconds; by default the cache's own.
            tags: names by which the value can be invalidated.
            ttl_empty: how long ``None`` and empty values may live, in seconds; by default like others.
            jitter: up to which share of it a time to live is shortened at random.
            stale_while_revalidate: an old value is served, and a new one loaded in the background, for so many seconds after its time
                to live, and if it was invalidated, for so many seconds after it was loaded.
            stale_if_error: the same if the load raises any exception.
            early: loads a value anew before its time to live is over, the likelier the nearer that is and the longer it took to load;
                with 1 about its load time before the end. It is done in the background.
            soft_timeout: after so many seconds of loading an old value is served as if the load had failed (see
                ``stale_if_error``), and the load goes on in the background.
            timeout: after so many seconds of loading :class:`~rowstamp.LoadTimeout` is raised, and the load goes on.
            as_: the type of the value; by default what ``load`` is annotated to return.

        Raises:
            UnsupportedArgument: the key is something else.
            LoadTimeout: the load takes longer than ``timeout``.
        """
        asked = _Asked(
            key,
            load,
            as_,
            tags,
            ttl,
            ttl_empty,
            jitter,
            stale_while_revalidate,
            stale_if_error,
            early,
            soft_timeout,
            timeout,
        )
        attempt, seen = asked.attempt(self._quick), None
        if attempt is not None:
            value, seen = self._quick.ask(attempt)
            if value is not MISS:
                return value  # type: ignore[no-any-return]
        return drive(self._core, self._answer(asked, attempt, seen), load)  # type: ignore[no-any-return]

    def get_or_load_many(
        self,
        keys: Iterable[K],
        load: Callable[[list[K]], Mapping[K, T]],
        *,
        ttl: float | None = None,
        tags: Collection[str] = (),
        ttl_empty: float | None = None,
        jitter: float = 0.0,
        as_: Any = Any,
    ) -> dict[K, T]:
        """Return the values under several keys, of which those that are not there are loaded together and kept.

        One round trip where all are there, and a handful where some are loaded, however many. What ``load`` reads on
        attached engines is recorded, and ends all that it has returned.

        Args:
            keys: each a string, or a tuple of plain values.
            load: called with the keys that have no value, in their order; returns the values by key. Keys that it leaves out
                are kept as having none. Callers in this process that miss the same keys wait for each other's loads, and so do those in
                other processes that miss just the same.
            ttl: how long the values may live, in seconds; by default the cache's own.
            tags: names by which they can be invalidated.
            ttl_empty: how long ``None`` and empty values, and keys without a value, may live, in seconds; by default like others.
            jitter: up to which share of it a time to live is shortened at random.
            as_: the type of each value, if it is one that stored bytes do not tell: a dataclass, a model.

        Raises:
            UnsupportedArgument: a key is something else.
        """
        call = ManyCall.of(self._core, self._calls, keys, ttl, tags, ttl_empty, jitter, as_)
        return drive(self._core, call.answer(), lambda: load(call.asked))  # type: ignore[no-any-return]

    @overload
    def get(self, key: object, *, as_: type[T]) -> T | None: ...
    @overload
    def get(self, key: object, default: D, *, as_: type[T]) -> T | D: ...
    @overload
    def get(self, key: object, default: Any = None, *, as_: Any = Any) -> Any: ...
    def get(self, key: object, default: Any = None, *, as_: Any = Any) -> Any:
        """Return the value under a key, or ``default``.

        Args:
            key: a string, or a tuple of plain values.
            default: what to return if there is no value, or if the store cannot be used.
            as_: the type of the value, if it is one that stored bytes do not tell: a dataclass, a model.
        """
        self._core.require_open()
        value = self._core.run_blocking(get_value(self._core, self._calls.lookups, key, as_))
        return default if value is MISSING else value

    def get_many(self, keys: Iterable[Any], *, as_: Any = Any) -> dict[Any, Any]:
        """Return the values of those keys that have one; one round trip for all."""
        self._core.require_open()
        return self._core.run_blocking(get_values(self._core, self._calls.lookups, keys, as_))

    def set(
        self, key: object, value: object, *, ttl: float | None = None, tags: Collection[str] = (), as_: Any = Any
    ) -> None:
        """Keep a value under a key; loads of this key in flight are not stored.

        Args:
            key: a string, or a tuple of plain values.
            value: the value.
            ttl: how long it may live, in seconds; by default the cache's own.
            tags: names by which it can be invalidated.
            as_: its type, if it is one that stored bytes do not tell: a dataclass, a model.

        Raises:
            UncacheableValue: the value cannot be kept exactly.
            StoreError: the store could not be reached; what it holds under the key may be what it held before.
        """
        self.set_many({key: value}, ttl=ttl, tags=tags, as_=as_)

    def set_many(
        self, values: Mapping[Any, Any], *, ttl: float | None = None, tags: Collection[str] = (), as_: Any = Any
    ) -> None:
        """Keep several values, in one round trip. See :meth:`set`."""
        self._core.require_open()
        self._core.run_blocking(set_values(self._core, self._calls.lookups, values, ttl, tags, as_))

    def delete(self, key: object) -> None:
        """Forget the value under a key; loads in flight are not stored."""
        self.delete_many([key])

    def delete_many(self, keys: Iterable[Any]) -> None:
        """Forget the values under several keys, in one step."""
        self._core.require_open()
        self._core.run_blocking(delete_values(self._core, keys))

    def touch(self, key: object, ttl: float) -> bool:
        """Give the value under a key another time to live, in seconds from now; return whether there is one."""
        self._core.require_open()
        return self._core.run_blocking(touch_value(self._core, key, ttl))


class AsyncKeyValues(_Base):
    """The methods of :class:`~rowstamp.AsyncCache` for values under keys of the user's own; see :class:`KeyValues`."""

    async def get_or_load(
        self,
        key: object,
        load: Callable[[], Awaitable[T]],
        *,
        ttl: float | None = None,
        tags: Collection[str] = (),
        ttl_empty: float | None = None,
        jitter: float = 0.0,
        stale_while_revalidate: float = 0,
        stale_if_error: float = 0,
        early: float = 0,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        as_: Any = Any,
    ) -> T:
        """Return the value under a key, or load it and keep it. See :meth:`KeyValues.get_or_load`."""
        asked = _Asked(
            key,
            load,
            as_,
            tags,
            ttl,
            ttl_empty,
            jitter,
            stale_while_revalidate,
            stale_if_error,
            early,
            soft_timeout,
            timeout,
        )
        attempt, seen = asked.attempt(self._quick), None
        if attempt is not None:
            quick = self._quick
            value, seen = await quick.ask_awaited(attempt) if quick.awaited else quick.ask(attempt)
            if value is not MISS:
                return value  # type: ignore[no-any-return]
        return await drive_async(self._core, self._answer(asked, attempt, seen), load)  # type: ignore[no-any-return]

    async def get_or_load_many(
        self,
        keys: Iterable[K],
        load: Callable[[list[K]], Awaitable[Mapping[K, T]]],
        *,
        ttl: float | None = None,
        tags: Collection[str] = (),
        ttl_empty: float | None = None,
        jitter: float = 0.0,
        as_: Any = Any,
    ) -> dict[K, T]:
        """Return the values under several keys, loading those that are not there. See :meth:`KeyValues.get_or_load_many`."""
        call = ManyCall.of(self._core, self._calls, keys, ttl, tags, ttl_empty, jitter, as_)
        return await drive_async(self._core, call.answer(), lambda: load(call.asked))  # type: ignore[no-any-return]

    @overload
    async def get(self, key: object, *, as_: type[T]) -> T | None: ...
    @overload
    async def get(self, key: object, default: D, *, as_: type[T]) -> T | D: ...
    @overload
    async def get(self, key: object, default: Any = None, *, as_: Any = Any) -> Any: ...
    async def get(self, key: object, default: Any = None, *, as_: Any = Any) -> Any:
        """Return the value under a key, or ``default``. See :meth:`KeyValues.get`."""
        self._core.require_open()
        value = await self._core.run_async(get_value(self._core, self._calls.lookups, key, as_))
        return default if value is MISSING else value

    async def get_many(self, keys: Iterable[Any], *, as_: Any = Any) -> dict[Any, Any]:
        """Return the values of those keys that have one; one round trip for all."""
        self._core.require_open()
        return await self._core.run_async(get_values(self._core, self._calls.lookups, keys, as_))

    async def set(
        self, key: object, value: object, *, ttl: float | None = None, tags: Collection[str] = (), as_: Any = Any
    ) -> None:
        """Keep a value under a key. See :meth:`KeyValues.set`."""
        await self.set_many({key: value}, ttl=ttl, tags=tags, as_=as_)

    async def set_many(
        self, values: Mapping[Any, Any], *, ttl: float | None = None, tags: Collection[str] = (), as_: Any = Any
    ) -> None:
        """Keep several values. See :meth:`KeyValues.set`."""
        self._core.require_open()
        await self._core.run_async(set_values(self._core, self._calls.lookups, values, ttl, tags, as_))

    async def delete(self, key: object) -> None:
        """Forget the value under a key; loads in flight are not stored."""
        await self.delete_many([key])

    async def delete_many(self, keys: Iterable[Any]) -> None:
        """Forget the values under several keys, in one step."""
        self._core.require_open()
        await self._core.run_async(delete_values(self._core, keys))

    async def touch(self, key: object, ttl: float) -> bool:
        """Give the value under a key another time to live, in seconds from now; return whether there is one."""
        self._core.require_open()
        return await self._core.run_async(touch_value(self._core, key, ttl))
