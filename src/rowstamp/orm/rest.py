"""Sessions about which there is nothing to consider: what most calls of cached functions are given.

:class:`~rowstamp.orm.situation.Situation` judges every case. This looks for the usual one only, in a fraction of the time, and
leaves all others to it: a session with one bind, nothing to flush, at most one connection, and on that nothing written, no state
changed, and a snapshot for each statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from rowstamp._sqlalchemy import is_initialized
from rowstamp._sqlalchemy.rest import resting_bind
from rowstamp.orm.attachment import Attachment, attachment_of
from rowstamp.orm.deferred import after_begin
from rowstamp.orm.isolation import snapshot_view
from rowstamp.orm.option import OPTION
from rowstamp.orm.transaction import NO_SETTINGS, state_of
from rowstamp.protocol import SnapshotView

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["SESSIONS", "all_at_rest", "place_at_rest"]

SESSIONS: Final = (Session, AsyncSession)


def place_at_rest(core: Core, given: Any) -> Attachment | None:
    """Return the attachment of the engine that a session uses, or ``None`` if there is more to it than that.

    Args:
        core: the cache.
        given: one of :data:`SESSIONS`.
    """
    session = given.sync_session if isinstance(given, AsyncSession) else given
    info = session.__dict__.get("info")
    if info and info.get(OPTION) is False:
        return None
    # A connection that begins may be given a tenant or a role, under which the key stands for something else.
    bind = resting_bind(session, after_begin)
    if bind is None:
        return None
    attachment = attachment_of(bind.dialect)
    if attachment is None or attachment.core is not core:
        return None
    if type(bind) is not Engine:
        return attachment if _nothing_on(attachment, bind) else None
    return attachment if not attachment.alters and _nothing_about(attachment, bind) else None


def all_at_rest(attachments: Sequence[Attachment]) -> bool:
    """Return whether new connections of all engines would see the newest data in the usual state."""
    return all(not attachment.alters and _nothing_about(attachment, attachment.engine) for attachment in attachments)


def _nothing_on(attachment: Attachment, connection: Any) -> bool:
    """Whether nothing was done on a connection that a hit would have to mind."""
    if _TRANSLATE in connection.get_execution_options():
        return False
    state = state_of(connection.connection)
    if state.effects or state.insert or state.altered or state.altered_locally or state.manual:
        return False
    if state.settings != NO_SETTINGS:
        return False
    return snapshot_view(attachment, connection, state=state) is SnapshotView.PER_STATEMENT


def _nothing_about(attachment: Attachment, engine: Engine) -> bool:
    """Whether a connection of an engine would begin as the key says and see the newest data; found out once, while all stays."""
    options = engine.get_execution_options()
    levels, known = len(attachment.levels), attachment.resting
    if (
        known is not None
        and known[0] is engine
        and known[1] is options
        and known[2] == levels
        and known[3] is attachment.begins
    ):
        return True
    if _TRANSLATE in options or not is_initialized(engine.dialect):
        return False
    if snapshot_view(attachment, None, engine) is not SnapshotView.PER_STATEMENT:
        return False
    attachment.resting = engine, options, levels, attachment.begins
    return True


_TRANSLATE: Final = "schema_translate_map"
