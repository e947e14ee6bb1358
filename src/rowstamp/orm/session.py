"""Serve the reads of sessions without taking a connection from the pool.

A session asks for its connection after everything else is decided: options merged, other listeners heard, pending changes
flushed. At that moment it is handed a stand-in that looks the statement up, once, and asks for the real connection only if
it must. ``do_orm_execute`` merely notices the session; it decides nothing, so the order of listeners does not matter.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, Result
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import ORMExecuteState, Session

from rowstamp._sqlalchemy import (
    StandInConnection,
    begin_session,
    compile_statement,
    connection_hook,
    distill,
    execution_context,
    hook_connections,
    is_initialized,
    is_user_select,
    may_rewrite,
    merged_options,
    observe_identity_map,
    original_connection_for_bind,
    result_of,
    session_connection,
    watches_beginnings,
    with_options,
)
from rowstamp.orm.attachment import Attachment, attachment_of
from rowstamp.orm.deferred import after_begin
from rowstamp.orm.isolation import snapshot_view
from rowstamp.orm.option import OPTION, cached
from rowstamp.orm.reads import PREPARED, Bypass, Execution, Marker, Prepared, count_miss, in_turn, lookup, prepare
from rowstamp.orm.record import found_in_identity_map, meet_session, record_hit, record_unattached
from rowstamp.orm.replay import REPLAY_CONNECTION, ReplayCursor
from rowstamp.orm.stale import SESSION_CACHE, Asked, asked_of, old_rows, renew_behind
from rowstamp.orm.transaction import TransactionState, state_of
from rowstamp.recording import active

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["SESSION_CACHE", "listen_to_sessions"]


class _ConnectionHook:
    """Stands where a session asks for the connection of a statement."""

    __slots__ = ("armed", "asked", "session")

    def __init__(self, session: Session) -> None:
        # Weak, for the session holds the hook.
        self.session = weakref.ref(session)
        self.armed = False
        self.asked: Asked | None = None

    def __call__(self, bind: Any, **kw: Any) -> Connection:
        session = self.session()
        if session is None:
            msg = "the session is gone"
            raise InvalidRequestError(msg)
        if active() is not None:
            record_unattached(bind)
        # Statements ask with the bind alone; session.connection() names execution options, even if they are None.
        if self.armed and not kw and isinstance(bind, Engine):
            self.armed = False
            attachment = attachment_of(bind.dialect)
            if attachment is not None and _serves(attachment, session) and begin_session(session):
                return _ReadConnection(bind, session, attachment, self.asked)
        return original_connection_for_bind(session, bind, **kw)


def _serves(attachment: Attachment, session: Session) -> bool:
    if not attachment.core.enabled:
        return False
    asked: Core | None = session.info.get(SESSION_CACHE)
    return attachment.serves if asked is None else asked is attachment.core


class _ReadConnection(StandInConnection):
    """What a session executes a statement on that may be served from the cache."""

    def __init__(self, engine: Engine, session: Session, attachment: Attachment, asked: Asked | None) -> None:
        super().__init__(engine, REPLAY_CONNECTION)
        self._asked = asked
        self._session = session
        self._attachment = attachment

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Serve the statement, or execute it on the session's real connection."""
        options: Mapping[str, Any] = execution_options or {}
        if not is_user_select(statement):
            return self._real().execute(statement, parameters, execution_options=options)
        existing = session_connection(self._session, self.engine)
        marker, turn = self._decide(statement, distill(parameters), options, existing)
        if isinstance(marker, Result):
            return marker  # pyright: ignore[reportUnknownVariableType]
        try:
            with turn:
                if isinstance(marker, Prepared):
                    count_miss(self._attachment, marker)
                return self._real().execute(statement, parameters, execution_options={**options, PREPARED: marker})
        except Exception as exc:
            if not isinstance(marker, Prepared) or marker.old is None or not marker.stale.counts(exc):
                raise
            old = self._old(statement, parameters, options, existing, marker)
            if old is None:
                raise
            return old

    def _old(
        self, statement: Any, parameters: Any, given: Any, existing: Connection | None, prepared: Prepared
    ) -> Result[Any] | None:
        """Return an old result that may be served where the database is not there."""
        state = _state(existing) if existing is not None and not existing.invalidated else None
        if active() is not None or (state is not None and (state.effects or state.insert)):
            return None  # it would be part of another result, or hide that the transaction is lost
        rows = old_rows(self._attachment.core, prepared, prepared.stale.if_error)
        options = merged_options(statement, self.get_execution_options(), given)
        context = None if rows is None else self._context(statement, distill(parameters), options)
        if context is None:
            return None
        context.cursor = rows
        return result_of(context)

    def scalar(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Return the first column of the first row, or the value of a default such as a sequence."""
        if not is_user_select(statement):
            return self._real().scalar(statement, parameters, execution_options=execution_options)
        return self.execute(statement, parameters, execution_options=execution_options).scalar()

    def _real(self) -> Connection:
        return original_connection_for_bind(self._session, self.engine)

    def _may_decide(self, existing: Connection | None) -> bool:
        """Whether what the database would be asked, and in what state, is known without a connection."""
        if may_rewrite(self.engine if existing is None else existing):
            return False
        if not is_initialized(self.engine.dialect):
            return False  # SQL and identity may differ once the server's version and default schema are known
        if existing is not None:
            return True
        # A connection that begins may be given a tenant or a role, without which its reads mean something else.
        return not (self._attachment.alters or watches_beginnings(self._session, self.engine, after_begin))

    def _decide(
        self, statement: Any, parameters: Any, given: Any, existing: Connection | None
    ) -> tuple[Any, AbstractContextManager[None]]:
        """Return a result, or what to tell the real connection, and the context in which to ask it."""
        if not self._may_decide(existing):
            return Marker.ASK, nullcontext()
        return in_turn(
            self._attachment,
            _state(existing),
            lambda: self._attempt(statement, parameters, given, existing),
        )

    def _attempt(
        self, statement: Any, parameters: Any, given: Any, existing: Connection | None
    ) -> Result[Any] | Prepared | Marker:
        """Return a result from the cache, or what to tell the real connection."""
        attachment = self._attachment
        of_connection = (existing or self).get_execution_options()
        if len(parameters) > 1 or of_connection.get(OPTION) is False:
            return Marker.SKIP
        view = snapshot_view(attachment, existing, self.engine)
        if view is None:
            return Marker.ASK
        options = merged_options(statement, of_connection, given)
        context = self._context(statement, parameters, options)
        if context is None:
            return Marker.SKIP
        prepared = prepare(attachment, Execution.of(context), existing)
        if prepared is None:
            return Marker.SKIP
        found = prepared if isinstance(prepared, Bypass) else lookup(attachment, prepared, _state(existing), view)
        if isinstance(found, Bypass):
            attachment.core.counters.bypass(found.reason)
            return Marker.SKIP
        if isinstance(found, ReplayCursor):
            if active() is not None:
                record_hit(attachment, context, existing)
            context.cursor = found
            return result_of(context)
        if found.old is not None and self._asked is not None and active() is None:
            rows = old_rows(attachment.core, found, found.stale.while_revalidate)
            if rows is not None:
                count_miss(attachment, found)
                renew_behind(attachment, self._asked, found.entry)
                context.cursor = rows
                return result_of(context)
        return found

    def _context(self, statement: Any, parameters: Any, options: Any) -> Any:
        """Return the execution context, or ``None`` when there is none to be had: the database will say why."""
        try:
            compilation = compile_statement(statement, self.engine, parameters, options)
            return execution_context(compilation, self, REPLAY_CONNECTION, options)
        except Exception:  # noqa: BLE001 - a statement that cannot be compiled or bound fails where it always did
            return None


def _state(connection: Connection | None) -> TransactionState | None:
    return state_of(connection.connection) if connection is not None else None


# --------------------------------------------------------------------------------------------------- listening


def _on_orm_execute(state: ORMExecuteState) -> None:
    session = state.session
    if active() is not None:
        meet_session(session)
    if session.info.get(OPTION) is False:
        state.update_execution_options(**{OPTION: False})
        return
    hook = connection_hook(session)
    if hook is None:
        hook = _ConnectionHook(session)
        hook_connections(session, hook)
    if not isinstance(hook, _ConnectionHook):
        return
    hook.armed = is_user_select(state.statement)
    if OPTION not in state.execution_options:
        # Said once for the statement and its eager loads, which are given its execution options.
        for option in with_options(state.statement):
            if isinstance(option, cached):
                state.update_execution_options(**{OPTION: option})
    if not (state.is_relationship_load or state.is_column_load):
        # Eager loads are renewed with the statement that they are part of.
        given = state.local_execution_options
        hook.asked = asked_of(state, given.get(OPTION, state.execution_options.get(OPTION)))


def listen_to_sessions() -> None:
    """Notice the statements of all sessions; may be called again, also when somebody has cleared the listeners.

    What listens already stays where it is: other threads may be going through the listeners of their sessions.
    """
    if not event.contains(Session, "do_orm_execute", _on_orm_execute):
        event.listen(Session, "do_orm_execute", _on_orm_execute)
    observe_identity_map(_on_identity_lookup)


def _on_identity_lookup(session: Session, instance: object, sql_allowed: bool) -> None:  # noqa: FBT001 - as it is told
    if active() is not None:
        found_in_identity_map(session, instance, sql_allowed=sql_allowed)
