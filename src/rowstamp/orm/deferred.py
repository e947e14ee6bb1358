"""Invalidations that take effect with a session's commit, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, SessionTransaction

from rowstamp._sqlalchemy import session_connections
from rowstamp.model import Dependency
from rowstamp.orm.attachment import attachment_of
from rowstamp.orm.transaction import state_of

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["after_begin", "defer", "listen_to_commits"]

_PENDING: Final = "rowstamp.pending"


def defer(core: Core, session: Session, effects: set[Dependency]) -> None:
    """Have effects published by the commit of the session's outermost transaction, and forgotten by its rollback.

    If the session has a connection to a database the cache watches, they join what that connection's transaction touched.
    Otherwise they wait in the session: for such a connection, or for a commit that reaches no database.
    """
    for connection in session_connections(session):
        if _join(core, connection, effects):
            return
    if not session.in_transaction():
        session.begin()
    pending: dict[Any, set[Dependency]] = session.info.setdefault(_PENDING, {})
    pending.setdefault(core, set()).update(effects)


def _join(core: Core, connection: Connection, effects: set[Dependency]) -> bool:
    attachment = attachment_of(connection.dialect)
    if attachment is None or attachment.core is not core:
        return False
    state_of(connection.connection).touch(effects)
    return True


def after_begin(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    """Hand what waits in a session over to the connection it begins."""
    pending: dict[Any, set[Dependency]] = session.info.get(_PENDING, {})
    for core, effects in list(pending.items()):
        if _join(core, connection, effects):
            del pending[core]


def _after_commit(session: Session) -> None:
    # It also fires when a savepoint is released: what waits belongs to the outermost transaction.
    if session.in_nested_transaction():
        return
    for core, effects in session.info.pop(_PENDING, {}).items():
        core.invalidate_committed(effects)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_PENDING, None)


_LISTENERS: Final = (
    ("after_begin", after_begin),
    ("after_commit", _after_commit),
    ("after_transaction_end", _after_transaction_end),
)


def listen_to_commits() -> None:
    """Notice the commits of all sessions; may be called again, as :func:`rowstamp.orm.session.listen_to_sessions` may."""
    for name, listener in _LISTENERS:
        if not event.contains(Session, name, listener):
            event.listen(Session, name, listener)
