"""Run the function of a call, recorded, and store what it returns."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rowstamp.calls.call import NOTHING, Call
from rowstamp.calls.lookups import Lookups
from rowstamp.calls.steps import Load, Step, Steps
from rowstamp.core import Core
from rowstamp.errors import StoreError, UncacheableValue
from rowstamp.protocol_calls import CallMiss, call_ticket, capture
from rowstamp.protocol_seen import narrowed_call
from rowstamp.recording import Recorder, active, note
from rowstamp.stampede import jittered

__all__ = ["Loads", "is_empty"]


class Loads:
    """Loads for the calls of one cache.

    Args:
        core: the cache.
        lookups: what is stored.
    """

    def __init__(self, core: Core, lookups: Lookups) -> None:
        self._core = core
        self._lookups = lookups

    def load(self, call: Call, missed: CallMiss) -> Steps:
        """Run the function, and return and store what it returns; where its load fails an old result may be returned."""
        recorder = Recorder(self._core, active(), missed.captured, settings=call.situation.settings())
        yield from self._capture(call, recorder)
        started = self._core.clock()
        try:
            value = yield Load(recorder)
        except Exception as exc:
            old = self._lookups.old_value(call, missed, call.stale.if_error) if call.stale.counts(exc) else NOTHING
            if old is NOTHING:
                raise
            return old
        load_time = self._core.clock() - started
        if recorder.reason is not None:
            call.bypass(recorder.reason)
            return value
        yield from self._fill(call, recorder, value, load_time)
        return value

    def _capture(self, call: Call, recorder: Recorder) -> Generator[Step, Any, None]:
        """Capture what every result of the call stands on."""
        missing = recorder.adopt(call.required)
        if not missing:
            note(self._core, {stamp: recorder.tokens[stamp] for stamp in call.required})
            return
        try:
            yield from self._lookups.replay_journal()
            tokens = yield from capture(missing)
        except StoreError:
            call.count("store_errors")
            tokens = None
        if tokens is None:
            recorder.refuse("a stamp is held or the store is down")
            for parent in _parents(recorder):
                parent.refuse("a stamp is held or the store is down")
            return
        recorder.add(tokens)
        note(self._core, {stamp: recorder.tokens[stamp] for stamp in call.required})

    def _fill(self, call: Call, recorder: Recorder, value: Any, load_time: float) -> Generator[Step, Any, None]:
        try:
            body = call.pack(value)
        except UncacheableValue as exc:
            call.bypass(exc.reason)
            return
        entry = call.entry_now()
        ttl = call.ttl_empty if call.ttl_empty is not None and is_empty(value) else call.ttl
        try:
            shown = recorder.shown()
            tokens = yield from narrowed_call(recorder.tokens, shown.rows, guard=shown.guard, without=shown.without)
            ticket = call_ticket(entry, tokens)
            seconds = jittered(ttl, call.jitter)
            yield from self._core.filling(ticket, body, ttl=seconds, load_time=load_time, linger=call.stale.longest)
        except StoreError:
            call.count("store_errors")
            return
        self._lookups.remember(entry, tuple(tokens))
        call.count("fills")


def _parents(recorder: Recorder) -> Generator[Recorder]:
    parent = recorder.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def is_empty(value: Any) -> bool:
    """Return whether a result is ``None`` or an empty container."""
    return value is None or (isinstance(value, list | tuple | set | frozenset | dict) and not value)
