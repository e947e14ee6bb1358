"""The semi-private names by which a session is seen to be at rest, cheaply."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event.attr import _EmptyListener
from sqlalchemy.orm import Session

__all__ = ["resting_bind", "unwatched"]


def resting_bind(session: Session) -> Engine | Connection | None:
    """Return what a session runs its statements on if it has one bind, nothing to flush, and no savepoint; else ``None``.

    The connection it has begun, or its engine if it has begun none.
    """
    if type(session).get_bind is not Session.get_bind or not session._is_clean():
        return None
    bind: Any = session.bind
    if type(bind) is not Engine or session.__dict__.get("_Session__binds"):
        return None
    transaction = session._transaction
    if transaction is None:
        return bind
    state = transaction._state
    if state is not type(state).ACTIVE or transaction._parent is not None:
        return None
    connections = transaction._connections
    if not connections:
        return bind
    # Each connection is there twice, by itself and by its engine.
    found = connections.get(bind)
    return found[0] if found is not None and len(connections) == 2 else None


def unwatched(session: Session, engine: Engine, own: Callable[..., Any]) -> bool:
    """Return whether :func:`watches_beginnings` is false, without going through the listeners where there are none.

    ``False`` says nothing: then it has to be asked.
    """
    listeners: Any = session.dispatch.after_begin
    if type(listeners) is not _EmptyListener:
        return False
    known: Any = listeners.parent_listeners
    if len(known) != 1 or known[0] is not own:
        return False
    dispatch: Any = engine.dispatch
    for listeners in (dispatch.begin, dispatch.engine_connect, dispatch.set_connection_execution_options):
        if type(listeners) is not _EmptyListener or listeners.parent_listeners:
            return False
    return True
