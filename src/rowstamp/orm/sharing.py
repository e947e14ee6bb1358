"""Sessions that miss the same statement at the same time: one of them loads it, and the others are served what that has stored.

Who has waited looks the entry up again, under stamps read after its own statement began, so that it is never given older data.
What its own transaction has written is checked as for any other hit.

Nobody waits for who might be waiting for it. A load that is part of another one (of a cached function, or asked for by a listener of
a statement under way) never waits, nor does a transaction that has written, whose locks may be in the way of the load. A
session that has a connection waits for a short time only: the load may be waiting for that very one, the last of an exhausted pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final

from rowstamp._sqlalchemy import await_in_greenlet
from rowstamp.core import Core
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.transaction import TransactionState
from rowstamp.recording import active
from rowstamp.stampede import PATIENCE, PATIENCE_WITH_CONNECTION

__all__ = ["take_turn"]

_loading: Final[ContextVar[bool]] = ContextVar("rowstamp-loading", default=False)
"""Whether this thread or task is loading a statement that others wait for."""


def take_turn(
    attachment: Attachment, entry: bytes, state: TransactionState | None
) -> AbstractContextManager[None] | None:
    """Return a context in which to load a statement that was missed; ``None`` after another session has loaded it.

    Args:
        attachment: the engine's attachment.
        entry: the key of its entry.
        state: what its transaction has written, if it has a connection.
    """
    if not _may_share(attachment, state):
        return nullcontext()
    core = attachment.core
    loop = asyncio.get_running_loop() if attachment.dialect.is_async else None
    flight, mine = core.statements.join(entry, loop)
    if mine:
        return _leading(core, entry, loop)
    patience = PATIENCE if state is None else PATIENCE_WITH_CONNECTION
    if loop is None:
        flight.wait(patience)
    else:
        await_in_greenlet(flight.wait_async(patience))
    return None


def _may_share(attachment: Attachment, state: TransactionState | None) -> bool:
    if attachment.replica:
        return False  # perhaps nothing will be stored
    if active() is not None or _loading.get():
        return False
    return state is None or not (state.effects or state.insert)


@contextmanager
def _leading(core: Core, entry: bytes, loop: asyncio.AbstractEventLoop | None) -> Generator[None, None, None]:
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)
        core.statements.land(entry, loop)
