"""Ask the database for the rows that a write is about to change, in its transaction and under its lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Integer, String, Table, bindparam, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from rowstamp.analysis.images import IMAGE_LIMIT, Image, ImagePlan
from rowstamp.analysis.inserted import Inserted
from rowstamp.analysis.schema import schema_of
from rowstamp.analysis.upserts import Upsert
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment, Rights
from rowstamp.orm.sqlite import in_driver_transaction
from rowstamp.orm.transaction import NO_SETTINGS, TransactionState

__all__ = ["OWN", "ask", "inserted", "question_rows", "rights_of", "upserted"]

OWN: Final = "_rowstamp_own"
"""The execution option of the cache's own statements, which are neither reads nor writes of the application."""

_DRIVERS: Final = frozenset(
    {"pysqlite", "aiosqlite", "psycopg", "psycopg2", "asyncpg", "pymysql", "asyncmy", "aiomysql", "mysqldb"}
)
"""Drivers that count the rows of an UPDATE as the database found them."""


def ask(
    attachment: Attachment,
    connection: Connection,
    state: TransactionState,
    plan: ImagePlan,
    parameter_sets: Sequence[Mapping[str, Any]],
    translate: Mapping[Any, Any] | None,
) -> Image | None:
    """Return the rows that a write is about to change, or ``None`` if they cannot be told.

    An error that the write would meet as well is let out in its place: a lock that is not to be had, a transaction that cannot be
    serialized, a lost connection.
    """
    dialect = attachment.dialect
    if state.altered or state.altered_locally or state.settings != NO_SETTINGS or dialect.driver not in _DRIVERS:
        return None  # with other rights or another search path it might be refused
    wanted = plan.wanted(parameter_sets, dialect)
    if wanted is None or rights_of(attachment, connection, plan.table, plan.question, translate) is Rights.NONE:
        return None
    canonical, values = wanted
    if dialect.name == "sqlite":
        # SQLite locks no rows. But it has one writer at a time, which whoever writes nothing yet has to become first.
        _execute(connection, plan.begin, {}, translate)
        if not in_driver_transaction(connection):
            return None
    rows = question_rows(attachment, connection, plan.table, plan.question, values, translate)
    return None if rows is None else Image.of(plan, canonical, rows, dialect)


def upserted(
    attachment: Attachment,
    connection: Connection,
    state: TransactionState,
    plan: Upsert,
    parameter_sets: Sequence[Mapping[str, Any]],
    translate: Mapping[Any, Any] | None,
    *,
    none: bool,
) -> set[Dependency] | None:
    """Return what an upsert that was just executed has touched, or ``None`` if it cannot be told; ``none``: it has made no row."""
    if state.altered or state.altered_locally or attachment.dialect.driver not in _DRIVERS:
        return None
    values = plan.asked(parameter_sets, attachment.dialect)
    rights = rights_of(attachment, connection, plan.table, plan.question, translate)
    # What is not shown of rows that may be lacking must not be hidden, nor be another row by a trigger's doing.
    if values is None or rights is Rights.NONE or (plan.skips and rights is not Rights.PLAIN):
        return None
    rows: Sequence[Any] | None = None
    if not (plan.skips and none):
        rows = question_rows(attachment, connection, plan.table, plan.question, values, translate)
        if rows is None or len(rows) > IMAGE_LIMIT:
            return None
    return plan.effects(rows, parameter_sets, scope=attachment.scope, dialect=attachment.dialect, translate=translate)


def inserted(attachment: Attachment, connection: Connection, state: TransactionState, insert: Inserted) -> None:
    """Ask for the keys of new rows that neither VALUES nor the result has told, by the primary keys that the result has."""
    if state.altered or state.altered_locally or attachment.dialect.driver not in _DRIVERS:
        return
    plan, values = insert.plan, insert.question()
    if plan is None or values is None:
        return
    if rights_of(attachment, connection, plan.table, plan.question, insert.translate) is Rights.NONE:
        return
    rows = question_rows(attachment, connection, plan.table, plan.question, values, insert.translate)
    if rows is not None:
        insert.shown(rows)


def question_rows(
    attachment: Attachment,
    connection: Connection,
    table: Table[Any],
    question: Any,
    parameters: Mapping[str, Any],
    translate: Mapping[Any, Any] | None,
) -> Sequence[Any] | None:
    """Return what the database answers, or ``None`` if it refuses to say anything of this table."""
    dialect = attachment.dialect
    try:
        return list(_execute(connection, question, parameters, translate).all())
    except DBAPIError as exc:
        if not _is_refusal(dialect.name, exc):
            raise
        attachment.images[_named(table, dialect, translate)] = Rights.NONE
        return None


def _execute(connection: Connection, statement: Any, parameters: Any, translate: Mapping[Any, Any] | None) -> Any:
    options: dict[str, Any] = {OWN: True, "stream_results": False, "schema_translate_map": translate or {}}
    return connection.execute(statement, parameters, execution_options=options)


# -------------------------------------------------------------------------------------------------- permissions

_RIGHTS: Final = text("""
    SELECT
      c.relkind IN ('r', 'p') AND has_any_column_privilege(c.oid, 'UPDATE') AND :number = (
        SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attname IN :names AND has_column_privilege(c.oid, a.attnum, 'SELECT')),
      c.relkind = 'r' AND NOT (c.relrowsecurity OR c.relhasrules OR c.relhassubclass) AND NOT EXISTS (
        SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
    FROM pg_class c WHERE c.oid = to_regclass(:name)
""").bindparams(
    bindparam("number", type_=Integer),
    bindparam("names", type_=String, expanding=True),
    bindparam("name", type_=String),
)
"""Whether a PostgreSQL table has these columns and this role may read and lock them; and whether nothing of its own is in the way."""


def rights_of(
    attachment: Attachment,
    connection: Connection,
    table: Table[Any],
    question: Any,
    translate: Mapping[Any, Any] | None,
) -> Rights:
    """Return whether a question will be answered: in PostgreSQL a refusal would end the application's transaction."""
    name = _named(table, attachment.dialect, translate)
    known = attachment.images.get(name)
    if known is None:
        known = Rights.PLAIN if attachment.dialect.name != "postgresql" else _rights(connection, question, name)
        attachment.images[name] = known
    return known


def _rights(connection: Connection, question: Any, name: str) -> Rights:
    columns = [column.name for column in question.selected_columns]
    parameters = {"number": len(columns), "names": columns, "name": name}
    may_ask, plain = _execute(connection, _RIGHTS, parameters, None).one_or_none() or (False, False)
    return Rights.PLAIN if may_ask and plain else Rights.ASK if may_ask else Rights.NONE


def _named(table: Table[Any], dialect: Any, translate: Mapping[Any, Any] | None) -> str:
    prepare = dialect.identifier_preparer
    schema = schema_of(table, translate)
    name: str = prepare.quote(table.name)
    return f"{prepare.quote(schema)}.{name}" if schema else name


_MYSQL_REFUSALS: Final = frozenset({1054, 1142, 1143, 1146})
"""Unknown column, no right to the table or a column of it, no such table: the transaction goes on."""


def _is_refusal(name: str, exc: DBAPIError) -> bool:
    arguments: tuple[Any, ...] = getattr(exc.orig, "args", ())
    if name in {"mysql", "mariadb"}:
        return bool(arguments) and arguments[0] in _MYSQL_REFUSALS
    return name == "sqlite" and str(exc.orig).startswith(("no such column", "no such table"))
