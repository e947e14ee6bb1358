"""Whether a call may be answered from the cache, as far as the sessions and connections it is given are concerned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rowstamp._sqlalchemy import (
    chooses_bind,
    is_clean,
    is_initialized,
    session_binds,
    session_connections,
    watches_beginnings,
)
from rowstamp.keys import stamp_names
from rowstamp.orm.attachment import Attachment, attachment_of
from rowstamp.orm.deferred import after_begin
from rowstamp.orm.isolation import snapshot_view
from rowstamp.orm.option import OPTION
from rowstamp.orm.settings import UNKNOWN_STATE, digest_of, settings_of
from rowstamp.orm.transaction import NO_SETTINGS, Settings, state_of
from rowstamp.protocol import SnapshotView

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["HANDLES", "Situation", "is_handle"]

HANDLES: Final = (
    Session,
    AsyncSession,
    scoped_session,
    async_scoped_session,
    Connection,
    AsyncConnection,
    Engine,
    AsyncEngine,
    sessionmaker,
    async_sessionmaker,
)
"""What leads to a database, and so is no part of what a call means."""

_TRANSLATE: Final = "schema_translate_map"
_OLD_SNAPSHOT: Final = "the transaction's snapshot is older than the stamps"


def is_handle(value: object) -> bool:
    """Return whether a value leads to a database."""
    return isinstance(value, HANDLES)


@dataclass(slots=True)
class Situation:
    """The sessions, connections and engines of one call.

    Attributes:
        core: the cache.
        attachments: all that the cache is attached to.
        given: the sessions as they were given, in the order of the parameters.
        sessions: the synchronous sessions behind them.
    """

    core: Core
    attachments: Sequence[Attachment]
    given: list[Any] = field(default_factory=list[Any])
    sessions: list[Session] = field(default_factory=list[Session])
    _connections: list[Connection] = field(default_factory=list[Connection])
    _engines: list[Engine] = field(default_factory=list[Engine])
    _unusable: str | None = None

    def add(self, handle: Any) -> None:
        """Take a session, connection, engine or sessionmaker into account."""
        kinds: Any = (scoped_session, async_scoped_session)
        if isinstance(handle, kinds):
            handle = handle()
        if isinstance(handle, AsyncSession):
            self.given.append(handle)
            self.sessions.append(handle.sync_session)
        elif isinstance(handle, Session):
            self.given.append(handle)
            self.sessions.append(handle)
        elif isinstance(handle, AsyncConnection):
            self._add_connection(handle.sync_connection)
        elif isinstance(handle, Connection):
            self._add_connection(handle)
        elif isinstance(handle, AsyncEngine):
            self._engines.append(handle.sync_engine)
        elif isinstance(handle, Engine):
            self._engines.append(handle)
        else:
            self._add_maker(handle)

    def _add_connection(self, connection: Connection | None) -> None:
        if connection is None or connection.closed or connection.invalidated:
            self._unusable = "its connection is not open"
        else:
            self._connections.append(connection)

    def _add_maker(self, maker: Any) -> None:
        binds: list[Any] = [maker.kw.get("bind"), *(maker.kw.get("binds") or {}).values()]
        for bind in binds:
            if bind is not None:
                self.add(bind)

    @property
    def is_empty(self) -> bool:
        """Whether the call is given nothing that leads to a database, so that it can be made again without the caller."""
        return not (self.given or self._connections or self._engines or self._unusable)

    @property
    def is_one_session(self) -> bool:
        """Whether the call is given a session and nothing else that leads to a database."""
        return len(self.given) == 1 and not (self._connections or self._engines or self._unusable)

    def unflushed(self) -> Iterator[Any]:
        """Yield the sessions, as they were given, whose pending changes a query would flush."""
        for given, session in zip(self.given, self.sessions, strict=True):
            if session.autoflush and session.is_active and not is_clean(session):
                yield given

    # ----------------------------------------------------------------------------------------------- judging

    def reason(self) -> str | None:
        """Return why the cache must be left out of this call, or ``None``."""
        if self._unusable:
            return self._unusable
        for session in self.sessions:
            reason = self._reason_of_session(session)
            if reason is not None:
                return reason
        for attachment, bind in self._places():
            if attachment is None or attachment.core is not self.core:
                return "it uses an engine that is not attached"
            reason = self._reason_of_bind(attachment, bind)
            if reason is not None:
                return reason
        return None

    def _reason_of_session(self, session: Session) -> str | None:
        if session.info.get(OPTION) is False:
            return "disabled for the session"
        if not session.is_active:
            return "the session's transaction has failed"
        if not is_clean(session):
            return "the session has changes that are not flushed"
        if not session_binds(session) or chooses_bind(session):
            databases = {attachment.database for attachment in self.attachments}
            return "the session chooses among several databases" if len(databases) > 1 else None
        return None

    @staticmethod
    def _reason_of_bind(attachment: Attachment, bind: Engine | Connection) -> str | None:
        if isinstance(bind, Connection):
            state = state_of(bind.connection)
            if state.altered:
                return f"connection state: {state.altered}"
            if state.settings is None:
                return UNKNOWN_STATE
            if state.manual:
                return "transaction begun by SQL text"
        view = _view(attachment, bind)
        return _OLD_SNAPSHOT if view is SnapshotView.TAKEN else None

    def may_serve(self) -> bool:
        """Return whether it is known what the key stands for, and that each statement of the call would see the newest data."""
        return not self._begin_in_their_own_way() and all(
            attachment is not None
            and is_initialized(attachment.dialect)
            and _view(attachment, bind) is SnapshotView.PER_STATEMENT
            for attachment, bind in self._places()
        )

    def _begin_in_their_own_way(self) -> bool:
        """Whether a connection that is still to begin may be given a tenant or a role, under which the key means something else."""
        if any(isinstance(bind, Engine) and attachment and attachment.alters for attachment, bind in self._places()):
            return True
        return any(
            watches_beginnings(session, bind, after_begin)
            for session in self.sessions
            if not session_connections(session)
            for bind in session_binds(session)
            if isinstance(bind, Engine)
        )

    # ----------------------------------------------------------------------------------------------- settling

    def is_unsettled(self) -> bool:
        """Return whether a connection's declared settings are part of the key, and have to be found out."""
        return bool(self.core.config.states) and (bool(self._altered()) or bool(self._to_begin()))

    def settle(self) -> None:
        """Let sessions begin that have no connection yet, and ask all connections whose settings may have changed."""
        with suppress(SQLAlchemyError):  # the function will meet it as well, or does not need the database
            for session, bind in self._to_begin():
                session.connection(bind_arguments={"bind": bind})
        for connection in self._altered():
            settings_of(connection)

    def settings(self) -> frozenset[Settings]:
        """Return the settings of the call's connections, which its key holds."""
        found = (state_of(connection.connection).settings for connection in self._altered())
        return frozenset(settings for settings in found if settings)

    def _altered(self) -> list[Connection]:
        return [
            bind
            for attachment, bind in self._places()
            if attachment is not None
            and isinstance(bind, Connection)
            and state_of(bind.connection).settings != NO_SETTINGS
        ]

    def _to_begin(self) -> list[tuple[Session, Engine]]:
        """Return the sessions whose connections may be told something when they begin."""
        found: list[tuple[Session, Engine]] = []
        for session in self.sessions:
            if session_connections(session) or not session.is_active:
                continue
            for bind in session_binds(session):
                attachment = attachment_of(bind.dialect) if isinstance(bind, Engine) else None
                if attachment and (attachment.alters or watches_beginnings(session, bind, after_begin)):
                    found.append((session, bind))
        return found

    def has_connection(self) -> bool:
        """Return whether the call has taken a connection from a pool before it began."""
        return any(isinstance(bind, Connection) for _, bind in self._places())

    def written(self) -> set[bytes]:
        """Return the stamps of what the call's transactions have written and not committed."""
        found: set[bytes] = set()
        for attachment, bind in self._places():
            if attachment is None or not isinstance(bind, Connection):
                continue
            effects = state_of(bind.connection).all_effects(attachment)
            found.update(stamp_names(self.core.config.namespace, effects))
        return found

    def identity(self) -> list[bytes]:
        """Return digests of the databases, of users and of schema translations, in the order of the parameters."""
        found: list[bytes] = []
        for bind in self._binds():
            attachment = attachment_of(bind.dialect)
            if attachment is not None:
                found.append(attachment.identity(bind.get_execution_options().get(_TRANSLATE)))
                if isinstance(bind, Connection) and (settings := state_of(bind.connection).settings):
                    found.append(digest_of(settings))
        return found

    # -------------------------------------------------------------------------------------------------- where

    def _binds(self) -> Iterator[Engine | Connection]:
        for session in self.sessions:
            connections = session_connections(session)
            yield from connections or session_binds(session)
        yield from self._connections
        yield from self._engines

    def _places(self) -> Iterator[tuple[Attachment | None, Engine | Connection]]:
        """Yield where statements of the call may run: the connections it has, and the engines it may take one from."""
        engines: list[Engine] = list(self._engines)
        connections: list[Connection] = list(self._connections)
        for session in self.sessions:
            own = session_connections(session)
            connections.extend(own)
            taken = {connection.engine for connection in own}
            for bind in session_binds(session):
                if isinstance(bind, Connection):
                    connections.append(bind)
                elif bind not in taken:
                    engines.append(bind)
        if not (engines or connections):
            yield from ((attachment, attachment.engine) for attachment in self.attachments)
        binds: list[Engine | Connection] = [*connections, *engines]
        for bind in dict.fromkeys(binds):
            yield attachment_of(bind.dialect), bind


def _view(attachment: Attachment, bind: Engine | Connection) -> SnapshotView | None:
    """Return how the snapshot of a statement to come relates to stamps captured now."""
    return snapshot_view(attachment, bind) if isinstance(bind, Connection) else snapshot_view(attachment, None, bind)
