"""Notice what statements change: unit of work, bulk, Core, raw SQL and DDL all pass here, on their connection."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Sequence
from sqlalchemy.engine import Connection
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.types import TypeEngine

from rowstamp._sqlalchemy import is_table, parameter_values, table_prefixes
from rowstamp.analysis.collect import TableKey, table_key
from rowstamp.analysis.effects import awaits_result, cascade_effects, effects, wide_effects
from rowstamp.analysis.reads import Access, ReadAnalysis
from rowstamp.analysis.schema import schema_of
from rowstamp.analysis.tables import Change
from rowstamp.analysis.text import TextFacts, TextKind, parse_text
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.collations import note_collation
from rowstamp.orm.isolation import autocommits, in_driver_transaction
from rowstamp.orm.transaction import TransactionState, commit_state, state_of

__all__ = ["RowstampWarning", "note_ddl", "note_dml", "note_release", "note_savepoint", "note_select", "note_text"]

Execute = Callable[[], None]
_EVERYTHING: Final = frozenset({Dependency.everything()})


class RowstampWarning(UserWarning):
    """A statement whose effects could not be told, so that it invalidates the whole namespace."""


def note_dml(attachment: Attachment, connection: Connection, context: Any, sql: str, execute: Execute) -> bool:
    """Note an INSERT, UPDATE or DELETE; return whether it was executed here because it commits by itself."""
    state = state_of(connection.connection)
    alone = _alone(attachment, connection, sql)
    if state.noted is context and not alone:
        return False  # a further batch of the same INSERT
    state.noted = context
    analysis = attachment.writes(context.compiled)
    translate = context.execution_options.get("schema_translate_map")
    scope, dialect = attachment.scope, attachment.dialect
    values = parameter_values(context)
    awaits = not alone and awaits_result(analysis, values, dialect)
    found = effects(analysis, values, scope=scope, dialect=dialect, translate=translate, await_result=awaits)
    if awaits:
        state.inserts.append((context, analysis, translate))
    return _note(attachment, connection, found, execute, alone=alone)


def note_select(
    attachment: Attachment, connection: Connection, analysis: ReadAnalysis, sql: str, translate: Any, execute: Execute
) -> bool:
    """Note a SELECT that may write or alter its connection: DML in its CTEs, ``set_config``, an unknown function."""
    if analysis.alters:
        _alter(state_of(connection.connection), sql)
        attachment.alters = True
    if analysis.access is Access.READS:
        return False
    found: set[Dependency] = set()
    for table in analysis.writes:
        found |= _named_effects(attachment, *_schema_and_name(table, translate), translate)
    alone = _alone(attachment, connection, sql)
    return _note(attachment, connection, found or set(_EVERYTHING), execute, alone=alone)


def note_text(attachment: Attachment, connection: Connection, sql: str, execute: Execute) -> bool:
    """Note raw SQL."""
    state = state_of(connection.connection)
    note_collation(attachment.dialect, sql)
    if state.ending or _CHANGES_NO_ROWS.fullmatch(sql):
        return False  # (what ends a prepared transaction belongs to a commit that is guarded as a whole)
    facts = parse_text(sql, attachment.dialect.name)
    if facts.understood and facts.kind in _NOTE:
        _NOTE[facts.kind](state, sql)
        attachment.alters = attachment.alters or facts.kind is TextKind.SESSION
    if facts.understood and facts.kind is TextKind.COMMIT:
        commit_state(attachment, state, execute)
        return True
    if facts.understood and facts.kind is TextKind.SAVEPOINT:
        if _verb(sql) == "RELEASE":
            return note_release(attachment, connection, execute)
        note_savepoint(attachment, connection)
    if facts.understood and facts.kind is TextKind.ROLLBACK:
        execute()
        state.ended()
        return True
    found = _text_effects(attachment, facts, sql)
    if facts.kind is TextKind.READ and attachment.text_shape(sql).analysis.access is Access.MAY_WRITE:
        found = set(_EVERYTHING)  # it calls a function that nothing is known of
    if not found:
        return False
    alone = _alone(attachment, connection, sql)
    return _note_definition(attachment, connection, found, execute, alone=alone, defines=facts.kind is TextKind.DEFINE)


def note_savepoint(attachment: Attachment, connection: Connection) -> None:
    """Note the beginning of a savepoint.

    In SQLite the outermost savepoint of a connection that is in no transaction *is* the transaction, and its release the
    commit.
    """
    if attachment.dialect.name == "sqlite" and not in_driver_transaction(connection):
        state_of(connection.connection).savepoint_begins = True


def note_release(attachment: Attachment, connection: Connection, execute: Execute) -> bool:
    """Note the release of a savepoint; return whether it was executed here because it may commit."""
    state = state_of(connection.connection)
    found = state.all_effects(attachment) if state.savepoint_begins else set[Dependency]()
    if not found:
        return False
    attachment.core.commit(found, execute, refused=attachment.refused)
    if not in_driver_transaction(connection):
        state.ended()
    return True


def _begin(state: TransactionState, _sql: str) -> None:
    state.manual = True


def _alter(state: TransactionState, sql: str) -> None:
    shown = " ".join(sql.split())[:60]
    if _LOCAL.search(sql):
        state.altered_locally = shown
    else:
        state.altered = shown


_NOTE: Final[Mapping[TextKind, Callable[[TransactionState, str], None]]] = {
    TextKind.BEGIN: _begin,
    TextKind.SESSION: _alter,
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
        found |= _named_effects(attachment, schema, name)
    return found


def _named_effects(
    attachment: Attachment, schema: str | None, name: str, translate: Mapping[Any, Any] | None = None
) -> set[Dependency]:
    """Return the effects of a write to a table known by name, and of what the database changes along with it."""
    change = Change(name.lower(), deletes=True, updates=None)
    own = wide_effects(schema, name, attachment.scope)
    return own | cascade_effects([change], scope=attachment.scope, translate=translate)


def note_ddl(attachment: Attachment, connection: Connection, context: Any, sql: str, execute: Execute) -> bool:
    """Note a DDL construct."""
    subject: Any = getattr(context.compiled.statement, "element", None)
    table = subject if is_table(subject) else getattr(subject, "table", None)
    if isinstance(subject, Sequence | TypeEngine):
        return False
    if not is_table(table):
        return note_text(attachment, connection, sql, execute)
    state = state_of(connection.connection)
    if any("TEMP" in str(prefix).upper() for prefix in table_prefixes(table)):
        state.altered = f"temporary table {table.name}"
        attachment.alters = True
    translate = context.execution_options.get("schema_translate_map")
    found = _named_effects(attachment, schema_of(table, translate), table.name, translate)
    alone = _alone(attachment, connection, sql)
    return _note_definition(attachment, connection, found, execute, alone=alone, defines=True)


def _note_definition(
    attachment: Attachment,
    connection: Connection,
    found: set[Dependency],
    execute: Execute,
    *,
    alone: bool,
    defines: bool,
) -> bool:
    # MySQL and MariaDB commit whatever is open before a definition, and the definition itself.
    if defines and attachment.dialect.name in {"mysql", "mariadb"}:
        state = state_of(connection.connection)
        state.touch(found)
        commit_state(attachment, state, execute)
        return True
    return _note(attachment, connection, found, execute, alone=alone)


def _note(
    attachment: Attachment, connection: Connection, found: set[Dependency], execute: Execute, *, alone: bool
) -> bool:
    state = state_of(connection.connection)
    if not alone:
        state.touch(found)
        return False
    attachment.core.commit(found, execute, refused=attachment.refused)
    if attachment.dialect.name == "sqlite" and in_driver_transaction(connection):
        # The driver has begun a transaction after all: what was written is published by its end.
        state.touch(found)
    return True


_LOCAL: Final = re.compile(
    r"^\s*SET\s+(LOCAL|TRANSACTION)\b|\bset_config\s*\([^()]*,\s*'?t(rue)?'?\s*\)", re.IGNORECASE
)
"""What ends with the transaction. A ``set_config`` whose third argument is a parameter is taken to outlast it."""

_CHANGES_NO_ROWS: Final = re.compile(
    r"\s*(PREPARE\s+TRANSACTION|CREATE\s+(SEQUENCE|TYPE|DOMAIN|EXTENSION|COLLATION|ROLE|USER)|COMMENT\s+ON|GRANT|REVOKE)"
    r"\b[^;]*;?\s*",
    re.IGNORECASE,
)
"""Single statements that define something beside the tables, or prepare a commit."""

_COMMENTS: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)|;)*", re.DOTALL)


def _alone(attachment: Attachment, connection: Connection, sql: str) -> bool:
    """Whether a write commits by itself, in no transaction that anybody has begun."""
    return not state_of(connection.connection).manual and autocommits(attachment, connection, _verb(sql))


def _verb(sql: str) -> str:
    """Return a statement's first word, upper case; SQLite's driver skips comments to find it, and so must we."""
    start = _COMMENTS.match(sql)
    word = re.match(r"\w*", sql[start.end() :] if start else sql)
    return word.group().upper() if word else ""


def _schema_and_name(table: FromClause | TableKey, translate: Any) -> tuple[str | None, str]:
    if isinstance(table, tuple):
        return table
    return schema_of(table, translate), table_key(table)[1]
