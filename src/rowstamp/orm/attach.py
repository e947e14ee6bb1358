"""Put a cache on an engine and take it off again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from rowstamp._sqlalchemy import is_server_side
from rowstamp._sqlalchemy.connecting import opening_arguments
from rowstamp.orm.attachment import Attachment, register, unregister
from rowstamp.orm.collations import ask_for_collations
from rowstamp.orm.images import OWN
from rowstamp.orm.raw import note_release, note_savepoint, note_text
from rowstamp.orm.reads import Execution, executed_for, serve_or_fill
from rowstamp.orm.record import record
from rowstamp.orm.replay import ReplayCursor
from rowstamp.orm.transaction import guard_commits, state_of, unguard_commits
from rowstamp.orm.writes import note_ddl, note_dml, note_result, note_select
from rowstamp.recording import active

__all__ = ["install", "remove"]

_NAMED: Final = "_rowstamp_named"
"""Where a connection that is being opened keeps the named arguments of the driver."""


def install(attachment: Attachment) -> None:
    """Have every execution and every commit of the engine pass by the cache."""
    dialect: Any = attachment.dialect

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        def execute() -> None:
            if not _others(attachment, "do_execute", cursor, statement, parameters, context):
                dialect.do_execute(cursor, statement, parameters, context)

        return _handle(attachment, statement, parameters, context, execute)

    def do_executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        def execute() -> None:
            if not _others(attachment, "do_executemany", cursor, statement, parameters, context):
                dialect.do_executemany(cursor, statement, parameters, context)

        return _handle(attachment, statement, parameters, context, execute)

    def do_execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
        def execute() -> None:
            if not _others(attachment, "do_execute_no_params", cursor, statement, context):
                dialect.do_execute_no_params(cursor, statement, context)

        return _handle(attachment, statement, (), context, execute)

    def after_execute(connection: Connection, _1: Any, _2: Any, _3: Any, _4: Any, result: Any) -> None:
        note_result(attachment, connection, result)

    def do_connect(_dialect: Any, record: Any, _arguments: Any, named: dict[str, Any]) -> None:
        if record is not None:
            record.info[_NAMED] = named  # which listeners that come after this one may still change

    def connect(connection: Any, record: Any) -> None:
        named = record.info.pop(_NAMED, None)
        if named is not None:
            attachment.tell(named)
        if dialect.name == "postgresql":
            ask_for_collations(dialect, connection)

    for listener in (do_execute, do_executemany, do_execute_no_params, after_execute, do_connect, connect):
        attachment.listeners[listener.__name__] = listener
        event.listen(attachment.engine, listener.__name__, listener)
    # Its pool may hold connections that were opened before.
    attachment.tell(opening_arguments(attachment.engine))
    guard_commits(attachment)
    register(attachment)


def remove(attachment: Attachment) -> None:
    """Undo :func:`install`."""
    for name, listener in attachment.listeners.items():
        if event.contains(attachment.engine, name, listener):
            event.remove(attachment.engine, name, listener)
    attachment.listeners.clear()
    unguard_commits(attachment.dialect)
    unregister(attachment)


def _others(attachment: Attachment, name: str, *arguments: Any) -> bool:
    """Ask the listeners that come after ours; return whether one of them has executed the statement."""
    dialect: Any = attachment.dialect
    own, after = attachment.listeners.get(name), False
    for listener in getattr(dialect.dispatch, name):
        if after and listener(*arguments):
            return True
        after = after or listener is own
    return False


def _handle(
    attachment: Attachment, sql: str, parameters: Any, context: Any, execute: Callable[[], None]
) -> bool | None:
    """Return ``True`` if the execution has taken place or is not needed."""
    if OWN in context.execution_options:
        return None
    connection: Connection = context.root_connection
    state = state_of(connection.connection)
    state.executing(attachment, context)
    try:
        return _dispatch(attachment, connection, sql, parameters, context, execute)
    finally:
        state.spoken = True
        if not isinstance(context.cursor, ReplayCursor) and (
            not attachment.dialect.is_async or is_server_side(context)
        ):
            state.left_open = True  # asynchronous drivers read all rows at once, unless they are streamed


def _dispatch(
    attachment: Attachment,
    connection: Connection,
    sql: str,
    parameters: Any,
    context: Any,
    execute: Callable[[], None],
) -> bool | None:
    compiled = context.compiled
    tell = record(attachment, connection, context, sql, parameters) if active() is not None else None
    if tell is not None:
        execute = partial(executed_for, context, execute, tell)
    if compiled is not None and context.isddl:
        return note_ddl(attachment, connection, context, sql, execute) or None
    if context.isinsert or context.isupdate or context.isdelete:
        return note_dml(attachment, connection, context, sql, parameters, execute) or None
    if compiled is not None and isinstance(compiled.statement, RollbackToSavepointClause):
        state_of(connection.connection).undone()
        return None
    if compiled is not None and isinstance(compiled.statement, SavepointClause):
        note_savepoint(attachment, connection)
        return None
    if compiled is not None and isinstance(compiled.statement, ReleaseSavepointClause):
        return note_release(attachment, connection, execute) or None
    if context.executemany:
        return note_text(attachment, connection, sql, execute, parameters) or None
    execution = Execution.sent(context, sql, parameters)
    if serve_or_fill(attachment, connection, context, execution, execute):
        return True
    if compiled is None or compiled.isplaintext:
        return note_text(attachment, connection, sql, execute, parameters) or None
    analysis = execution.shape(attachment).analysis
    if note_select(attachment, connection, analysis, execution, execute):
        return True
    if tell is not None:
        execute()
    return tell is not None or None
