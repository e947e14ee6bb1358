"""Values under keys of the user's own: for what comes from elsewhere, or is worked out from several things.

They are entries like others. Each stands on a stamp of its own key, so that ``set`` and ``delete`` win against loads in flight: what
such a load stores afterwards carries the old token, and nobody is served it.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from rowstamp.calls import Call, Calls, Steps, drive, drive_async
from rowstamp.config import check_tags, check_ttl
from rowstamp.errors import ConfigurationError, CorruptEntry, StoreError, UncacheableValue, UnsupportedArgument
from rowstamp.keys import entry_key, stamp_name, stamp_names
from rowstamp.model import Dependency, fresh_token
from rowstamp.orm.situation import Situation
from rowstamp.protocol import Touch
from rowstamp.protocol_calls import CallHit, call_ticket, capture, lookup_call
from rowstamp.recording import note
from rowstamp.stampede import Staleness, Timeouts, check_early
from rowstamp.values import pack_result, plan_of, unpack_result

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["AsyncKeyValues", "KeyValues"]

T = TypeVar("T")
D = TypeVar("D")

_SCOPE: Final = "\0values"
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A key with what belongs to it."""

    core: Core
    key: object

    def entry(self) -> bytes:
        config = self.core.config
        vary = config.vary() if config.vary is not None else None
        try:
            return entry_key(config.namespace, (), "\0value", (self.key,), vary=vary)
        except UncacheableValue as exc:
            msg = f"key={self.key!r} cannot be a key ({exc.reason}): give a string, or a tuple of plain values"
            raise UnsupportedArgument(msg) from exc

    def stamp(self) -> bytes:
        return stamp_name(self.core.config.namespace, Dependency(_SCOPE, "tag", "", (), self.entry()))

    def required(self, tags: Collection[str]) -> tuple[bytes, ...]:
        dependencies = (Dependency.everything(), *(Dependency.tag(tag) for tag in check_tags(tags)))
        return (self.stamp(), *stamp_names(self.core.config.namespace, dependencies))

    def call(
        self,
        *,
        ttl: float | None,
        tags: Collection[str],
        ttl_empty: float | None,
        jitter: float,
        as_: Any,
        waits: _Waits,
        load: Callable[[], Any],
    ) -> Call:
        plan = _plan(as_)
        return Call(
            entry=self.entry(),
            entry_now=self.entry,
            required=self.required(tags),
            situation=Situation(self.core, ()),
            ttl=self.core.config.ttl if ttl is None else check_ttl(ttl),
            ttl_empty=None if ttl_empty is None else check_ttl(ttl_empty, "ttl_empty"),
            jitter=jitter,
            early=waits.early,
            stale=waits.stale,
            timeouts=waits.timeouts,
            detach=lambda call: nullcontext((call, load)),
            pack=lambda value: pack_result(plan, value, ()),
            unpack=lambda body: unpack_result(plan, body, ()),
            counters=(self.core.counters,),
        )


def _plan(as_: Any) -> Any:
    try:
        return plan_of(as_)
    except UncacheableValue as exc:
        msg = f"as_={as_!r} is a type whose values cannot be kept: {exc.detail or exc}"
        raise ConfigurationError(msg) from exc


def _returned(load: Callable[..., Any], as_: Any) -> Any:
    """Return what a load is said to return, unless the caller has said so."""
    if as_ is not Any:
        return as_
    try:
        return typing.get_type_hints(load, include_extras=True).get("return", Any)
    except (TypeError, NameError):  # a partial, a callable object, a local class
        return Any


@dataclass(frozen=True, slots=True)
class _Waits:
    """What a caller does rather than wait for a load."""

    early: float
    stale: Staleness
    timeouts: Timeouts

    @classmethod
    def of(
        cls, while_revalidate: float, if_error: float, early: float, soft: float | None, hard: float | None
    ) -> _Waits:
        stale = Staleness(while_revalidate=while_revalidate, if_error=if_error, errors=(Exception,))
        return cls(check_early(early), stale, Timeouts.of(soft, hard, stale))


# ------------------------------------------------------------------------------------------------------ flows


def _get(core: Core, key: object, as_: Any) -> Generator[Any, Any, Any]:
    keyed, plan = _Keyed(core, key), _plan(as_)
    try:
        flow = lookup_call(keyed.entry(), keyed.required(()), keyed.required(()), form=core.form)
        found = yield from core.looking_up(flow)
    except StoreError:
        core.counters.count("store_errors")
        return _MISSING
    if isinstance(found, CallHit) and not core.is_over(found.stored):
        try:
            value = unpack_result(plan, found.body, ())
        except CorruptEntry:
            core.counters.count("corrupt")
        else:
            note(core, found.tokens)
            core.counters.hit(found.load_time)
            return value
    core.counters.count("misses")
    return _MISSING


def _set(
    core: Core, values: Mapping[Any, Any], ttl: float | None, tags: Collection[str], as_: Any
) -> Generator[Any, Any, None]:
    """Store values under new tokens of their keys, which ends what was stored or is being loaded."""
    plan = _plan(as_)
    bodies = {key: pack_result(plan, value, ()) for key, value in values.items()}
    seconds = core.config.ttl if ttl is None else check_ttl(ttl)
    shared = stamp_names(
        core.config.namespace, [Dependency.everything(), *(Dependency.tag(tag) for tag in check_tags(tags))]
    )
    captured = yield from capture(shared)
    own = {_Keyed(core, key).stamp(): fresh_token() for key in bodies}
    yield Touch(own)
    if captured is None:
        return  # a tag is just being invalidated, so that what is stored now would be of no use
    for key, body in bodies.items():
        keyed = _Keyed(core, key)
        stamp = keyed.stamp()
        ticket = call_ticket(keyed.entry(), {stamp: own[stamp], **captured})
        yield from core.filling(ticket, body, ttl=seconds)
        core.counters.count("fills")


def _delete(core: Core, keys: Iterable[Any]) -> Generator[Any, Any, None]:
    yield Touch({_Keyed(core, key).stamp(): fresh_token() for key in keys})


def _touch(core: Core, key: object, ttl: float) -> Generator[Any, Any, bool]:
    keyed = _Keyed(core, key)
    found = yield from lookup_call(keyed.entry(), keyed.required(()), keyed.required(()), form=core.form)
    if not isinstance(found, CallHit) or core.is_over(found.stored):
        return False
    ticket = call_ticket(keyed.entry(), found.tokens)
    yield from core.filling(ticket, found.body, ttl=check_ttl(ttl), load_time=found.load_time)
    return True


class _Base:
    """What the methods of both colours need."""

    _core: Core
    _calls: Calls

    def _answer(
        self,
        key: object,
        load: Callable[..., Any],
        ttl: float | None,
        tags: Collection[str],
        ttl_empty: float | None,
        jitter: float,
        as_: Any,
        waits: _Waits,
    ) -> Steps:
        self._core.require_open()
        call = _Keyed(self._core, key).call(
            ttl=ttl,
            tags=tags,
            ttl_empty=ttl_empty,
            jitter=jitter,
            as_=_returned(load, as_),
            waits=waits,
            load=load,
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
        waits = _Waits.of(stale_while_revalidate, stale_if_error, early, soft_timeout, timeout)
        return drive(self._core, self._answer(key, load, ttl, tags, ttl_empty, jitter, as_, waits), load)  # type: ignore[no-any-return]

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
        value = self._core.run_blocking(_get(self._core, key, as_))
        return default if value is _MISSING else value

    def get_many(self, keys: Iterable[Any], *, as_: Any = Any) -> dict[Any, Any]:
        """Return the values of those keys that have one."""
        self._core.require_open()
        found = ((key, self._core.run_blocking(_get(self._core, key, as_))) for key in keys)
        return {key: value for key, value in found if value is not _MISSING}

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
        """Keep several values. See :meth:`set`."""
        self._core.require_open()
        self._core.run_blocking(_set(self._core, values, ttl, tags, as_))

    def delete(self, key: object) -> None:
        """Forget the value under a key; loads in flight are not stored."""
        self.delete_many([key])

    def delete_many(self, keys: Iterable[Any]) -> None:
        """Forget the values under several keys, in one step."""
        self._core.require_open()
        self._core.run_blocking(_delete(self._core, keys))

    def touch(self, key: object, ttl: float) -> bool:
        """Give the value under a key another time to live, in seconds from now; return whether there is one."""
        self._core.require_open()
        return self._core.run_blocking(_touch(self._core, key, ttl))


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
        waits = _Waits.of(stale_while_revalidate, stale_if_error, early, soft_timeout, timeout)
        return await drive_async(self._core, self._answer(key, load, ttl, tags, ttl_empty, jitter, as_, waits), load)  # type: ignore[no-any-return]

    @overload
    async def get(self, key: object, *, as_: type[T]) -> T | None: ...
    @overload
    async def get(self, key: object, default: D, *, as_: type[T]) -> T | D: ...
    @overload
    async def get(self, key: object, default: Any = None, *, as_: Any = Any) -> Any: ...
    async def get(self, key: object, default: Any = None, *, as_: Any = Any) -> Any:
        """Return the value under a key, or ``default``. See :meth:`KeyValues.get`."""
        self._core.require_open()
        value = await self._core.run_async(_get(self._core, key, as_))
        return default if value is _MISSING else value

    async def get_many(self, keys: Iterable[Any], *, as_: Any = Any) -> dict[Any, Any]:
        """Return the values of those keys that have one."""
        self._core.require_open()
        found = {key: await self._core.run_async(_get(self._core, key, as_)) for key in keys}
        return {key: value for key, value in found.items() if value is not _MISSING}

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
        await self._core.run_async(_set(self._core, values, ttl, tags, as_))

    async def delete(self, key: object) -> None:
        """Forget the value under a key; loads in flight are not stored."""
        await self.delete_many([key])

    async def delete_many(self, keys: Iterable[Any]) -> None:
        """Forget the values under several keys, in one step."""
        self._core.require_open()
        await self._core.run_async(_delete(self._core, keys))

    async def touch(self, key: object, ttl: float) -> bool:
        """Give the value under a key another time to live, in seconds from now; return whether there is one."""
        self._core.require_open()
        return await self._core.run_async(_touch(self._core, key, ttl))
