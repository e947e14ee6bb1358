"""The semi-private names by which a session is seen to be at rest, cheaply."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event.attr import _EmptyListener
from sqlalchemy.orm import Session

__all__ = ["resting_bind"]


def resting_bind(session: Session, own: Callable[..., Any]) -> Engine | Connection | None:
    """Return what a session runs its statements on if it has one bind, nothing to flush, and no savepoint; else ``None``.

    The connection it has begun. Or its engine if it has begun none and nobody listens to beginnings but ``own``, as far as can be told
    without going through the listeners. All in one function, for it is on the way of every hit of a cached function.
    """
    if type(session).get_bind is not Session.get_bind:
        return None
    if session.identity_map._modified or session._new or session._deleted:  # what `_is_clean()` asks
        return None
    engine: Any = session.bind
    if type(engine) is not Engine or session.__dict__.get("_Session__binds"):
        return None
    transaction = session._transaction
    if transaction is not None:
        state = transaction._state
        if state is not type(state).ACTIVE or transaction._parent is not None:
            return None
        connections = transaction._connections
        if connections:
            # Each connection is there twice, by itself and by its engine.
            found = connections.get(engine)
            return found[0] if found is not None and len(connections) == 2 else None
    after = session.dispatch.after_begin
    known: Any = after.parent_listeners
    if type(after) is not _EmptyListener or len(known) != 1 or known[0] is not own:
        return None
    dispatch: Any = engine.dispatch
    begin, connect, options = dispatch.begin, dispatch.engine_connect, dispatch.set_connection_execution_options
    if not type(begin) is type(connect) is type(options) is _EmptyListener:
        return None
    watched = begin.parent_listeners or connect.parent_listeners or options.parent_listeners
    return None if watched else engine
