"""Decide whether one execution of a statement may be served from the cache, and serve or fill it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from sqlalchemy.engine import Connection

from rowstamp._sqlalchemy import await_in_greenlet, has_rendered_values, is_server_side, load_options, parameter_values
from rowstamp.analysis.moments import names_moment, shows_moment
from rowstamp.analysis.reads import ReadAnalysis
from rowstamp.entry import StoredEntry
from rowstamp.errors import CorruptEntry, UncacheableValue
from rowstamp.freshness import Freshness
from rowstamp.keys import entry_key
from rowstamp.near import NearCache
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.isolation import observe
from rowstamp.orm.option import requested
from rowstamp.orm.replay import ReplayCursor, Rows, decode_result, encode_result
from rowstamp.orm.replica import BEHIND, may_be_behind
from rowstamp.orm.rewritten import has_other_values, is_rewritten
from rowstamp.orm.settings import UNKNOWN_STATE, settings_of
from rowstamp.orm.shape import Shape, Stamped
from rowstamp.orm.sharing import take_turn
from rowstamp.orm.transaction import NO_SETTINGS, TransactionState, state_of
from rowstamp.protocol import Hit, SnapshotView, Ticket
from rowstamp.stampede import Staleness

__all__ = [
    "PREPARED",
    "RENEW",
    "Bypass",
    "Execution",
    "Marker",
    "Prepared",
    "count_miss",
    "executed_for",
    "in_turn",
    "lookup",
    "prepare",
    "serve_or_fill",
]

T = TypeVar("T")

PREPARED: Final = "_rowstamp"
"""The execution option by which a decision made before a connection was there travels to where the statement is sent."""

RENEW: Final = "_rowstamp_renew"
"""The execution option of a statement that is executed, whatever is stored, to be stored anew."""

HIT_OPTION: Final = "rowstamp_hit"
"""The execution option that marks an execution on a Connection that was served without asking the database."""


class Marker(enum.Enum):
    """What to do with a statement on its connection, when nothing is prepared for it."""

    ASK = "ask"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a statement, as it is about to be sent.

    Attributes:
        statement: the statement as it was given.
        compiled: its compiled form, or ``None`` for SQL given to the driver.
        sql: the text.
        parameters: the parameters as the driver gets them.
        values: the parameters before that, by name.
        options: the execution options.
        rewritten: whether a listener has put another text, or other values, in the place of what was compiled.
    """

    statement: Any
    compiled: Any
    sql: str
    parameters: Any
    values: Mapping[str, Any]
    options: Mapping[str, Any]
    rewritten: bool = False

    @classmethod
    def of(cls, context: Any) -> Execution:
        """Return what an execution context of a compiled statement would send."""
        return cls.sent(context, context.statement, context.parameters[0])

    @classmethod
    def sent(cls, context: Any, sql: str, parameters: Any) -> Execution:
        """Return what an execution context is about to send, listeners having had their say."""
        compiled = context.compiled
        values: Mapping[str, Any] = parameter_values(context)[0] if compiled is not None else {}
        rewritten = is_rewritten(sql, context.statement) or has_other_values(parameters, context.parameters[0])
        return cls(context.invoked_statement, compiled, sql, parameters, values, context.execution_options, rewritten)

    @property
    def translate(self) -> Mapping[Any, Any] | None:
        """The ``schema_translate_map`` in force."""
        return self.options.get("schema_translate_map")

    def moment(self, attachment: Attachment) -> str | None:
        """Return why the result ends by itself: PostgreSQL reads ``'today'``, given for a date, as the day of the execution."""
        if attachment.dialect.name == "postgresql" and (
            names_moment(self.parameters) or (has_rendered_values(self.compiled) and shows_moment(self.sql))
        ):
            return "a parameter may mean the present moment"
        return None

    def shape(self, attachment: Attachment) -> Shape:
        """Return what is known of the statement's shape."""
        if self.compiled is None or self.compiled.isplaintext or self.rewritten:
            return attachment.text_shape(self.sql)
        return attachment.shape(self.compiled, self.statement)


@dataclass(frozen=True, slots=True)
class Bypass:
    """To the database, without touching the cache."""

    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A read that may be cached.

    Attributes:
        entry: the key of its entry.
        found: what its result depends on.
        ttl: how long the result may live, in seconds.
        freshness: how fresh a hit has to be; ``None`` for what the cache says.
        ticket: the right to fill it, once a lookup has missed.
        stale: what of an old result may be served.
        old: the entry that the lookup has found and that is not valid.
        unchanged: whether that is so because its time to live is over, and not because of a write.
        renew: whether it is executed whatever is stored.
        missed: whether the lookup would have served it. Not counted yet: another's load may turn it into a hit.
    """

    entry: bytes
    found: Stamped
    ttl: float
    freshness: Freshness | None = None
    ticket: Ticket | None = None
    stale: Staleness = Staleness()  # noqa: RUF009 - frozen
    old: StoredEntry | None = None
    unchanged: bool = False
    renew: bool = False
    missed: bool = False


def prepare(
    attachment: Attachment, execution: Execution, connection: Connection | None = None
) -> Prepared | Bypass | None:
    """Return how an execution may be cached as far as the statement tells, or ``None`` if nobody asked for it.

    Args:
        attachment: the engine's attachment.
        execution: what is to be executed.
        connection: where, if that is known.

    Raises:
        ConfigurationError: the execution option is neither ``cached(...)`` nor ``False``.
    """
    option = requested(execution.statement, execution.options)
    core = attachment.core
    if option is False or (option is None and not core.policies):
        return None
    shape = execution.shape(attachment)
    if option is None:
        option = shape.policy_option(core.policies)
        if option is None:
            return None
    reason = _reason_against(attachment, execution, shape.analysis)
    if reason is not None:
        return Bypass(reason)
    settings = NO_SETTINGS if connection is None else settings_of(connection)
    if settings is None:
        return Bypass(UNKNOWN_STATE)
    try:
        entry = _entry(attachment, execution, shape, (option.vary, settings))
    except UncacheableValue as exc:
        return Bypass(f"a parameter cannot be part of a key: {exc.reason}")
    found = shape.dependencies(execution.values, execution.translate, option.tags, shape.ignored(core.policies))
    return Prepared(
        entry,
        found,
        option.ttl or core.config.ttl,
        option.freshness,
        stale=option.stale,
        renew=bool(execution.options.get(RENEW)),
    )


def _reason_against(attachment: Attachment, execution: Execution, analysis: ReadAnalysis) -> str | None:
    options = execution.options
    if not attachment.core.enabled:
        return "disabled"
    if options.get("stream_results") or options.get("yield_per"):
        return "streaming"
    orm = load_options(options)
    if options.get("populate_existing") or getattr(orm, "_populate_existing", False):
        return "populate_existing"
    if getattr(orm, "_is_user_refresh", False):
        return "refresh"
    return analysis.refused or execution.moment(attachment)


def _entry(attachment: Attachment, execution: Execution, shape: Shape, vary: object) -> bytes:
    config = attachment.core.config
    return entry_key(
        config.namespace,
        (attachment.identity(execution.translate), shape.fingerprint),
        execution.sql,
        _plain(execution.parameters),
        vary=(vary, config.varied()),
    )


def _plain(parameters: Any) -> object:
    """Return parameters in the containers that keys are made of, whatever mapping or sequence the dialect uses."""
    if isinstance(parameters, Mapping):
        return dict(parameters)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return tuple(parameters) if parameters is not None else ()


def lookup(
    attachment: Attachment, prepared: Prepared, state: TransactionState | None, view: SnapshotView
) -> ReplayCursor | Prepared | Bypass:
    """Return a cursor over cached rows, or the prepared read with its ticket, or why neither.

    Args:
        attachment: the engine's attachment.
        prepared: the read.
        state: what its transaction has written, if it has a connection.
        view: how its snapshot relates to stamps captured now.
    """
    if not (view.may_serve or view.may_fill):
        return Bypass("the transaction's snapshot is older than the stamps")
    if state is not None:
        if state.altered or state.altered_locally:
            return Bypass(f"connection state: {state.altered or state.altered_locally}")
        if state.manual:
            return Bypass("transaction begun by SQL text")
        if state.meets(prepared.found.before_load, attachment):
            return Bypass("own writes")
    return _look(attachment, prepared, view)


def in_turn(
    attachment: Attachment, state: TransactionState | None, look: Callable[[], T]
) -> tuple[T, AbstractContextManager[None]]:
    """Look a read up, once more if another session was just loading it; return what was found, and the context in which to load.

    Args:
        attachment: the engine's attachment.
        state: what its transaction has written, if it has a connection.
        look: looks it up.
    """
    found = look()
    if not isinstance(found, Prepared) or not found.missed or found.ticket is None:
        return found, nullcontext()
    turn = take_turn(attachment, found.entry, state)
    return (look(), nullcontext()) if turn is None else (found, turn)


def count_miss(attachment: Attachment, prepared: Prepared) -> None:
    """Count a read that was looked up in vain and is going to the database."""
    if prepared.missed:
        attachment.core.counters.count("misses")


def _look(attachment: Attachment, prepared: Prepared, view: SnapshotView) -> ReplayCursor | Prepared:
    core, stamps, guard = attachment.core, prepared.found.stamps, prepared.found.unless_shown
    serve = view.may_serve and not prepared.renew
    outcome = core.lookup(prepared.entry, stamps, serve=serve, freshness=prepared.freshness, guard=guard)
    if isinstance(outcome, Hit):
        try:
            return _cursor(core.near, prepared.entry, outcome)
        except CorruptEntry:
            core.counters.count("corrupt")
            outcome = core.lookup(prepared.entry, stamps, serve=False, guard=guard)
    if isinstance(outcome, Hit):
        return replace(prepared, ticket=None)
    old = outcome.stale if prepared.stale.longest else None
    return replace(prepared, ticket=outcome.ticket, old=old, unchanged=outcome.unchanged, missed=serve)


def _cursor(near: NearCache | None, entry: bytes, hit: Hit) -> ReplayCursor:
    """Return a cursor over the rows of a hit, which are decoded once for all its readers if nobody can change them.

    Raises:
        CorruptEntry: what was stored is no result.
    """
    decoded = hit.stored.decoded
    if isinstance(decoded, Rows):
        return decoded.cursor()
    rows = decode_result(hit.body)
    if near is not None:
        size = rows.size_if_immutable()
        if size is not None:
            near.share(entry, hit.stored, rows, size)
    return rows.cursor()


# ------------------------------------------------------------------------------------------- on a connection


def serve_or_fill(
    attachment: Attachment, connection: Connection, context: Any, execution: Execution, execute: Callable[[], None]
) -> bool:
    """Serve a read that reached its connection, or execute it and store what it returned.

    Args:
        attachment: the engine's attachment.
        connection: where the statement is about to run.
        context: SQLAlchemy's execution context.
        execution: what is about to be sent.
        execute: sends it.

    Returns:
        Whether the statement was executed or needs no execution.
    """
    marker = context.execution_options.get(PREPARED)
    if marker is Marker.SKIP or (marker is None and not attachment.serves) or not attachment.core.enabled:
        return False
    decision = prepare(attachment, execution, connection)
    if decision is None:
        return False
    state = state_of(connection.connection)
    view = observe(attachment, connection, state)
    turn: AbstractContextManager[None] = nullcontext()
    found: ReplayCursor | Prepared | Bypass
    if isinstance(marker, Prepared):
        found = _confirm(marker, decision, state, view, attachment)
    elif isinstance(decision, Bypass) or is_server_side(context):
        found = decision if isinstance(decision, Bypass) else Bypass("streaming")
    else:
        found, turn = in_turn(attachment, state, lambda: lookup(attachment, decision, state, view))
    if isinstance(found, Bypass):
        attachment.core.counters.bypass(found.reason)
        return False
    if isinstance(found, ReplayCursor):
        _serve(attachment, context, found)
        return True
    with turn:
        if not isinstance(marker, Prepared):  # that one was counted where it was looked up
            count_miss(attachment, found)
        if found.ticket is not None and may_be_behind(attachment, connection, view):
            attachment.core.counters.bypass(BEHIND)
            found = replace(found, ticket=None)
        _execute_and_fill(attachment, context, found, execute)
    return True


def _serve(attachment: Attachment, context: Any, found: ReplayCursor) -> None:
    """Let an execution on a Connection go on with cached rows."""
    context.execution_options = context.execution_options.union({HIT_OPTION: True})
    if attachment.dialect.is_async:
        # An AsyncConnection takes an execution that waits for nothing for a sign of a synchronous driver.
        await_in_greenlet(_no_wait())
    _swap_cursor(context, found)


async def _no_wait() -> None:
    """Complete at once."""


def _confirm(
    marker: Prepared,
    decision: Prepared | Bypass,
    state: TransactionState,
    view: SnapshotView,
    attachment: Attachment,
) -> Prepared | Bypass:
    """Check that what was prepared without a connection is what is being sent, and that it may still be stored."""
    if isinstance(decision, Bypass):
        return decision
    if decision.entry != marker.entry:
        return Bypass("the statement was rewritten on its way")
    if (
        not view.may_fill
        or state.altered
        or state.altered_locally
        or state.manual
        or state.meets(marker.found.before_load, attachment)
    ):
        return replace(marker, ticket=None)
    return marker


def _execute_and_fill(attachment: Attachment, context: Any, prepared: Prepared, execute: Callable[[], None]) -> None:
    core = attachment.core
    started = core.clock()
    execute()
    cursor = context.cursor
    description = cursor.description
    if description is None:
        return
    rows = cursor.fetchall()
    load_time = core.clock() - started
    rowcount = cursor.rowcount  # before it is closed: some drivers forget it then
    _swap_cursor(context, ReplayCursor(rows, description, rowcount))
    if prepared.ticket is None:
        return
    try:
        body = encode_result(description, rows, rowcount)
    except UncacheableValue as exc:
        core.counters.bypass(exc.reason)
        return
    core.fill(
        prepared.ticket,
        body,
        ttl=prepared.ttl,
        load_time=load_time,
        linger=prepared.stale.longest,
        instead=prepared.found.instead(rows),
    )


def executed_for(context: Any, execute: Callable[[], None], tell: Callable[[Sequence[Sequence[Any]]], None]) -> None:
    """Execute a statement all of whose rows are read at once and told, and then given out as if they had not been read."""
    execute()
    cursor = context.cursor
    if cursor.description is not None:
        rows = cursor.fetchall()
        _swap_cursor(context, ReplayCursor(rows, cursor.description, cursor.rowcount))
        tell(rows)


def _swap_cursor(context: Any, replay: ReplayCursor) -> None:
    """Put a cursor over rows in memory in the place of the driver's, which is closed: nobody else would."""
    real = context.cursor
    replay.connection = getattr(real, "connection", None)
    replay.arraysize = getattr(real, "arraysize", 1)
    context.cursor = replay
    real.close()
