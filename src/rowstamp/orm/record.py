"""Report to the cached functions under way what runs inside them: each statement's stamps, or why it spoils the result.

**Rows that were loaded before.** A session hands out what is in its identity map, as old as it may be: ``session.get`` and lazy
many-to-one loads ask no database for it, and a SELECT leaves loaded attributes as they are. Such a row was read before any stamp
of the call was captured, so a result made of it may be older than its stamps say. The rule, per call and session:

* what the call loads itself stands on stamps captured before: no question;
* a row found in the identity map from before is *verified*: its columns are read again, under captured stamps, and
  compared. The usual case, a user fetched early in the request, costs one SELECT per miss and nothing per hit. If the row has
  changed, is modified, or has relationships loaded (which may be as old), the result is not kept;
* a SELECT of entities from a table of which rows were loaded before may return those: the result is not kept. Selects of
  columns and aggregates do not look into the identity map, and ``populate_existing`` refreshes what it finds.

Rejected: never to store when anything is loaded (no request that fetches its user would ever fill), expiring the session (it is
the application's, and lazy loads fail under asyncio), and captures for every statement outside of calls (a round trip each).

Rows reached neither through a session nor through an argument (globals, closures) are hidden inputs, as for any cache of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy import inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rowstamp._sqlalchemy import (
    has_mapper_entities,
    in_greenlet,
    is_initializing,
    is_server_side,
    load_options,
    loaded_states,
)
from rowstamp.analysis.collect import table_key
from rowstamp.orm.attachment import Attachment, attachment_of
from rowstamp.orm.isolation import observe
from rowstamp.orm.option import OPTION
from rowstamp.orm.reads import Execution
from rowstamp.orm.replica import BEHIND, may_be_behind
from rowstamp.orm.settings import UNKNOWN_STATE, settings_of
from rowstamp.orm.shape import Stamped
from rowstamp.orm.transaction import TransactionState, state_of
from rowstamp.recording import Recorder, recorders, refuse, used_under

__all__ = [
    "found_in_identity_map",
    "meet_session",
    "record",
    "record_hit",
    "record_unattached",
    "verify_arguments",
    "verify_instance",
]

_WITHOUT_DEPENDENCIES: Final = "it reads no table"


@dataclass(slots=True)
class _Loaded:
    """What was in a session before a call: the identities of rows, and the names of their tables."""

    identities: set[Any] = field(default_factory=set[Any])
    tables: set[str] = field(default_factory=set[str])


# ------------------------------------------------------------------------------------------------- statements


Tell: TypeAlias = Callable[[Sequence[Sequence[Any]]], None]
"""Reports the rows that an execution has returned."""


def record(attachment: Attachment, connection: Connection, context: Any, sql: str, parameters: Any) -> Tell | None:
    """Report an execution that is about to be sent on a connection; its stamps are captured now.

    Args:
        attachment: the engine's attachment.
        connection: where it will run.
        context: SQLAlchemy's execution context.
        sql: the text.
        parameters: the parameters as the driver gets them.

    Returns:
        What to call with all rows of the result, as the driver gave them, if they may take the place of whole tables.
    """
    if is_initializing(connection):
        return None
    if context.isddl or context.isinsert or context.isupdate or context.isdelete or context.executemany:
        refuse("it writes")
        return None
    execution = Execution.sent(context, sql, parameters)
    shape = execution.shape(attachment)
    found = shape.dependencies(execution.values, execution.translate, ())
    state = state_of(connection.connection)
    settings = settings_of(connection)  # before the snapshot is looked at: to ask is to read
    view = observe(attachment, connection, state)
    if settings:
        used_under(settings)
    reason = UNKNOWN_STATE if settings is None else shape.analysis.refused or execution.moment(attachment)
    if reason is None or reason == _WITHOUT_DEPENDENCIES:
        reason = _reason_on(state, attachment, found.before_load)
    if reason is None and not view.may_fill:
        reason = "the transaction's snapshot is older than the stamps"
    if reason is not None:
        refuse(reason)
        return None
    _check_loaded(attachment, context, execution)
    _depend(attachment, found.stamps, found.unless_shown)
    if may_be_behind(attachment, connection, view):
        refuse(BEHIND)
    return _teller(found) if found.unless_shown and not is_server_side(context) else None


def _teller(found: Stamped) -> Tell:
    """Return what reports the rows of an execution to the calls that are under way now."""
    waiting = list(recorders())
    for recorder in waiting:
        recorder.load(found.unless_shown)

    def tell(rows: Sequence[Sequence[Any]]) -> None:
        instead = found.instead(rows)
        if instead is not None:
            for recorder in waiting:
                recorder.tell(found.unless_shown, instead.rows, guard=instead.guard, stays=instead.stays)

    return tell


def _reason_on(state: TransactionState, attachment: Attachment, dependencies: Collection[Any]) -> str | None:
    """Return why what is read on this connection cannot be kept."""
    if state.altered or state.altered_locally:
        return f"connection state: {state.altered or state.altered_locally}"
    if state.manual:
        return "transaction begun by SQL text"
    if state.meets(dependencies, attachment):
        return "own writes"
    return None


def _depend(attachment: Attachment, stamps: list[bytes], unless_shown: list[bytes]) -> None:
    """Capture the stamps that are not captured yet, once for all calls under way."""
    waiting: list[tuple[Recorder, list[bytes]]] = []
    for recorder in recorders():
        if recorder.owner is not attachment.core:
            recorder.refuse("it reads through another cache")
        elif recorder.reason is None:
            waiting.append((recorder, recorder.adopt(stamps, unless_shown)))
    missing = list(dict.fromkeys(stamp for _, wanted in waiting for stamp in wanted))
    if not missing:
        return
    tokens = attachment.core.capture(missing)
    for recorder, wanted in waiting:
        if tokens is None:
            recorder.refuse("a stamp is held or the store is down")
        else:
            recorder.add({stamp: tokens[stamp] for stamp in wanted}, unless_shown)


def record_hit(attachment: Attachment, context: Any, connection: Connection | None) -> None:
    """Report a statement that is served from the cache, on a session's connection if it has one; its tokens have been noted."""
    settings = None if connection is None else state_of(connection.connection).settings
    if settings:
        used_under(settings)
    _check_loaded(attachment, context, Execution.of(context))


def record_unattached(bind: Any) -> None:
    """Report a session that is about to use an engine on which nothing can be noticed."""
    if attachment_of(bind.dialect) is None:
        refuse("it reads through an engine that is not attached")


# ---------------------------------------------------------------------------------------- rows loaded before


def meet_session(session: Session) -> None:
    """Remember what a session has loaded, before the calls under way use it for the first time."""
    for recorder in recorders():
        _loaded_before(recorder, session)


def _loaded_before(recorder: Recorder, session: Session) -> _Loaded:
    known: Any = recorder.sessions.get(session)
    if known is None:
        known = _Loaded()
        for state in loaded_states(session):
            known.identities.add(state.key)
            known.tables.update(table.name.lower() for table in state.mapper.tables)
        recorder.sessions[session] = known
    return known  # type: ignore[no-any-return]


def _check_loaded(attachment: Attachment, context: Any, execution: Execution) -> None:
    """Refuse entities of which the identity map may give out older versions."""
    options = execution.options
    if not has_mapper_entities(context) or options.get("populate_existing"):
        return
    if getattr(load_options(options), "_populate_existing", False):
        return
    names: set[str] | None = None
    for recorder in recorders():
        for loaded in recorder.sessions.values():
            tables: set[str] = getattr(loaded, "tables", set())
            if not tables:
                continue
            names = _table_names(attachment, execution) if names is None else names
            if not names.isdisjoint(tables):
                recorder.refuse(f"rows of {min(names & tables)} were loaded before the call")


def _table_names(attachment: Attachment, execution: Execution) -> set[str]:
    reads = execution.shape(attachment).analysis.reads
    return {(read.table if isinstance(read.table, tuple) else table_key(read.table))[1].lower() for read in reads}


def found_in_identity_map(session: Session, instance: object, *, sql_allowed: bool) -> None:
    """Report a row that a session found in its identity map, without asking the database."""
    state: Any = inspect(instance)
    for recorder in recorders():
        loaded = _loaded_before(recorder, session)
        if state.key not in loaded.identities:
            continue
        if sql_allowed and recorder.reason is None and verify_instance(session, state):
            loaded.identities.discard(state.key)
        else:
            recorder.refuse(f"{state.mapper.class_.__name__} was loaded before the call and cannot be verified")


def verify_arguments(entities: Iterable[Any]) -> None:
    """Report entities that a call is given. What is loaded of them may go into the result, without any statement."""
    for entity in entities:
        state: Any = inspect(entity)
        if state.expired:
            continue  # whatever is asked of it will be loaded, and recorded
        if state.session is None:
            refuse(f"a detached {type(entity).__name__} is an argument, which cannot be verified")
        else:
            found_in_identity_map(state.session, entity, sql_allowed=True)


def verify_instance(session: Session, state: Any) -> bool:
    """Return whether a row in a session is as it is in the database, read now under captured stamps."""
    mapper, values = state.mapper, state.dict
    if state.modified or state.key is None or any(key in values for key in mapper.relationships.keys()):  # noqa: SIM118
        return False
    if session.get_bind(mapper).dialect.is_async and not in_greenlet():
        return False
    keys = [attribute.key for attribute in mapper.column_attrs if attribute.key in values]
    attributes = [getattr(mapper.class_, key) for key in keys]
    identity = zip(mapper.primary_key, state.key[1], strict=True)
    statement = select(*attributes).where(*(column == value for column, value in identity))
    try:
        with session.no_autoflush:
            row = session.execute(statement, execution_options={OPTION: False}).one_or_none()
    except SQLAlchemyError:
        return False
    if row is None:
        return False
    pairs = [(values[key], now) for key, now in zip(keys, row, strict=True)]
    return all(type(old) is type(now) and old == now for old, now in pairs)
