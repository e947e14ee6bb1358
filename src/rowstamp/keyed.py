"""What is done with a value under a key of the user's own, as flows.

They are entries like others. Each stands on a stamp of its own key, so that ``set`` and ``delete`` win against loads in flight: what
such a load stores afterwards carries the old token, and nobody is served it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rowstamp.calls import Call
from rowstamp.calls.call import NOTHING
from rowstamp.calls.lookups import Lookups
from rowstamp.config import check_tags, check_ttl
from rowstamp.entry import StoredEntry
from rowstamp.errors import ConfigurationError, CorruptEntry, StoreError, UncacheableValue, UnsupportedArgument
from rowstamp.keys import entry_key, stamp_name, stamp_names
from rowstamp.model import Dependency, ManySnapshot, StoreSnapshot, fresh_token
from rowstamp.orm.situation import Situation
from rowstamp.protocol import Flow, Read, ReadMany, Touch, found_entry, standing
from rowstamp.protocol_calls import CallHit, call_ticket, capture, lookup_call
from rowstamp.quick import Attempt, QuickAnswers, Seen
from rowstamp.recording import note
from rowstamp.stampede import Staleness, Timeouts, check_early
from rowstamp.values import pack_result, plan_of, unpack_result

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = [
    "MISSING",
    "Keyed",
    "Waits",
    "attempt_of",
    "delete_values",
    "get_value",
    "get_values",
    "plan_as",
    "returned_type",
    "set_values",
    "shared_stamps",
    "touch_value",
]

_SCOPE: Final = "\0values"
MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Keyed:
    """A key with what belongs to it."""

    core: Core
    key: object

    def entry(self) -> bytes:
        """Return the key of its entry."""
        config = self.core.config
        vary = config.varied()
        try:
            return entry_key(config.namespace, (), "\0value", (self.key,), vary=vary)
        except UncacheableValue as exc:
            msg = f"key={self.key!r} cannot be a key ({exc.reason}): give a string, or a tuple of plain values"
            raise UnsupportedArgument(msg) from exc

    def stamp(self) -> bytes:
        """Return the stamp of its own, which ends what is stored or is being loaded."""
        return stamp_name(self.core.config.namespace, Dependency(_SCOPE, "tag", "", (), self.entry()))

    def required(self, tags: Collection[str]) -> tuple[bytes, ...]:
        """Return the stamps that its entry stands on."""
        return (self.stamp(), *shared_stamps(self.core, tags))

    def call(
        self,
        *,
        ttl: float | None,
        tags: Collection[str],
        ttl_empty: float | None,
        jitter: float,
        as_: Any,
        waits: Waits,
        load: Callable[[], Any],
        quick: QuickAnswers,
        attempt: Attempt | None,
        seen: Seen | None,
    ) -> Call:
        """Return the call that loads its value."""
        plan, entry = plan_as(as_), self.entry()

        def unpack(body: bytes) -> Any:
            return unpack_result(plan, body, ())

        return Call(
            entry=entry,
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
            unpack=unpack,
            counters=(self.core.counters,),
            keep=None if attempt is None else partial(quick.remember, attempt, entry, waits.early, unpack),
            seen=seen,
        )


def plan_as(as_: Any) -> Any:
    """Return how values of a type are kept."""
    try:
        return plan_of(as_)
    except UncacheableValue as exc:
        msg = f"as_={as_!r} is a type whose values cannot be kept: {exc.detail or exc}"
        raise ConfigurationError(msg) from exc


def returned_type(load: Callable[..., Any], as_: Any) -> Any:
    """Return what a load is said to return, unless the caller has said so."""
    if as_ is not Any:
        return as_
    try:
        return typing.get_type_hints(load, include_extras=True).get("return", Any)
    except (TypeError, NameError):  # a partial, a callable object, a local class
        return Any


def attempt_of(quick: QuickAnswers, key: object, load: Callable[..., Any], as_: Any, options: Any) -> Attempt | None:
    """Return how a value may be found the short way; ``None`` if it has to go the long one.

    What the options are is remembered with the value, so that a wrong one is told however often the right ones were given.
    """
    code = getattr(load, "__code__", None)
    if code is None:  # a partial, a callable object: its type is to be asked each time
        return None
    returned = load.__annotations__.get("return") if as_ is Any else None
    try:
        hash(more := (code, returned, as_, options))
    except TypeError:
        return None
    return quick.attempt((key,), {}, more)


@dataclass(frozen=True, slots=True)
class Waits:
    """What a caller does rather than wait for a load."""

    early: float
    stale: Staleness
    timeouts: Timeouts

    @classmethod
    def of(
        cls, while_revalidate: float, if_error: float, early: float, soft: float | None, hard: float | None
    ) -> Waits:
        """Return what the options say."""
        stale = Staleness(while_revalidate=while_revalidate, if_error=if_error, errors=(Exception,))
        return cls(check_early(early), stale, Timeouts.of(soft, hard, stale))


# ------------------------------------------------------------------------------------------------------ flows


ABSENT: Final = b""
"""The body of an entry that says that there is nothing under a key; no value is packed to it."""


def get_value(core: Core, lookups: Lookups, key: object, as_: Any) -> Generator[Any, Any, Any]:
    """Return the value under a key, or :data:`MISSING`."""
    found = yield from get_values(core, lookups, [key], as_)
    return found.get(key, MISSING)


def get_values(core: Core, lookups: Lookups, keys: Iterable[Any], as_: Any) -> Generator[Any, Any, dict[Any, Any]]:
    """Return the values of those keys that have one: one round trip for all of them."""
    plan, keyed = plan_as(as_), {key: Keyed(core, key) for key in keys}
    try:
        yield from lookups.replay_journal()
        found, _ = yield from find_many(core, lookups, {key: (each, each.required(())) for key, each in keyed.items()})
    except StoreError:
        core.counters.count("store_errors")
        return {}
    values: dict[Any, Any] = {}
    for key in keyed:
        hit = found.get(key)
        value = MISSING if hit is None else value_of(core, plan, hit)
        if value is MISSING:
            core.counters.count("misses")
        elif value is not NOTHING:
            values[key] = value
    return values


def value_of(core: Core, plan: Any, hit: CallHit) -> Any:
    """Return the value of a hit, :data:`NOTHING` if it says that there is none, :data:`MISSING` if its bytes mean nothing."""
    value: Any = NOTHING
    if hit.body != ABSENT:
        try:
            value = unpack_result(plan, hit.body, ())
        except CorruptEntry:
            core.counters.count("corrupt")
            return MISSING
    note(core, hit.tokens)
    core.counters.hit(hit.load_time)
    return value


def find_many(
    core: Core, lookups: Lookups, keyed: Mapping[Any, tuple[Keyed, Sequence[bytes]]]
) -> Flow[tuple[dict[Any, CallHit], dict[bytes, bytes]]]:
    """Find the valid entries of several keys.

    One round trip if the stamps of the entries are known from the last time, which they usually are, else two.

    Args:
        core: the cache.
        lookups: knows the stamps.
        keyed: of each key, and the stamps that its entry must stand on.

    Returns:
        The hits by key, and the tokens of the stamps that were read.
    """
    entries = {key: each.entry() for key, (each, _) in keyed.items()}
    required = [stamp for _, stamps in keyed.values() for stamp in stamps]
    known = [stamp for entry in entries.values() for stamp in lookups.known(entry) or ()]
    stamps = [*dict.fromkeys((*required, *known))]
    snapshot: ManySnapshot = yield ReadMany([*entries.values()], stamps)
    states = dict(zip(stamps, snapshot.stamps, strict=True))
    stored: dict[Any, StoredEntry] = {}
    for (key, entry), blob in zip(entries.items(), snapshot.entries, strict=True):
        with suppress(CorruptEntry):
            if blob is not None:
                stored[key] = found_entry(entry, blob, core.form)
    core.counters.count("corrupt", sum(blob is not None for blob in snapshot.entries) - len(stored))
    more = [*dict.fromkeys(stamp for each in stored.values() for stamp in each.named if stamp not in states)]
    if more:
        second: StoreSnapshot = yield Read(None, more)
        states.update(zip(more, second.stamps, strict=True))
    found: dict[Any, CallHit] = {}
    for key, each in stored.items():
        # Every state is known: nothing more is read.
        tokens = yield from standing(each, keyed[key][1], states)
        if tokens is not None and not core.is_over(each):
            lookups.remember(entries[key], tuple(tokens))
            found[key] = CallHit(each, tokens)
    return found, {stamp: state.token for stamp, state in states.items() if state.token is not None}


def shared_stamps(core: Core, tags: Collection[str]) -> list[bytes]:
    """Return the stamps that values of any key stand on."""
    dependencies = [Dependency.everything(), *(Dependency.tag(tag) for tag in check_tags(tags))]
    return stamp_names(core.config.namespace, dependencies)


def set_values(
    core: Core, lookups: Lookups, values: Mapping[Any, Any], ttl: float | None, tags: Collection[str], as_: Any
) -> Generator[Any, Any, None]:
    """Store values under new tokens of their keys, which ends what was stored or is being loaded.

    One round trip, with the tokens that tags had when they were last seen, and another if they have them no more: an
    entry under an old token is none.
    """
    plan = plan_as(as_)
    bodies = {Keyed(core, key): pack_result(plan, value, ()) for key, value in values.items()}
    seconds = core.config.ttl if ttl is None else check_ttl(ttl)
    if not bodies:
        return
    yield from lookups.replay_journal()
    shared = shared_stamps(core, tags)
    own = {keyed: fresh_token() for keyed in bodies}
    touched = {keyed.stamp(): token for keyed, token in own.items()}
    captured = lookups.tokens_seen(shared) or (yield from capture(shared))
    while captured is not None:
        items = [
            (call_ticket(keyed.entry(), {keyed.stamp(): own[keyed], **captured}), body, seconds)
            for keyed, body in bodies.items()
        ]
        states = yield from core.filling_many(items, touched=touched, stamps=shared)
        if {stamp: state.token for stamp, state in zip(shared, states, strict=True)} == captured:
            lookups.see(captured)
            for ticket, _, _ in items:
                lookups.remember(ticket.entry, tuple(ticket.tokens))
            core.counters.count("fills", len(items))
            return
        captured = yield from capture(shared)
    # A tag is just being invalidated, so that what is stored now would be of no use.
    yield Touch(touched)


def delete_values(core: Core, keys: Iterable[Any]) -> Generator[Any, Any, None]:
    """Forget the values under keys."""
    yield Touch({Keyed(core, key).stamp(): fresh_token() for key in keys})


def touch_value(core: Core, key: object, ttl: float) -> Generator[Any, Any, bool]:
    """Give the value under a key another time to live."""
    keyed = Keyed(core, key)
    found = yield from lookup_call(keyed.entry(), keyed.required(()), keyed.required(()), form=core.form)
    if not isinstance(found, CallHit) or core.is_over(found.stored):
        return False
    ticket = call_ticket(keyed.entry(), found.tokens)
    yield from core.filling(ticket, found.body, ttl=check_ttl(ttl), load_time=found.load_time)
    return True
