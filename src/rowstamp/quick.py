"""Hits that were hits before, found again without the ceremony.

What a call means is worked out in full the first time: its key, its stamps, its result. It is then remembered under the arguments
themselves, if they are of types whose equality says all there is to say. A later call with the same arguments still reads the entry and its
stamps from the store, and is served only if they are what they were (:func:`~rowstamp.protocol_calls.still_holds`); what is saved is binding
the arguments, hashing the key, taking the entry apart, and decoding a result that nobody can change. Where the cache keeps copies near,
this is one, under the same rules: its stamps are read alone, and it ends with its entry (see :mod:`rowstamp.near`).

Whatever is unusual (``None`` is returned) takes the long way, which knows every case.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sqlalchemy.orm import Session

from rowstamp.core import Core
from rowstamp.entry import StoredEntry
from rowstamp.errors import CorruptEntry, StoreError
from rowstamp.events import Counters
from rowstamp.model import StoreSnapshot
from rowstamp.near import LONGEST_SECONDS
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.rest import SESSIONS, all_at_rest, place_at_rest
from rowstamp.orm.situation import HANDLES
from rowstamp.protocol_calls import CallHit, still_holds
from rowstamp.recording import active
from rowstamp.remembered import Key, QuickHits, Remembered
from rowstamp.stampede import earliest
from rowstamp.store import Comparing, Store
from rowstamp.values import sharer

__all__ = ["MISS", "Asked", "Attempt", "QuickAnswers", "Seen"]

MISS: Final = object()

# Of these types, values that are equal are the same argument. Not so of float (0.0 and -0.0), Decimal (1.0 and 1.00), datetime (one
# moment in two zones). The type is part of the key, for 1 == True.
_EXACT: Final = frozenset({int, str, bytes, bool, type(None), uuid.UUID})

_SHAPES: Final = 64
"""Of so many combinations of types a function remembers what they mean; usually it meets one or two."""

_NO_SESSION: Final = -1
_UNUSUAL: Final = -2

_numbers: Final = itertools.count()
"""Of functions and of the types of their arguments: no two of them have the same."""


Attempt: TypeAlias = tuple[Key, "Remembered | None", "tuple[Session, ...]"]
"""A call that may be answered the short way: what it is remembered under, what is remembered of it, and its session."""


_Keyed: TypeAlias = "tuple[Key | None, tuple[Any, ...]]"
"""What a call is remembered under, ``None`` if it is not to be; and its session."""

_NOT_KEYED: Final[_Keyed] = (None, ())


class Seen(NamedTuple):
    """A read that was made before the rest of a lookup.

    Attributes:
        stamps: the stamps that were asked for.
        reply: the store's answer, or the error it raised.
    """

    stamps: Sequence[bytes]
    reply: StoreSnapshot | StoreError


Asked: TypeAlias = "tuple[Any, Seen | None]"
"""The result of a call, or :data:`MISS` and the read that was made in vain."""


class QuickAnswers:
    """The short way for the calls of one function.

    Args:
        core: the cache.
        hits: what the cache remembers.
        attachments: what the cache is attached to.
        unpack: makes a result of its bytes, in these sessions.
        counters: where hits are counted.

    Attributes:
        awaited: whether the store is.
    """

    def __init__(
        self,
        core: Core,
        hits: QuickHits,
        attachments: Sequence[Attachment],
        unpack: Callable[[bytes, Sequence[Session]], Any],
        counters: Counters,
    ) -> None:
        self._core = core
        self._clock = time.monotonic
        self._number = next(_numbers)
        self._hits = hits
        self._attachments = attachments
        self._unpack = unpack
        self._counters = counters
        self._shapes: dict[tuple[type, ...], tuple[int, int]] = {}
        self._comparing = core.store if isinstance(core.store, Comparing) else None
        self.awaited = not isinstance(core.store, Store)

    def attempt(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], more: Any = None, owner: Any = None
    ) -> Attempt | None:
        """Return how a call may be answered the short way; ``None`` if it has to go the long one.

        Args:
            args: the positional arguments.
            kwargs: the others.
            more: what else the result depends on; something hashable.
            owner: the object or class whose method it is.
        """
        core = self._core
        # A hit needs nothing but the store: the cache is on, owes the store nothing, and nobody records what is used.
        if core.closed or core.is_disabled() or active() is not None or not core.journal.empty:
            return None
        number = at = _UNUSUAL
        if not kwargs and owner is None and not core.config.functions:
            # Usually the types of all arguments were met before, and say which of them is the session and that the others are exact.
            kinds = tuple(map(type, args))
            number, at = self._shapes.get(kinds) or self._shape(kinds)
        key: Key | None
        sessions: tuple[Any, ...] = ()
        if at >= 0:
            place = place_at_rest(core, args[at])
            if place is None:
                return None
            key = (number, more, place, args[at + 1 :] if at == 0 else args[:at] + args[at + 1 :])
            sessions = (args[at],)
        elif at == _NO_SESSION and all_at_rest(self._attachments):
            key = (number, more, args)
        else:
            key, sessions = self._gathered(args, kwargs, more, owner)
        if key is None:
            return None
        known = self._hits.get(key)
        if known is not None and known.until is not None and known.until <= self._clock():
            known = None
        return key, known, sessions

    def _shape(self, kinds: tuple[type, ...]) -> tuple[int, int]:
        """Return a number for arguments of these types, and where the session is among them.

        The others must be equal only where they are the same.
        """
        sessions = [at for at, kind in enumerate(kinds) if issubclass(kind, SESSIONS)]
        exact = sum(kind in _EXACT for kind in kinds)
        if len(sessions) > 1 or exact + len(sessions) < len(kinds) or len(self._shapes) >= _SHAPES:
            return _UNUSUAL, _UNUSUAL
        shape = next(_numbers), sessions[0] if sessions else _NO_SESSION
        return self._shapes.setdefault(kinds, shape)

    def _gathered(self, args: Sequence[Any], kwargs: Mapping[str, Any], more: Any, owner: Any) -> _Keyed:
        """Return the key of any call, argument by argument, and its session."""
        core = self._core
        parts: list[Any] = [self._number, more]
        given: Sequence[Any] = (*args, *kwargs, *kwargs.values()) if kwargs else args
        if owner is not None:
            handles = _handles_of(owner)
            if handles is None:
                return _NOT_KEYED
            parts.append(owner if isinstance(owner, type) else type(owner))
            given = (*handles, *given)
        if core.config.functions:
            given = (*(each() for each in core.config.functions), *given)
        session: Any = None
        for value in given:
            kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType] - it is any
            if kind in _EXACT:
                parts += (kind, value)
            elif session is None and isinstance(value, SESSIONS):
                session = value
                place = place_at_rest(core, value)
                if place is None:
                    return _NOT_KEYED
                parts.append(place)
            elif kind is tuple and all(type(each) in _EXACT for each in value):
                parts += (*map(type, value), kind, value)
            else:
                return _NOT_KEYED
        if session is None and not all_at_rest(self._attachments):
            return _NOT_KEYED
        return tuple(parts), () if session is None else (session,)

    # ----------------------------------------------------------------------------------------------- answering

    def ask(self, attempt: Attempt) -> Asked:
        """Return the result of a call that was a hit before, if it is one again."""
        call = attempt[1]
        if call is None:
            return MISS, None
        store = self._comparing
        if store is not None and call.entry is not None:
            moment = call.moment
            if moment is None or not store.quiet_since(moment):
                moment = call.moment = store.unchanged(call.entry, call.blob or b"", call.stamps, call.tokens)
            return (MISS if moment is None else self._value(call, attempt[2])), None
        value = self._mirrored(call, attempt[2])
        if value is not MISS:
            return value, None
        try:
            reply: Any = self._core.store.read(call.entry, call.stamps)
        except StoreError as exc:
            reply = exc
        return self._judged(call, reply, attempt[2])

    async def ask_awaited(self, attempt: Attempt) -> Asked:
        """The same with a store that is awaited."""
        call = attempt[1]
        if call is None:
            return MISS, None
        value = self._mirrored(call, attempt[2])
        if value is not MISS:
            return value, None
        try:
            reply: Any = await cast("Any", self._core.store.read(call.entry, call.stamps))
        except StoreError as exc:
            reply = exc
        return self._judged(call, reply, attempt[2])

    def _judged(self, call: Remembered, reply: StoreSnapshot | StoreError, sessions: Sequence[Session]) -> Asked:
        if not isinstance(reply, StoreError) and still_holds(call.blob, call.tokens, reply):
            value = self._value(call, sessions)
            if value is not MISS:
                return value, None
        return MISS, None if call.entry is None else Seen(call.stamps, reply)

    def _mirrored(self, call: Remembered, sessions: Sequence[Session]) -> Any:
        """Return the result if its stamps are known without asking the store (see :mod:`rowstamp.mirror`), or :data:`MISS`."""
        states = self._core.mirrored(call.stamps) if self._core.follows and call.entry is None else None
        if states is None or not still_holds(None, call.tokens, StoreSnapshot(None, tuple(states.values()))):
            return MISS
        value = self._value(call, sessions)
        if value is not MISS:
            self._core.counters.count("bounded_hits")
        return value

    def _value(self, call: Remembered, sessions: Sequence[Session]) -> Any:
        """Return the result of a hit, or :data:`MISS` if the long way has to say what to do."""
        if call.share is not None:
            value = call.share()
        else:
            try:
                value = self._unpack(call.body, [getattr(each, "sync_session", each) for each in sessions])
            except CorruptEntry:
                return MISS
        self._counters.hit(call.load_time)
        if call.entry is None:
            self._core.counters.count("near_hits")
        return value

    # --------------------------------------------------------------------------------------------- remembering

    def remember(
        self,
        attempt: Attempt,
        entry: bytes,
        early: float,
        again: Callable[[bytes], Any] | None,
        found: CallHit,
        value: object,
    ) -> None:
        """Remember a call that the long way has answered.

        Args:
            attempt: how it is asked for.
            entry: the key of its entry.
            early: by which factor it is likely to be loaded anew before it ends.
            again: makes the result of its bytes, where no session is needed for that.
            found: the hit.
            value: the result.
        """
        stamps, tokens, share = tuple(found.tokens), list(found.tokens.values()), sharer(value)
        if share is None and again is not None:
            share = functools.partial(again, found.body)
        until = self._until(found.stored, early)
        if self._core.near is not None:
            call = Remembered(None, stamps, tokens, None, until, found.body, found.load_time, share)
        elif found.blob is not None:
            call = Remembered(entry, stamps, tokens, found.blob, until, found.body, found.load_time, share)
        else:
            return
        self._hits.remember(attempt[0], call)

    def _until(self, stored: StoredEntry, early: float) -> float | None:
        """Return until when a hit is one like any other, by the monotonic clock, as far as its stamps do not tell.

        So a hit that may be loaded anew before its end, or served old after it, costs no more than others until then.
        """
        end = stored.ends_at if stored.lingers or self._core.near is not None else math.inf
        if early and stored.load_time:
            end = min(end, earliest(stored, early))
        if end == math.inf:
            return None
        return self._clock() + min(end - self._core.wall_clock(), LONGEST_SECONDS)


def _handles_of(owner: Any) -> Sequence[Any] | None:
    """Return the sessions that an object has as attributes; ``None`` if there is more to it than can be told quickly."""
    if _has_slots(owner if isinstance(owner, type) else type(owner)):
        return None
    return [each for each in owner.__dict__.values() if isinstance(each, HANDLES)]


@functools.lru_cache(maxsize=1024)
def _has_slots(kind: type) -> bool:
    return any(vars(base).get("__slots__") for base in kind.__mro__)
