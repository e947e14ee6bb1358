"""Find out what a statement touches by compiling it once more with a compiler that takes notes.

Walking the statement as the user wrote it is not enough: the ORM adds joins, inheritance tables, column properties and loader
criteria when it compiles, and compiles nested selects only as they are rendered. So the notes are taken where the text is made:
a table that is rendered was seen here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy.engine import Dialect
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.expression import ColumnClause, FromClause, Select
from sqlalchemy.sql.functions import next_value

from rowstamp._sqlalchemy import is_custom_construct, locks_rows, tables_below
from rowstamp._sqlalchemy.selects import ObservesSelects, has_hints, loads_entities_only, result_columns
from rowstamp.analysis.bodies import Body, Occurrence
from rowstamp.analysis.columns import ColumnsRead
from rowstamp.analysis.conditions import is_select
from rowstamp.analysis.found import Showing, rows_showing
from rowstamp.analysis.handing_on import occurrences
from rowstamp.analysis.seen import RowsShown, rows_shown

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["HINT", "Notes", "TableKey", "collect"]

HINT: Final = "hint"
"""The kind of a fragment that tells the database how to go about a SELECT: which index to use, but also ``FOR UPDATE``."""

TableKey = tuple[str | None, str]
"""A table as the metadata names it: schema (before translation) and name."""


@dataclass(slots=True)
class Notes:
    """What was rendered.

    Attributes:
        tables: every table in a FROM position, by schema and name.
        rendered: how often each was rendered.
        occurrences: the appearances in FROM clauses whose restrictions were understood.
        functions: lower-cased names of the SQL functions called.
        opaque: the kinds of fragments whose content only the database knows: text, literal columns, custom constructs.
        writes: tables that DML inside the statement changes.
        locks: whether rows are locked.
        sequences: whether a sequence is advanced.
        columns: the columns rendered.
        loaded: the columns that entities alone are loaded from; each was rendered once for that.
        sql: the rendered text.
        bind_names: the name of each bound parameter in the compiled statement.
    """

    tables: dict[TableKey, FromClause] = field(default_factory=dict[TableKey, FromClause])
    rendered: Counter[TableKey] = field(default_factory=Counter[TableKey])
    occurrences: list[Occurrence] = field(default_factory=list[Occurrence])
    functions: set[str] = field(default_factory=set[str])
    opaque: set[str] = field(default_factory=set[str])
    writes: dict[TableKey, FromClause] = field(default_factory=dict[TableKey, FromClause])
    locks: bool = False
    sequences: bool = False
    columns: ColumnsRead = field(default_factory=ColumnsRead)
    loaded: tuple[Any, ...] = ()
    sql: str = ""
    bind_names: Mapping[BindParameter[Any], str] = field(default_factory=dict[BindParameter[Any], str])

    def saw(self, table: FromClause) -> None:
        """Note a table rendered in a FROM position."""
        key = table_key(table)
        self.tables.setdefault(key, table)
        self.rendered[key] += 1


def table_key(table: FromClause) -> TableKey:
    """Return how the metadata names a table."""
    return getattr(table, "schema", None), str(getattr(table, "name", ""))


class _TakesNotes(ObservesSelects):
    """Mixed into a dialect's own statement compiler; every method notes and lets the compiler do its work."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.notes = Notes()
        self._body: Body | None = None
        self._bodies: list[Body] = []
        self._counted_stars: set[int] = set()
        self._tested: Any = None
        super().__init__(*args, **kwargs)

    def visit_table(self, table: Any, asfrom: Any = False, **kw: Any) -> Any:  # noqa: FBT002 - SQLAlchemy's signature
        # A t-string renders tables outside of FROM; noting too many tables is harmless.
        if asfrom or kw.get("within_tstring"):
            self.notes.saw(table)
        return super().visit_table(table, asfrom=asfrom, **kw)  # type: ignore[misc]

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> Any:
        if not isinstance(func, next_value):  # noted as the sequence it advances
            self.notes.functions.add(".".join([*func.packagenames, func.name]).lower())
        if func.name.lower() == "count":
            self._counted_stars.update(id(each) for each in func.clauses)
        return super().visit_function(func, *args, **kw)  # type: ignore[misc]

    def visit_sequence(self, sequence: Any, **kw: Any) -> Any:
        self.notes.sequences = True
        return super().visit_sequence(sequence, **kw)  # type: ignore[misc]

    def visit_next_value_func(self, next_value: Any, **kw: Any) -> Any:
        self.notes.sequences = True
        return super().visit_next_value_func(next_value, **kw)  # type: ignore[misc]

    def visit_textclause(self, textclause: Any, *args: Any, **kw: Any) -> Any:
        self.notes.opaque.add("text")
        return super().visit_textclause(textclause, *args, **kw)  # type: ignore[misc]

    def visit_tstring(self, *args: Any, **kw: Any) -> Any:
        self.notes.opaque.add("text")
        return super().visit_tstring(*args, **kw)  # type: ignore[misc]

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        self._note_column(column)
        return super().visit_column(column, *args, **kw)  # type: ignore[misc]

    def _note_column(self, column: Any) -> None:
        if not column.is_literal:
            self.notes.columns.saw(column)
        elif column.name == "*":
            # count(*) and EXISTS (SELECT *) read rows, not columns.
            counts = id(column) in self._counted_stars or (self._body is not None and self._body.tests)
            if not counts:
                self.notes.columns.everything = "* reads every column"
        elif not _is_constant(str(column.name)):
            self.notes.opaque.add("literal column")

    def visit_table_valued_column(self, element: Any, **kw: Any) -> Any:
        self.notes.columns.everything = "a whole row is read as one value"
        return super().visit_table_valued_column(element, **kw)  # type: ignore[misc]

    def visit_select(self, select_stmt: Any, asfrom: bool = False, **kw: Any) -> Any:  # noqa: FBT001, FBT002 - SQLAlchemy's
        # What stands in FROM does not see its neighbours there, unless it is LATERAL.
        within = self._body
        outer = within.outer if within is not None and asfrom and not kw.get("lateral") else within
        self._body = Body(select_stmt, within, outer, tests=select_stmt is self._tested)
        self._bodies.append(self._body)
        try:
            return super().visit_select(select_stmt, asfrom=asfrom, **kw)  # type: ignore[misc]
        finally:
            self._body = within

    def visit_unary(self, unary: Any, *args: Any, **kw: Any) -> Any:
        if unary.operator is operators.exists:
            self._tested = getattr(unary.element, "element", None)
        return super().visit_unary(unary, *args, **kw)  # type: ignore[misc]

    def visit_cte(self, *args: Any, **kw: Any) -> Any:
        within, self._body = self._body, None  # a CTE sees no row of those who read it
        try:
            return super().visit_cte(*args, **kw)  # type: ignore[misc]
        finally:
            self._body = within

    def visit_insert(self, insert_stmt: Any, *args: Any, **kw: Any) -> Any:
        self._note_write(insert_stmt)
        return super().visit_insert(insert_stmt, *args, **kw)  # type: ignore[misc]

    def visit_update(self, update_stmt: Any, *args: Any, **kw: Any) -> Any:
        self._note_write(update_stmt)
        return super().visit_update(update_stmt, *args, **kw)  # type: ignore[misc]

    def visit_delete(self, delete_stmt: Any, *args: Any, **kw: Any) -> Any:
        self._note_write(delete_stmt)
        return super().visit_delete(delete_stmt, *args, **kw)  # type: ignore[misc]

    def _note_write(self, statement: Any) -> None:
        for table in tables_below(statement.table):  # a join, in MySQL's multi-table forms
            if getattr(table, "name", None) is not None:
                self.notes.writes[table_key(table)] = table

    def observe_select(self, select: Select[Any], froms: Sequence[FromClause]) -> None:
        notes = self.notes
        if locks_rows(select):
            # SQLite renders nothing for it, so the text would not show the lock.
            notes.locks = True
        if has_hints(select):
            notes.opaque.add(HINT)
        if _has_custom_construct(select):
            notes.opaque.add("custom construct")
        if self._body is not None:
            self._body.rendered(select, froms)

    def finish(self) -> Notes:
        """Return the notes, once everything is rendered."""
        notes, compiled = self.notes, cast("SQLCompiler", self)
        notes.sql, notes.bind_names = str(compiled.string), compiled.bind_names
        outermost = [body for body in self._bodies if body.within is None]
        top = outermost[0].select if outermost else None
        if top is not None and loads_entities_only(compiled):
            # with_expression() puts expressions of any kind among them.
            notes.loaded = tuple(column for column in top.selected_columns if isinstance(column, ColumnClause))
        shown: dict[FromClause, RowsShown] = {}
        showing: dict[FromClause, Showing] = {}
        if top is not None and len(outermost) == 1 and is_select(compiled.statement):
            scope, selected = outermost[0].scope, result_columns(compiled)
            shown = rows_shown(top, scope, selected, notes.columns)
            showing = rows_showing(top, scope, selected)
        notes.occurrences = occurrences(self._bodies, shown, showing)
        return notes


def _is_constant(text: str) -> bool:
    """Whether a literal column is a constant, which reads nothing."""
    if text[:1] == text[-1:] == "'" and "'" not in text[1:-1] and len(text) > 1:
        return True
    return text.replace(".", "", 1).replace("-", "", 1).isdigit() or text.lower() in {"null", "true", "false"}


def _has_custom_construct(element: ClauseElement) -> bool:
    """Whether anything in the statement is rendered by ``@compiles``, which may write what it likes."""
    return any(is_custom_construct(part) for part in visitors.iterate(element))


_compilers: dict[type[Any], type[Any]] = {}


def _noting_compiler(dialect: Dialect) -> type[Any]:
    base: type[SQLCompiler] = dialect.statement_compiler
    known = _compilers.get(base)
    if known is None:
        known = _compilers[base] = type(f"Noting{base.__name__}", (_TakesNotes, base), {})
    return known


def collect(statement: Any, dialect: Dialect, schema_translate_map: Mapping[Any, Any] | None = None) -> Notes:
    """Compile a statement and return what was rendered.

    Args:
        statement: a Core or ORM statement.
        dialect: the dialect of the engine that executes it.
        schema_translate_map: as in the execution option; only whether there is one matters to the text.

    Raises:
        sqlalchemy.exc.CompileError: the statement cannot be compiled for this dialect.
    """
    compiled = _noting_compiler(dialect)(
        dialect, statement, column_keys=[], for_executemany=False, schema_translate_map=schema_translate_map
    )
    notes: Notes = compiled.finish()
    return notes
