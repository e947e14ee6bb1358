"""Find out what the cache would do with a statement, without executing it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rowstamp._sqlalchemy import StandInConnection, compile_statement, execution_context, is_user_select, merged_options
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.dependencies import RowsRead, RowsSeen, TableUse, uses
from rowstamp.analysis.reads import ReadAnalysis, TableRead
from rowstamp.explain import Explanation, TableExplanation
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.option import OPTION, cached, requested
from rowstamp.orm.reads import Bypass, Execution, Prepared, prepare
from rowstamp.orm.replay import REPLAY_CONNECTION

__all__ = ["explain"]


def explain(attachment: Attachment, statement: Any) -> Explanation:
    """Return what the cache would do with a statement on an attached engine."""
    connection = StandInConnection(attachment.engine, REPLAY_CONNECTION)
    options = merged_options(statement, connection.get_execution_options(), {})
    compilation = compile_statement(statement, attachment.engine, (), options)
    if not is_user_select(statement):
        return _no_read(str(compilation.compiled.string))
    context = execution_context(compilation, connection, REPLAY_CONNECTION, options)
    return _explanation(attachment, Execution.of(context))


def _no_read(sql: str) -> Explanation:
    return Explanation(
        sql, cacheable=False, asked=False, reason="it changes data", key="", tables=(), dependencies=(), ttl=0.0
    )


def _explanation(attachment: Attachment, execution: Execution) -> Explanation:
    analysis = execution.shape(attachment).analysis
    asked = _asked(attachment, execution)
    # As if asked, so that key and dependencies are shown of a statement that could be cached.
    forced = execution if asked else _with_option(execution)
    decision = prepare(attachment, forced)
    prepared = decision if isinstance(decision, Prepared) else None
    reason = decision.reason if isinstance(decision, Bypass) else "" if asked else _not_asked(attachment, analysis)
    return Explanation(
        sql=execution.sql,
        cacheable=prepared is not None,
        asked=asked,
        reason=reason,
        key=prepared.entry.hex() if prepared else "",
        tables=_tables(attachment, execution, analysis),
        dependencies=prepared.found.dependencies if prepared else (),
        ttl=prepared.ttl if prepared else 0.0,
        unless_found=tuple(stamp for stamp, _ in prepared.found.needs.new) if prepared else (),
    )


def _asked(attachment: Attachment, execution: Execution) -> bool:
    option = requested(execution.statement, execution.options)
    if option is False:
        return False
    return isinstance(option, cached) or execution.shape(attachment).policy_option(attachment.core.policies) is not None


def _with_option(execution: Execution) -> Execution:
    return replace(execution, options={**execution.options, OPTION: cached()})


def _not_asked(attachment: Attachment, analysis: ReadAnalysis) -> str:
    without = [
        _name(read)
        for read in analysis.reads
        if not read.declared
        and (read.table if isinstance(read.table, tuple) else table_key(read.table)) not in attachment.core.policies
    ]
    return f"nobody asked: no cached(...) on the statement, and no policy for {', '.join(without) or 'its tables'}"


def _tables(attachment: Attachment, execution: Execution, analysis: ReadAnalysis) -> tuple[TableExplanation, ...]:
    ignored = execution.shape(attachment).ignored(attachment.core.policies)
    translate, dialect = execution.translate, attachment.dialect
    found = uses(analysis, execution.values, dialect=dialect, translate=translate, ignored=ignored)
    return tuple(_table(use) for use in found)


def _table(use: TableUse) -> TableExplanation:
    pins = tuple(dict.fromkeys("+".join(rows.key) for rows in use.rows))
    columns = None if use.columns is None else tuple(sorted(_columns(use)))
    return TableExplanation(_name(use), pins, columns, use.why_any_row, use.why_any_column, *_seen(use))


def _seen(use: TableUse) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return the keys by which the result shows rows, and the columns that matter in other rows as well."""
    keys = tuple(dict.fromkeys("+".join(each.shown.key) for each in use.seen))
    asked = [each.shown.asked for each in use.seen if each.shown.asked is not None]
    return keys, tuple(sorted(frozenset[str]().union(*asked))) if asked else None


def _columns(use: TableUse) -> frozenset[str]:
    told: tuple[RowsRead | RowsSeen, ...] = (*use.rows, *use.seen)
    pinned = [rows.columns or frozenset[str]() for rows in told]
    return frozenset[str]().union(*pinned) if pinned else use.columns or frozenset[str]()


def _name(read: TableRead | TableUse) -> str:
    schema, name = read.table if isinstance(read.table, tuple) else table_key(read.table)
    return f"{schema}.{name}" if schema else name
