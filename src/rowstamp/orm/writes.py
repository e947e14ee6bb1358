"""Notice what compiled statements change: unit of work, bulk, Core and DDL all pass here, on their connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Sequence
from sqlalchemy.engine import Connection
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.types import TypeEngine

from rowstamp._sqlalchemy import is_table, parameter_values, table_prefixes
from rowstamp._sqlalchemy.inserted import inserted_keys, returned_defaults
from rowstamp._sqlalchemy.upserts import in_batches
from rowstamp.analysis.cascades import fates
from rowstamp.analysis.collect import TableKey, table_key
from rowstamp.analysis.effects import awaited_keys, effects
from rowstamp.analysis.functions import ALTERING
from rowstamp.analysis.images import Image, ImagePlan
from rowstamp.analysis.inserted import Inserted
from rowstamp.analysis.reads import Access, ReadAnalysis
from rowstamp.analysis.schema import schema_of
from rowstamp.analysis.tables import acting_keys
from rowstamp.analysis.upserts import Upsert
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment, Rights
from rowstamp.orm.cascades import follow
from rowstamp.orm.consequences import called_effects, named_effects, warn_of_everything, with_consequences
from rowstamp.orm.images import ask, inserted, rights_of, upserted
from rowstamp.orm.publishing import Execute, is_alone, publish, publish_definition
from rowstamp.orm.raw import commit_what_is_open, note_text
from rowstamp.orm.reads import Execution
from rowstamp.orm.rewritten import has_other_values, is_rewritten
from rowstamp.orm.settings import alter, may_alter
from rowstamp.orm.transaction import TransactionState, state_of

__all__ = ["note_ddl", "note_dml", "note_result", "note_select"]


def note_dml(
    attachment: Attachment, connection: Connection, context: Any, sql: str, parameters: Any, execute: Execute
) -> bool:
    """Note an INSERT, UPDATE or DELETE; return whether it was executed here: because it commits by itself, or to count its rows."""
    shape = attachment.writes(context.compiled)
    if shape is None or _is_rewritten(context, sql, parameters):
        return note_text(attachment, connection, sql, execute, context.parameters[0])
    state = state_of(connection.connection)
    alone = is_alone(attachment, connection, sql)
    if state.noted is context and not alone:
        return False  # a further batch of the same INSERT
    state.noted = context
    analysis, plan = shape
    translate = context.execution_options.get("schema_translate_map")
    values = parameter_values(context)
    awaited = () if alone else awaited_keys(analysis, values, attachment.dialect)
    called = _called(attachment, state, context, sql)
    image = (
        ask(attachment, connection, state, plan, values, translate)
        if isinstance(plan, ImagePlan) and not alone
        else None
    )
    followed: set[Dependency] | None = None
    if image is not None and acting_keys(image.plan.table.name):
        rows = fates(analysis, image, values, attachment.dialect)
        followed = follow(attachment, connection, image.plan.table, rows, translate)

    def found(image: Image | None) -> set[Dependency]:
        scope, dialect = attachment.scope, attachment.dialect
        known = effects(
            analysis, values, scope=scope, dialect=dialect, translate=translate, awaited=awaited, image=image,
            followed=None if image is None else followed,
        )  # fmt: skip
        return known | called

    if image is not None:
        rights = rights_of(attachment, connection, image.plan.table, image.plan.question, translate)
        _write_with_image(attachment, state, context, image, found, execute, rights)
        return True
    if isinstance(plan, Upsert) and not (alone or awaited or (plan.skips and in_batches(context))):
        wrote: set[Dependency] | None = None
        try:
            execute()
            wrote = upserted(attachment, connection, state, plan, values, translate, none=_wrote_none(context))
        finally:
            state.touch(with_consequences(attachment, found(None) if wrote is None else wrote | called))
        return True
    if awaited:
        asks = plan if isinstance(plan, Upsert) else None
        state.insert = context, Inserted(analysis, awaited, values, asks, translate)
    return publish(attachment, connection, found(None), execute, alone=alone)


def _is_rewritten(context: Any, sql: str, parameters: Any) -> bool:
    if in_batches(context):
        return is_rewritten(sql, context.statement, in_batches=True)
    given = context.parameters if context.executemany else context.parameters[0]
    return is_rewritten(sql, context.statement) or has_other_values(parameters, given)


def note_result(attachment: Attachment, connection: Connection, result: Any) -> None:
    """Note what an INSERT has answered of its rows, and ask for the keys that are still unknown."""
    context = getattr(result, "context", None)
    if not getattr(context, "isinsert", False):
        return
    state = state_of(connection.connection)
    insert = state.awaited(context)
    if insert is None:
        return
    insert.answered(inserted_keys(context), returned_defaults(context))
    try:
        inserted(attachment, connection, state, insert)
    finally:
        state.settle(attachment)


def _called(attachment: Attachment, state: TransactionState, context: Any, sql: str) -> set[Dependency]:
    """Return what the functions that DML calls may change besides; one may also alter the connection."""
    called = attachment.called_by(context.compiled)
    if called is not None and not called.isdisjoint(ALTERING):
        alter(attachment, state, sql, context.parameters[0])
        called -= ALTERING
    found = called_effects(attachment, called, sql)
    if Dependency.everything() in found:
        may_alter(attachment, state)
    return found


def _write_with_image(
    attachment: Attachment,
    state: TransactionState,
    context: Any,
    image: Image,
    found: Callable[[Image | None], set[Dependency]],
    execute: Execute,
    rights: Rights,
) -> None:
    """Execute a write, and touch what its image shows if it wrote no other rows."""
    shown: Image | None = None
    try:
        execute()
        if attachment.dialect.name == "sqlite" or image.shows_all(_written(context), plain=rights is Rights.PLAIN):
            shown = image  # in SQLite nobody else can have written anything since
    finally:
        # Without the image if it failed: nothing says whether it was executed.
        state.touch(with_consequences(attachment, found(shown)))


def _wrote_none(context: Any) -> bool:
    """Whether an INSERT has made no row. One that returns rows may not have been carried out until they are read (SQLite)."""
    return context.cursor.description is None and _written(context) == 0


def _written(context: Any) -> int:
    """Return how many rows were written, or -1 if the driver does not say."""
    if context.executemany and context.dialect.driver not in _ADDS_UP:
        return -1
    return int(context.cursor.rowcount)


_ADDS_UP: Final = frozenset({"psycopg", "pymysql", "asyncmy", "aiomysql", "mysqldb"})
"""Drivers that count the rows of all sets of parameters, and not those of the last one."""


def note_select(
    attachment: Attachment,
    connection: Connection,
    analysis: ReadAnalysis,
    execution: Execution,
    execute: Execute,
) -> bool:
    """Note a SELECT that may write or alter its connection: DML in its CTEs, ``set_config``, an unknown function."""
    if analysis.alters:
        alter(attachment, state_of(connection.connection), execution.sql, execution.parameters)
    if analysis.access is Access.READS:
        return False
    found: set[Dependency] = set()
    for table in analysis.writes:
        found |= named_effects(attachment, *_schema_and_name(table, execution.translate), execution.translate)
    if not found:
        found = warn_of_everything(execution.sql, f"{analysis.refused}; cache.declare() says what functions do")
    return publish(attachment, connection, found, execute, alone=is_alone(attachment, connection, execution.sql))


def note_ddl(attachment: Attachment, connection: Connection, context: Any, sql: str, execute: Execute) -> bool:
    """Note a DDL construct."""
    subject: Any = getattr(context.compiled.statement, "element", None)
    table = subject if is_table(subject) else getattr(subject, "table", None)
    if isinstance(subject, Sequence | TypeEngine):
        return commit_what_is_open(attachment, state_of(connection.connection), execute)
    if not is_table(table):
        return note_text(attachment, connection, sql, execute)
    state = state_of(connection.connection)
    if any("TEMP" in str(prefix).upper() for prefix in table_prefixes(table)):
        state.altered = f"temporary table {table.name}"
        attachment.alters = True
    translate: Mapping[Any, Any] | None = context.execution_options.get("schema_translate_map")
    found = named_effects(attachment, schema_of(table, translate), table.name, translate)
    alone = is_alone(attachment, connection, sql)
    return publish_definition(attachment, connection, found, execute, alone=alone, defines=True)


def _schema_and_name(table: FromClause | TableKey, translate: Any) -> tuple[str | None, str]:
    if isinstance(table, tuple):
        return table
    return schema_of(table, translate), table_key(table)[1]
