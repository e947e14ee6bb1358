"""What is stored of a call: a value to be served, or an old one that may be served all the same."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from rowstamp.calls.call import NOTHING, Call
from rowstamp.calls.steps import Step
from rowstamp.core import Core
from rowstamp.errors import CorruptEntry, StoreError
from rowstamp.memo import MEMO_LIMIT, Memo
from rowstamp.model import StoreSnapshot
from rowstamp.protocol import Flow, invalidate
from rowstamp.protocol_calls import CallHit, CallMiss, lookup_call
from rowstamp.quick import Seen
from rowstamp.recording import active, note, used_under

__all__ = ["Lookups"]

T = TypeVar("T")


class Lookups:
    """Looks up the calls of one cache.

    Args:
        core: the cache.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._memo = Memo()
        self._tokens: dict[bytes, bytes] = {}

    def find(self, call: Call, seen: Seen | None = None) -> Generator[Step, Any, CallHit | CallMiss | None]:
        """Return what is stored, or ``None`` if the store cannot be used.

        Args:
            call: the call.
            seen: the first read, if it has been made.
        """
        known = seen.stamps if seen is not None else self.known(call.entry) or call.required
        flow: Flow[CallHit | CallMiss] = lookup_call(call.entry, known, call.required, form=self._core.form)
        try:
            yield from self.replay_journal()
            found = yield from (self._core.looking_up(flow) if seen is None else _resumed(flow, seen.reply))
        except StoreError:
            call.count("store_errors")
            return None
        if isinstance(found, CallHit):
            self.remember(call.entry, tuple(found.tokens))
            if self._core.is_over(found.stored):
                return CallMiss(found.tokens, stale=found.stored, unchanged=True)
        elif found.corrupt:
            call.count("corrupt")
        return found

    def value(self, call: Call, found: CallHit) -> Any:
        """Return the value of a hit, or :data:`NOTHING` if its bytes mean nothing."""
        if not found.body:
            return NOTHING  # `get_or_load_many` has found no value
        try:
            value = call.unpack(found.body)
        except CorruptEntry:
            call.count("corrupt")
            return NOTHING
        note(self._core, found.tokens)
        if active() is not None:
            for settings in call.situation.settings():
                used_under(settings)
        for counters in call.counters:
            counters.hit(found.load_time)
        if call.keep is not None:
            call.keep(found, value)
        return value

    def old_value(self, call: Call, missed: CallMiss, seconds: float) -> Any:
        """Return an old result that may be served for so many seconds, or :data:`NOTHING`."""
        old = missed.stale
        if old is None or not seconds:
            return NOTHING
        # When it was loaded, or earlier: a time to live may have been shortened at random.
        loaded_at = old.ends_at - max(call.ttl, call.ttl_empty or 0.0)
        if self._core.wall_clock() - (old.ends_at if missed.unchanged else loaded_at) > seconds:
            return NOTHING
        try:
            value = call.unpack(old.body)
        except CorruptEntry:
            return NOTHING
        call.count("stale_hits")
        return value

    def see(self, tokens: Mapping[bytes, bytes]) -> None:
        """Remember tokens of stamps that many entries share: not to validate by, but to guess what they are now."""
        if len(self._tokens) > MEMO_LIMIT:
            self._tokens.clear()
        self._tokens.update(tokens)

    def tokens_seen(self, stamps: Sequence[bytes]) -> dict[bytes, bytes] | None:
        """Return the tokens that stamps had when they were last seen, or ``None`` if one of them was not."""
        found = {stamp: token for stamp in stamps if (token := self._tokens.get(stamp)) is not None}
        return found if len(found) == len(stamps) else None

    def replay_journal(self) -> Generator[Step, Any, None]:
        """Publish what earlier commits could not, before the store is asked for anything."""
        journal = self._core.journal
        stamps = journal.pending()
        if stamps:
            yield from invalidate(list(stamps), list(stamps))  # nobody knows any more which of them are rows
            journal.done(stamps)

    def known(self, entry: bytes) -> tuple[bytes, ...]:
        """Return the stamps that an entry stood on when it was last met."""
        return self._memo.get(entry)

    def remember(self, entry: bytes, stamps: tuple[bytes, ...]) -> None:
        """Remember which stamps an entry stands on."""
        self._memo.remember(entry, stamps)


def _resumed(flow: Flow[T], reply: StoreSnapshot | StoreError) -> Flow[T]:
    """Go on with a flow whose first operation has been performed."""
    operation = next(flow)
    try:
        operation = flow.throw(reply) if isinstance(reply, StoreError) else flow.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    while True:
        try:
            operation = flow.send((yield operation))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
