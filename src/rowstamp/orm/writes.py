"""Notice what statements change: unit of work, bulk, Core, raw SQL and DDL all pass here, on their connection."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy.engine import Connection
from sqlalchemy.sql.expression import FromClause

from rowstamp._sqlalchemy import is_table, table_prefixes
from rowstamp.analysis.collect import TableKey, table_key
from rowstamp.analysis.reads import Access, ReadAnalysis
from rowstamp.analysis.schema import schema_of
from rowstamp.analysis.text import TextFacts, TextKind, parse_text
from rowstamp.analysis.writes import effects, inserted_effects, wide_effects
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.isolation import autocommits
from rowstamp.orm.transaction import TransactionState, commit_state, state_of

__all__ = ["RowstampWarning", "note_ddl", "note_dml", "note_select", "note_text"]

INSERT_LIMIT: Final = 1024
"""Most INSERTs of one transaction whose server-generated keys are looked up at commit."""

Execute = Callable[[], None]
_EVERYTHING: Final = frozenset({Dependency.everything()})


class RowstampWarning(UserWarning):
    """A statement whose effects could not be told, so that it invalidates the whole namespace."""


def note_dml(attachment: Attachment, connection: Connection, context: Any, sql: str, execute: Execute) -> bool:
    """Note an INSERT, UPDATE or DELETE; return whether it was executed here because it commits by itself."""
    state = state_of(connection.connection)
    if state.inserts and state.inserts[-1][0] is context:
        return False  # a further batch of the same INSERT
    analysis = attachment.writes(context.compiled)
    translate = context.execution_options.get("schema_translate_map")
    scope, dialect = attachment.scope, attachment.dialect
    found = effects(analysis, context.compiled_parameters, scope=scope, dialect=dialect, translate=translate)
    alone = not state.manual and autocommits(attachment, connection, _verb(sql))
    if analysis.awaits_result and (alone or len(state.inserts) >= INSERT_LIMIT):
        found |= inserted_effects(analysis, None, scope=scope, dialect=dialect, translate=translate)
    elif analysis.awaits_result:
        state.inserts.append((context, analysis, translate))
    return _note(attachment, state, found, execute, alone=alone)


def note_select(
    attachment: Attachment, connection: Connection, analysis: ReadAnalysis, sql: str, translate: Any, execute: Execute
) -> bool:
    """Note a SELECT that may write: DML in its CTEs, or a function that nothing is known of."""
    if analysis.access is Access.READS:
        return False
    state = state_of(connection.connection)
    found: set[Dependency] = set()
    for table in analysis.writes:
        found |= wide_effects(*_schema_and_name(table, translate), attachment.scope)
    alone = not state.manual and autocommits(attachment, connection, _verb(sql))
    return _note(attachment, state, found or set(_EVERYTHING), execute, alone=alone)


def note_text(attachment: Attachment, connection: Connection, sql: str, execute: Execute) -> bool:
    """Note raw SQL."""
    facts = parse_text(sql, attachment.dialect.name)
    state = state_of(connection.connection)
    if facts.understood and facts.kind in _NOTE_ONLY:
        _NOTE_ONLY[facts.kind](state, sql)
        return False
    if facts.understood and facts.kind is TextKind.COMMIT:
        commit_state(attachment, state, execute)
        return True
    if facts.understood and facts.kind is TextKind.ROLLBACK:
        execute()
        state.ended()
        return True
    found = _text_effects(attachment, facts, sql)
    if not found:
        return False
    alone = not state.manual and autocommits(attachment, connection, _verb(sql))
    return _note_definition(attachment, state, found, execute, alone=alone, defines=facts.kind is TextKind.DEFINE)


def _begin(state: TransactionState, _sql: str) -> None:
    state.manual = True


def _alter(state: TransactionState, sql: str) -> None:
    state.altered = " ".join(sql.split())[:60]


def _nothing(_state: TransactionState, _sql: str) -> None:
    """Do nothing."""


_NOTE_ONLY: Final[Mapping[TextKind, Callable[[TransactionState, str], None]]] = {
    TextKind.BEGIN: _begin,
    TextKind.SESSION: _alter,
    TextKind.SAVEPOINT: _nothing,
    TextKind.HARMLESS: _nothing,
}


def _text_effects(attachment: Attachment, facts: TextFacts, sql: str) -> set[Dependency]:
    if not facts.understood:
        shown = " ".join(sql.split())
        warnings.warn(
            f"rowstamp cannot tell what this statement changes ({facts.reason}) and invalidates everything: {shown[:200]}",
            RowstampWarning,
            stacklevel=2,
        )
        return set(_EVERYTHING)
    found: set[Dependency] = set()
    for schema, name in facts.writes:
        found |= wide_effects(schema, name, attachment.scope)
    return found


def note_ddl(attachment: Attachment, connection: Connection, context: Any, sql: str, execute: Execute) -> bool:
    """Note a DDL construct."""
    subject: Any = getattr(context.compiled.statement, "element", None)
    table = subject if is_table(subject) else getattr(subject, "table", None)
    if not is_table(table):
        return note_text(attachment, connection, sql, execute)
    state = state_of(connection.connection)
    if any("TEMP" in str(prefix).upper() for prefix in table_prefixes(table)):
        state.altered = f"temporary table {table.name}"
    found = wide_effects(
        schema_of(table, context.execution_options.get("schema_translate_map")), table.name, attachment.scope
    )
    alone = not state.manual and autocommits(attachment, connection, _verb(sql))
    return _note_definition(attachment, state, found, execute, alone=alone, defines=True)


def _note_definition(
    attachment: Attachment,
    state: TransactionState,
    found: set[Dependency],
    execute: Execute,
    *,
    alone: bool,
    defines: bool,
) -> bool:
    # MySQL and MariaDB commit whatever is open before a definition, and the definition itself.
    if defines and attachment.dialect.name in {"mysql", "mariadb"}:
        state.touch(found)
        commit_state(attachment, state, execute)
        return True
    return _note(attachment, state, found, execute, alone=alone)


def _note(
    attachment: Attachment, state: TransactionState, found: set[Dependency], execute: Execute, *, alone: bool
) -> bool:
    if alone:
        attachment.core.commit(found, execute, refused=attachment.refused)
        return True
    state.touch(found)
    return False


def _verb(sql: str) -> str:
    """Return a statement's first word, upper case."""
    return sql.lstrip(" \t\r\n(").split(None, 1)[0].upper() if sql.strip() else ""


def _schema_and_name(table: FromClause | TableKey, translate: Any) -> tuple[str | None, str]:
    if isinstance(table, tuple):
        return table
    return schema_of(table, translate), table_key(table)[1]
