"""Old results of statements, for sessions that may be served them: how old, and how new ones are loaded behind them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import ORMExecuteState, Session

from rowstamp._sqlalchemy import await_in_greenlet, run_in_greenlet
from rowstamp.core import Core
from rowstamp.drivers import perform
from rowstamp.errors import CorruptEntry, StoreError
from rowstamp.model import fresh_token
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.option import OPTION, cached
from rowstamp.orm.reads import RENEW, Prepared
from rowstamp.orm.replay import ReplayCursor, Rows, decode_result
from rowstamp.protocol import Lease, Operation, Unlease

__all__ = ["SESSION_CACHE", "Asked", "asked_of", "old_rows", "renew_behind"]

SESSION_CACHE: Final = "rowstamp.cache"
"""The key in ``session.info`` under which the sessions of an attached sessionmaker carry their cache."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement as a session was given it, to be executed once more."""

    statement: Any
    parameters: Any
    options: Mapping[str, Any]


def asked_of(state: ORMExecuteState, option: object) -> Asked | None:
    """Return what a session was asked, if its result may be served old while a new one is loaded."""
    if not isinstance(option, cached) or not option.stale.while_revalidate:
        return None
    options = {name: value for name, value in state.execution_options.items() if not name.startswith("_")}
    return Asked(state.statement, state.parameters, {**options, OPTION: option, RENEW: True})


def old_rows(core: Core, prepared: Prepared, seconds: float) -> ReplayCursor | None:
    """Return the rows of an old result that may be served for so many seconds, and count it as one."""
    old = prepared.old
    if old is None or not seconds:
        return None
    began = old.ends_at if prepared.unchanged else old.ends_at - prepared.ttl
    if core.wall_clock() - began > seconds:
        return None
    try:
        rows = old.decoded if isinstance(old.decoded, Rows) else decode_result(old.body)
    except CorruptEntry:
        return None
    core.counters.count("stale_hits")
    return rows.cursor()


def renew_behind(attachment: Attachment, asked: Asked, entry: bytes) -> None:
    """Have a statement executed again in the background, in a session of its own, unless that is being done.

    It stores what it returns under the key that it has there. Where that is another one (a listener of the caller's session
    had changed the statement), the old result stays as it is until nobody may be served it any more.
    """
    core = attachment.core
    if not core.renewing.add(entry):
        return
    if attachment.dialect.is_async:
        task = asyncio.ensure_future(run_in_greenlet(_renew, attachment, asked, entry, await_in_greenlet))
        core.background.add(task)
        task.add_done_callback(core.background.discard)
        return
    run_there = contextvars.copy_context().run
    threading.Thread(
        target=run_there, args=(_renew, attachment, asked, entry, _as_it_is), name="rowstamp-load", daemon=True
    ).start()


def _as_it_is(reply: Any) -> Any:
    return reply


def _renew(attachment: Attachment, asked: Asked, entry: bytes, wait: Callable[[Any], Any]) -> None:
    core, holder = attachment.core, fresh_token()
    try:
        if core.leases and _ask(core, Lease(entry, holder, core.config.lease), wait) != holder:
            return
        # What fails will be tried again by the next caller, or by the first who is not served the old result.
        with suppress(Exception), Session(attachment.engine, info={SESSION_CACHE: core}) as session:
            result = session.execute(asked.statement, asked.parameters, execution_options=asked.options)
            result.unique().all()  # eager loads are executed as rows are fetched
        if core.leases:
            _ask(core, Unlease(entry, holder), wait)
    finally:
        core.renewing.discard(entry)


def _ask(core: Core, operation: Operation, wait: Callable[[Any], Any]) -> Any:
    try:
        reply = perform(core.store, operation, None)
        return wait(reply) if hasattr(reply, "__await__") else reply
    except StoreError:
        core.counters.count("store_errors")
        return None
