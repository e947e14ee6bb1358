"""Statement → dependencies: worked out once per statement shape, filled with parameter values per execution."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause

from rowstamp.analysis.collect import Notes, TableKey, collect, table_key
from rowstamp.analysis.declarations import NOTHING_DECLARED, Called, Declarations
from rowstamp.analysis.equality import bound_values, key_values
from rowstamp.analysis.pins import Occurrence, Pin
from rowstamp.analysis.schema import Key, iterate_keys, read_names, schema_of
from rowstamp.analysis.tables import know
from rowstamp.analysis.text import TextKind, parse_text
from rowstamp.model import Dependency

__all__ = ["Access", "KeyPin", "ReadAnalysis", "TableRead", "analyse", "analyse_text", "dependencies"]


class Access(enum.Enum):
    """What a statement does to the database, as far as the cache is concerned."""

    READS = "reads"
    MAY_WRITE = "may write"


@dataclass(frozen=True, slots=True)
class KeyPin:
    """The rows of a table that can matter have one of these values in a key.

    Attributes:
        key: the names of the key's columns.
        columns: the columns themselves.
        binds: for each column the name of the parameter, and whether its value is a list.
    """

    key: Key
    columns: tuple[Any, ...]
    binds: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class TableRead:
    """How a statement reads a table.

    Attributes:
        table: the table, or its schema and name where only text names it.
        pins: one pin for each appearance of the table, or empty: any row may matter.
        why: why it is not pinned, for ``explain``; empty if it is.
        declared: whether the statement does not name it: it is behind something that it names.
    """

    table: FromClause | TableKey
    pins: tuple[KeyPin, ...]
    why: str
    declared: bool = False


@dataclass(frozen=True, slots=True)
class ReadAnalysis:
    """What a statement's shape says about caching it.

    Attributes:
        reads: each table it reads.
        refused: why its results are never cached, or ``None``.
        access: whether it may change something although it looks like a read.
        writes: the tables that DML inside of it changes.
        alters: whether it may change what later statements of its connection mean (``set_config``).
    """

    reads: tuple[TableRead, ...]
    refused: str | None
    access: Access
    writes: tuple[FromClause | TableKey, ...] = ()
    alters: bool = False

    def pinned_values(self, parameters: Mapping[str, Any]) -> tuple[object, ...]:
        """Return the parameter values that decide what one execution depends on, with their types.

        Two executions for which this is equal have the same dependencies.
        """
        return tuple(
            (type(value), value)
            for read in self.reads
            for pin in read.pins
            for bind, expanding in pin.binds
            for value in (*_options(parameters, bind, expanding=expanding), None)
        )


def analyse(
    statement: Any,
    dialect: Dialect,
    *,
    sql: str,
    translated: bool = False,
    declarations: Declarations = NOTHING_DECLARED,
) -> ReadAnalysis:
    """Return what the shape of a statement says about caching it.

    Args:
        statement: a Core or ORM statement that is no DML at its top.
        dialect: the dialect of the engine that executes it.
        sql: the text of the statement as it was compiled for execution; pins are used only if the analysis saw the
            very same text, since their parameters are found by name.
        translated: whether a ``schema_translate_map`` applies.
        declarations: what the user has declared of views and functions.
    """
    try:
        notes = collect(statement, dialect, {None: None} if translated else None)
    except CompileError as exc:
        return ReadAnalysis((), f"the statement cannot be analysed: {exc}", Access.MAY_WRITE)
    know(notes.tables.values())
    pinnable = notes.sql == sql
    called = declarations.called(notes.functions, dialect.name)
    reads = _with_declared(_table_reads(notes, pinnable=pinnable), called, declarations)
    if any(name.rpartition(".")[2] == _ALTERING for name in notes.functions):
        return ReadAnalysis(reads, "it changes the connection's settings", Access.READS, alters=True)
    refused, access = _verdict(notes, called, reads, dialect)
    if notes.opaque and refused is None:
        return _with_text(reads, notes, dialect, declarations)
    writes: tuple[FromClause | TableKey, ...] = (*notes.writes.values(), *called.writes)
    return ReadAnalysis(reads, refused or _catalog(reads, dialect), access, () if called.unknown else writes)


def _with_declared(reads: tuple[TableRead, ...], called: Called, declarations: Declarations) -> tuple[TableRead, ...]:
    """Add the tables behind declared views and functions."""
    named = [_lowered(*(read.table if isinstance(read.table, tuple) else table_key(read.table))) for read in reads]
    behind = called.reads | declarations.behind({*named, *called.reads})
    more = sorted(behind, key=str)
    # A table that is read by itself as well is there twice: pinned once, whole the other time, which is what counts.
    return (
        *reads,
        *(TableRead(table, (), "it is behind something that was declared", declared=True) for table in more),
    )


def _lowered(schema: str | None, name: str) -> TableKey:
    return schema.lower() if schema else None, name.lower()


def _table_reads(notes: Notes, *, pinnable: bool) -> tuple[TableRead, ...]:
    explained = Counter(table_key(occurrence.table) for occurrence in notes.occurrences)
    found: list[TableRead] = []
    for key, table in notes.tables.items():
        if not pinnable:
            found.append(TableRead(table, (), "the statement is rewritten when it is compiled"))
        elif notes.rendered[key] != explained[key]:
            found.append(TableRead(table, (), "it also appears where its rows cannot be told"))
        else:
            occurrences = [each for each in notes.occurrences if table_key(each.table) == key]
            found.append(_table_read(table, occurrences, notes.bind_names))
    return tuple(found)


def _table_read(
    table: FromClause, occurrences: Sequence[Occurrence], names: Mapping[BindParameter[Any], str]
) -> TableRead:
    """Pin a table if each of its appearances is pinned; one that is not needs the whole table anyway."""
    pins: list[KeyPin] = []
    for occurrence in occurrences:
        pin = _key_pin(occurrence, names)
        if pin is None:
            return TableRead(table, (), "no key column is restricted to known values")
        pins.append(pin)
    return TableRead(table, tuple(pins), "" if pins else "no key column is restricted to known values")


def _key_pin(occurrence: Occurrence, names: Mapping[BindParameter[Any], str]) -> KeyPin | None:
    for key, columns in iterate_keys(occurrence.table):
        binds = [_bind(occurrence.pins.get(name), names) for name in key]
        known = tuple(bind for bind in binds if bind is not None)
        if len(known) == len(key):
            return KeyPin(key, tuple(columns), known)
    return None


def _bind(pin: Pin | None, names: Mapping[BindParameter[Any], str]) -> tuple[str, bool] | None:
    name = names.get(pin.bind) if pin is not None else None
    return (name, pin.expanding) if pin is not None and name is not None else None


def _verdict(notes: Notes, called: Called, reads: Sequence[TableRead], dialect: Dialect) -> tuple[str | None, Access]:
    """Return why a statement is never cached, and whether it may write."""
    if called.unknown:
        # Even beside DML whose tables are known: the function may write others.
        access = Access.MAY_WRITE if notes.writes or called.writes else _access_of_unknown(dialect)
        return f"unknown function {called.unknown}()", access
    if notes.writes or called.writes:
        return "it changes data", Access.MAY_WRITE
    if notes.sequences:
        return "it advances a sequence", Access.READS
    if notes.locks:
        return "it locks rows", Access.READS
    if called.volatile:
        return f"volatile function {called.volatile}()", Access.READS
    if not reads and not notes.opaque:
        return "it reads no table", Access.READS
    return None, Access.READS


_ALTERING: Final = "set_config"
"""PostgreSQL's function that does what ``SET`` does. Nothing else of the kind hides in a query."""

_CATALOG_SCHEMAS: Final = frozenset({"information_schema", "pg_catalog", "mysql", "performance_schema", "sys"})


def _catalog(reads: Sequence[TableRead], dialect: Dialect) -> str | None:
    """Return why the database's own tables are not cached: definitions change them, and no write names them."""
    prefixes = {"sqlite": ("sqlite_", "pragma_"), "postgresql": ("pg_",)}.get(dialect.name, ())
    for read in reads:
        schema, name = read.table if isinstance(read.table, tuple) else table_key(read.table)
        if (schema or "").lower() in _CATALOG_SCHEMAS or name.lower().startswith(prefixes or ("\0",)):
            return "it reads the system catalog"
    return None


def _access_of_unknown(dialect: Dialect) -> Access:
    # A function of the application runs inside SQLite's own statement and cannot write to this connection.
    return Access.READS if dialect.name == "sqlite" else Access.MAY_WRITE


def _with_text(
    reads: tuple[TableRead, ...], notes: Notes, dialect: Dialect, declarations: Declarations
) -> ReadAnalysis:
    """Add what the text of opaque fragments reads. They may restrict nothing, but they may read anything."""
    parsed = analyse_text(notes.sql, dialect, declarations)
    if parsed.refused is not None:
        return ReadAnalysis(reads, parsed.refused, parsed.access, parsed.writes)
    known = {(schema.lower() if schema else None, name.lower()) for schema, name in notes.tables}
    more = tuple(read for read in parsed.reads if read.table not in known)
    if not reads and not more:
        return ReadAnalysis((), "it reads no table", Access.READS)
    wide = tuple(TableRead(read.table, (), "a text fragment may read more of its rows") for read in reads)
    return ReadAnalysis(wide + more, _catalog(wide + more, dialect), Access.READS)


def analyse_text(sql: str, dialect: Dialect, declarations: Declarations = NOTHING_DECLARED) -> ReadAnalysis:
    """Return what raw SQL says about caching it."""
    facts = parse_text(sql, dialect.name)
    if not facts.understood:
        return ReadAnalysis((), f"the SQL is not understood: {facts.reason}", Access.MAY_WRITE)
    if facts.kind is not TextKind.READ:
        return ReadAnalysis((), "it is not a query", Access.MAY_WRITE, tuple(facts.writes))
    called = declarations.called(facts.functions, dialect.name)
    if called.unknown:
        return ReadAnalysis((), f"unknown function {called.unknown}()", _access_of_unknown(dialect))
    if called.writes:
        return ReadAnalysis((), "it changes data", Access.MAY_WRITE, tuple(called.writes))
    if facts.locks:
        return ReadAnalysis((), "it locks rows", Access.READS)
    if called.volatile:
        return ReadAnalysis((), f"volatile function {called.volatile}()", Access.READS)
    own = tuple(TableRead(key, (), "raw SQL is read table by table") for key in sorted(facts.reads, key=str))
    reads = _with_declared(own, called, declarations)
    if not reads:
        return ReadAnalysis((), "it reads no table", Access.READS)
    return ReadAnalysis(reads, _catalog(reads, dialect), Access.READS)


# ---------------------------------------------------------------------------------------------- per execution


def dependencies(
    analysis: ReadAnalysis,
    parameters: Mapping[str, Any],
    *,
    scope: str,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
) -> list[Dependency]:
    """Return what one execution of a statement depends on.

    Args:
        analysis: what :func:`analyse` said of its shape.
        parameters: the value of each bound parameter, before the driver's own processing.
        scope: the identity of the database.
        dialect: the dialect of the engine that executes it.
        translate: the ``schema_translate_map`` in force.
    """
    found: dict[Dependency, None] = {}
    for read in analysis.reads:
        names = _names(read.table, translate)
        pinned = _pinned(read, names, parameters, scope, dialect)
        for dependency in pinned if pinned is not None else [Dependency.table(scope, name) for name in names]:
            found[dependency] = None
    return list(found)


def _names(table: FromClause | TableKey, translate: Mapping[Any, Any] | None) -> tuple[str, ...]:
    if isinstance(table, tuple):
        return read_names(*table)
    return read_names(schema_of(table, translate), table_key(table)[1])


def _pinned(
    read: TableRead, names: tuple[str, ...], parameters: Mapping[str, Any], scope: str, dialect: Dialect
) -> list[Dependency] | None:
    """Return the row dependencies of a pinned read, or ``None`` when a value cannot be compared exactly."""
    if not read.pins:
        return None
    found: list[Dependency] = []
    for pin in read.pins:
        options = [_options(parameters, bind, expanding=expanding) for bind, expanding in pin.binds]
        values = key_values(pin.columns, dialect, options)
        if values is None:
            return None
        for name in names:
            found.append(Dependency.unknown_rows(scope, name))
            found.append(Dependency.unknown_rows(scope, name, pin.key))
            found.extend(Dependency.rows(scope, name, pin.key, value) for value in values)
    return found


def _options(parameters: Mapping[str, Any], bind: str, *, expanding: bool) -> Sequence[object]:
    return bound_values(parameters.get(bind), expanding=expanding)
