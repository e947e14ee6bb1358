"""What the shape of a statement says about caching it; :mod:`.dependencies` fills in the parameters of each execution."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause

from rowstamp.analysis.bodies import Occurrence
from rowstamp.analysis.collect import HINT, Notes, TableKey, collect, table_key
from rowstamp.analysis.conditions import Source
from rowstamp.analysis.declarations import NOTHING_DECLARED, Called, Declarations
from rowstamp.analysis.equality import bound_values
from rowstamp.analysis.found import Finding
from rowstamp.analysis.functions import ALTERING
from rowstamp.analysis.schema import Key, is_unique_key, iterate_keys
from rowstamp.analysis.seen import RowsShown
from rowstamp.analysis.tables import know
from rowstamp.analysis.text import TextKind, parse_text
from rowstamp.analysis.values import KeySource, named, parameters_of

__all__ = ["Access", "KeyPin", "ReadAnalysis", "RowPin", "SeenPin", "TableRead", "analyse", "analyse_text"]


class Access(enum.Enum):
    """What a statement does to the database, as far as the cache is concerned."""

    READS = "reads"
    MAY_WRITE = "may write"


@dataclass(frozen=True, slots=True)
class KeyPin:
    """A key whose values a statement names.

    Attributes:
        key: the names of the key's columns.
        columns: the columns themselves.
        sources: for each column where its values come from.
        finding: how the result tells which of them it has found, if no two rows share one.
    """

    key: Key
    columns: tuple[Any, ...]
    sources: tuple[KeySource, ...]
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class RowPin:
    """The rows that can matter in one appearance of a table, under one alternative of the conditions.

    Attributes:
        keys: the keys any one of which tells these rows, the best first.
        columns: the columns read of this appearance, in lower case; ``None``: possibly all.
        asked: those of them that are read for something else than to load entities.
    """

    keys: tuple[KeyPin, ...]
    columns: frozenset[str] | None
    asked: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class SeenPin:
    """The rows that the result shows of one appearance of a table.

    Attributes:
        shown: how it tells them.
        columns: the columns read of this appearance, in lower case; ``None``: possibly all.
        asked: those of them that are read for something else than to load entities.
    """

    shown: RowsShown
    columns: frozenset[str] | None
    asked: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class TableRead:
    """How a statement reads a table.

    Attributes:
        table: the table, or its schema and name where only text names it.
        pins: the rows that can matter: those of each pin together. Empty: any row may matter.
        why: why it is not pinned, for ``explain``; empty if it is.
        columns: the columns read, in lower case; ``None``: possibly all.
        asked: those of them that are read for something else than to load entities.
        why_any_column: why possibly all; empty if not.
        declared: whether the statement does not name it: it is behind something that it names.
        seen: the appearances whose rows the result tells.
    """

    table: FromClause | TableKey
    pins: tuple[RowPin, ...]
    why: str
    columns: frozenset[str] | None = None
    asked: frozenset[str] | None = None
    why_any_column: str = "raw SQL is read table by table"
    declared: bool = False
    seen: tuple[SeenPin, ...] = ()


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

    parameters: tuple[tuple[str, bool], ...] = field(init=False)
    """The names of the parameters on which dependencies depend, and whether each is a list."""

    def __post_init__(self) -> None:
        sources = (source for read in self.reads for pin in read.pins for key in pin.keys for source in key.sources)
        found = dict.fromkeys(each for source in sources for each in parameters_of(source))
        object.__setattr__(self, "parameters", tuple(found))

    def pinned_values(self, parameters: Mapping[str, Any]) -> tuple[object, ...]:
        """Return the parameter values that decide what one execution depends on, with their types.

        Two executions for which this is equal have the same dependencies.
        """
        found: list[object] = []
        for name, expanding in self.parameters:
            found.extend(map(_typed, bound_values(parameters.get(name), expanding=expanding)))
            found.append(None)
        return tuple(found)


def _typed(value: Any) -> object:
    """Return a value, or each part of a tuple, with its type: equality overlooks types."""
    if type(value) is tuple:
        return tuple(map(_typed, value))  # pyright: ignore[reportUnknownArgumentType]
    return value.__class__, value


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
    if any(name.rpartition(".")[2] in ALTERING for name in notes.functions):
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
        occurrences = [each for each in notes.occurrences if table_key(each.table) == key]
        pins, seen, why = _pins(occurrences, notes)
        if not pinnable:
            pins, seen, why = (), (), "the statement is rewritten when it is compiled"
        elif notes.rendered[key] != explained[key]:
            pins, seen, why = (), (), "it also appears where its rows cannot be told"
        elements = notes.columns.elements_of(key)
        columns, asked = notes.columns.of(elements), notes.columns.of(elements, notes.loaded)
        found.append(TableRead(table, pins, why, columns, asked, notes.columns.everything, seen=seen))
    return tuple(found)


def _pins(occurrences: Sequence[Occurrence], notes: Notes) -> tuple[tuple[RowPin, ...], tuple[SeenPin, ...], str]:
    """Pin a table if each of its appearances is pinned or seen; one that is neither needs the whole table anyway."""
    pins: list[RowPin] = []
    seen: list[SeenPin] = []
    for occurrence in occurrences:
        columns = notes.columns.of([occurrence.element])
        asked = notes.columns.of([occurrence.element], notes.loaded)
        keys = [_key_pins(occurrence, pinned, notes.bind_names) for pinned in occurrence.pins]
        if keys and all(keys):
            pins.extend(RowPin(each, columns, asked) for each in keys)
        elif occurrence.shown is not None:
            seen.append(SeenPin(occurrence.shown, columns, asked))
        else:
            return (), (), _why_not(occurrence)
    return tuple(pins), tuple(seen), "" if pins or seen else _NOT_RESTRICTED


_NOT_RESTRICTED: Final = "no key column is restricted to known values"


def _why_not(occurrence: Occurrence) -> str:
    if len(occurrence.pins) > 1:
        return f"an alternative of OR restricts no key of {occurrence.element.description}"
    return _NOT_RESTRICTED


def _key_pins(
    occurrence: Occurrence, pinned: Mapping[str, Sequence[Source]], names: Mapping[BindParameter[Any], str]
) -> tuple[KeyPin, ...]:
    """Return the keys all of whose columns are pinned, the best first."""
    found: list[KeyPin] = []
    table = occurrence.table
    for key, columns in iterate_keys(table):
        sources = [named(pinned[name], names) for name in key if name in pinned]
        known = tuple(source for source in sources if source is not None)
        if len(known) == len(key):
            found.append(KeyPin(key, tuple(columns), known, _finding(occurrence, key, columns)))
    return tuple(sorted(found, key=lambda pin: _rank(table, pin)))


def _finding(occurrence: Occurrence, key: Key, columns: Sequence[Any]) -> Finding | None:
    showing = occurrence.showing
    if showing is None or not is_unique_key(occurrence.table, key):
        return None
    places = tuple(showing.places[name] for name in key if name in showing.places)
    # Of several alternatives a row of the result may have passed another one.
    always = showing.always and len(occurrence.pins) == 1
    if len(places) < len(key) and not always:
        return None
    return Finding(tuple(columns), places if len(places) == len(key) else None, always)


def _rank(table: Any, pin: KeyPin) -> tuple[int, int, int]:
    """Return how many rows a key may tell, roughly; lower is better."""
    primary = {str(column.name) for column in table.primary_key.columns}
    kind = 0 if set(pin.key) == primary else 1 if is_unique_key(table, pin.key) else 2
    return kind, max(len(source) for source in pin.sources), -len(pin.key)


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
    hints_alone = notes.opaque == {HINT}
    if parsed.refused is not None and hints_alone:
        return ReadAnalysis(reads, parsed.refused, Access.READS)  # they make no write of a SELECT
    if parsed.refused is not None:
        return ReadAnalysis(reads, parsed.refused, parsed.access, parsed.writes, parsed.alters)
    known = {(schema.lower() if schema else None, name.lower()) for schema, name in notes.tables}
    more = tuple(read for read in parsed.reads if read.table not in known)
    if not reads and not more:
        return ReadAnalysis((), "it reads no table", Access.READS)
    if hints_alone and not more:
        return ReadAnalysis(reads, _catalog(reads, dialect), Access.READS)
    why = "a text fragment may read more"
    wide = tuple(TableRead(read.table, (), f"{why} of its rows", why_any_column=f"{why} of them") for read in reads)
    return ReadAnalysis(wide + more, _catalog(wide + more, dialect), Access.READS)


def analyse_text(sql: str, dialect: Dialect, declarations: Declarations = NOTHING_DECLARED) -> ReadAnalysis:
    """Return what raw SQL says about caching it."""
    facts = parse_text(sql, dialect.name)
    if not facts.understood:
        return ReadAnalysis((), f"the SQL is not understood: {facts.reason}", Access.MAY_WRITE)
    if facts.kind is TextKind.SESSION and not (facts.writes or facts.functions - ALTERING):
        return ReadAnalysis((), "it changes the connection's settings", Access.READS, alters=True)
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
