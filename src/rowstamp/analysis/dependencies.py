"""What one execution of a statement depends on: what its shape leaves open, filled with parameter values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, TypeAlias

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import FromClause

from rowstamp.analysis.collect import TableKey, table_key
from rowstamp.analysis.equality import stored_value
from rowstamp.analysis.found import Finding
from rowstamp.analysis.reads import ReadAnalysis, RowPin, TableRead
from rowstamp.analysis.schema import NOT_TOLD, Key, named_keys, read_names, schema_of
from rowstamp.analysis.seen import RowsShown
from rowstamp.analysis.values import Unknown, values_of
from rowstamp.model import Dependency

__all__ = [
    "COLUMN_LIMIT",
    "SEEN_LIMIT",
    "STAMP_LIMIT",
    "Ignored",
    "Needs",
    "RowsRead",
    "RowsSeen",
    "TableUse",
    "needs",
    "new_rows_matter",
    "rows_seen",
    "uses",
]

COLUMN_LIMIT: Final = 8
"""Most columns of a table that a read depends on one by one; one that reads more depends on the rows as a whole."""

ENTITY_COLUMN_LIMIT: Final = 32
"""The same for entities of which some columns are ignored: those are to be gained by it."""

STAMP_LIMIT: Final = 64
"""Most stamps that a statement spends on telling columns apart; each is read with every hit."""

SEEN_LIMIT: Final = 64
"""Most stamps for rows that a result shows; each is read with every hit, and named in the entry."""

Ignored: TypeAlias = Mapping[TableKey, frozenset[str]]
"""For tables the columns, in lower case, that need not be fresh in entities loaded from them."""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Rows of a table that can matter to a result.

    Attributes:
        key: the key that tells them.
        values: its canonical values.
        columns: the columns that matter, in lower case; ``None``: all.
        finding: how the result tells whether there is one with each of the values; ``None``: not at all.
    """

    key: Key
    values: tuple[bytes, ...]
    columns: frozenset[str] | None
    finding: Finding | None = None

    @property
    def cost(self) -> int:
        """How many stamps they take, under one name, to tell columns apart."""
        return 2 + (self.finding is not None) + len(self.values) + (len(self.values) + 1) * len(self.columns or ())


@dataclass(frozen=True, slots=True)
class RowsSeen:
    """Rows of a table that matter because the result shows them.

    Attributes:
        shown: how it tells them.
        columns: the columns that matter, in lower case; ``None``: all.
    """

    shown: RowsShown
    columns: frozenset[str] | None

    @property
    def cost(self) -> int:
        """How many stamps that are known beforehand they take, under one name."""
        return 3 + bool(self.shown.own) + len(self.columns or ()) + len(self.shown.asked or ())


@dataclass(frozen=True, slots=True)
class TableUse:
    """How one execution reads a table.

    Attributes:
        table: the table, or its schema and name where only text names it.
        rows: the rows that can matter and are known beforehand.
        columns: the columns that matter, in lower case; ``None``: all.
        why_any_row: why any row may matter; empty if not.
        why_any_column: why all columns matter; empty if not.
        seen: the rows that can matter and show in the result. Neither these nor known ones: any row may matter.
    """

    table: FromClause | TableKey
    rows: tuple[RowsRead, ...]
    columns: frozenset[str] | None
    why_any_row: str
    why_any_column: str
    seen: tuple[RowsSeen, ...] = ()

    @property
    def cost(self) -> int:
        """How many stamps it takes, under one name, to tell columns apart."""
        if self.columns is None:
            return 0
        whole = 0 if self.rows and not self.seen else 1 + len(self.columns)
        return whole + sum(rows.cost for rows in self.rows) + sum(seen.cost for seen in self.seen)


@dataclass(frozen=True, slots=True)
class Needs:
    """What one execution depends on.

    Attributes:
        certain: whatever its result shows.
        guard: besides, as long as it is not known which rows the result shows: the tables that these are in.
        seen: what takes the place of the guard then: the names of each such table, with how its rows are told.
        new: besides, as long as it is not known that the result shows all rows that it names by a unique key: stamps
            of rows that come with an unknown key, and of which lookups and rows seen.
    """

    certain: tuple[Dependency, ...]
    guard: tuple[Dependency, ...] = ()
    seen: tuple[tuple[tuple[str, ...], RowsSeen], ...] = ()
    new: tuple[tuple[Dependency, tuple[RowsRead | RowsSeen, ...]], ...] = ()


def needs(
    analysis: ReadAnalysis,
    parameters: Mapping[str, Any],
    *,
    scope: str,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
    ignored: Ignored | None = None,
) -> Needs:
    """Return what one execution of a statement depends on.

    Args:
        analysis: what :func:`rowstamp.analysis.reads.analyse` said of its shape.
        parameters: the value of each bound parameter, before the driver's own processing.
        scope: the identity of the database.
        dialect: the dialect of the engine that executes it.
        translate: the ``schema_translate_map`` in force.
        ignored: the columns that need not be fresh in entities.
    """
    certain: dict[Dependency, None] = {}
    guard: dict[Dependency, None] = {}
    seen: list[tuple[tuple[str, ...], RowsSeen]] = []
    new: dict[Dependency, list[RowsRead | RowsSeen]] = {}
    for use in uses(analysis, parameters, dialect=dialect, translate=translate, ignored=ignored):
        names = _names(use.table, translate)
        for name in names:
            certain.update(dict.fromkeys(_stamps(use, scope, name)))
            if use.seen:
                guard.update(dict.fromkeys(_facets(Dependency.table(scope, name), _guarded(use))))
            for rows in use.rows:
                if rows.finding is not None:
                    new.setdefault(_new_rows(scope, name, rows.key, rows.columns), []).append(rows)
            for each in use.seen:
                if each.shown.own:
                    new.setdefault(_new_rows(scope, name, each.shown.key, each.columns), []).append(each)
        seen.extend((names, each) for each in use.seen)
    return Needs(
        tuple(certain),
        tuple(each for each in guard if each not in certain),
        tuple(seen),
        tuple((stamp, tuple(lookups)) for stamp, lookups in new.items() if stamp not in certain),
    )


def _guarded(use: TableUse) -> frozenset[str] | None:
    """Return the columns of a table whose changes may concern rows that are seen, the keys that tell these among them."""
    if use.columns is None:
        return None
    return use.columns.union(*(_folded(each.shown.key) for each in use.seen))


def rows_seen(found: Needs, rows: Sequence[Sequence[Any]], *, scope: str, dialect: Dialect) -> list[Dependency] | None:
    """Return what a result depends on in place of the guard, or ``None`` if it does not tell.

    Args:
        found: what :func:`needs` returned.
        rows: the rows of the result, as the driver gave them.
        scope: the identity of the database.
        dialect: the dialect of the engine that executed it.
    """
    told: dict[Dependency, None] = {}
    for names, seen in found.seen:
        values = _shown_values(seen.shown, rows, dialect)
        if values is None:
            return None
        few = len(values) * (1 + len(seen.columns or ())) <= STAMP_LIMIT
        for name, value in product(names, values):
            stamp = Dependency.rows(scope, name, seen.shown.key, value)
            told.update(dict.fromkeys(_facets(stamp, seen.columns if few else None)))
    return list(told) if len(told) <= SEEN_LIMIT else None


def _shown_values(shown: RowsShown, rows: Sequence[Sequence[Any]], dialect: Dialect) -> Collection[bytes] | None:
    """Return the canonical values of a key that stand in the rows of a result, or ``None`` if they cannot all be told."""
    found: dict[tuple[Any, ...], bytes | None] = {}
    try:
        for row in rows:
            values = tuple([row[place] for place in shown.places])
            if values in found:
                continue
            if None not in values:
                found[values] = stored_value(shown.columns, dialect, values)
                if found[values] is None or len(found) > SEEN_LIMIT:
                    return None
            elif shown.if_null:
                return None
    except (LookupError, TypeError):  # other rows than the statement says, or values that cannot be hashed
        return None
    return {value for value in found.values() if value is not None}


def uses(
    analysis: ReadAnalysis,
    parameters: Mapping[str, Any],
    *,
    dialect: Dialect,
    translate: Mapping[Any, Any] | None = None,
    ignored: Ignored | None = None,
) -> list[TableUse]:
    """Return how one execution reads each of its tables. See :func:`needs` for the arguments."""
    left = STAMP_LIMIT
    found: list[TableUse] = []
    for read in analysis.reads:
        use = _use(read, parameters, dialect, ignored or {})
        cost = use.cost * len(_names(use.table, translate))
        if cost > left:
            rows = tuple(replace(rows, columns=None) for rows in use.rows)
            seen = tuple(replace(each, columns=None) for each in use.seen)
            use = replace(use, rows=rows, seen=seen, columns=None, why_any_column="it would take too many stamps")
        else:
            left -= cost
        found.append(use)
    return found


def _use(read: TableRead, parameters: Mapping[str, Any], dialect: Dialect, ignored: Ignored) -> TableUse:
    stale = ignored.get(_key(read.table)) or frozenset[str]()
    columns, why_any_column = _columns(read, stale)
    rows: list[RowsRead] = []
    why_any_row = read.why
    for pin in read.pins:
        told = _rows(pin, parameters, dialect)
        if isinstance(told, Unknown):
            why_any_row = told.why
            break
        mine = _fresh(pin.columns, pin.asked, stale)
        rows.append(replace(told, columns=None if columns is None or mine is None else mine - _folded(told.key)))
    seen: list[RowsSeen] = []
    for each in read.seen:
        mine = _fresh(each.columns, each.asked, stale)
        seen.append(RowsSeen(each.shown, None if columns is None or mine is None else mine - _folded(each.shown.key)))
    if why_any_row:
        rows.clear()
        seen.clear()
    return TableUse(read.table, tuple(rows), columns, why_any_row, why_any_column, tuple(seen))


def _columns(read: TableRead, stale: frozenset[str]) -> tuple[frozenset[str] | None, str]:
    """Return the columns that matter, or ``None`` and why all do."""
    columns = _fresh(read.columns, read.asked, stale)
    if columns is None:
        return None, read.why_any_column
    if isinstance(read.table, FromClause) and columns >= {str(column.name).lower() for column in read.table.c}:
        return None, "every column is read"
    limit = ENTITY_COLUMN_LIMIT if columns != read.columns else COLUMN_LIMIT
    if len(columns) > limit:
        return None, f"more than {limit} columns are read"
    return columns, ""


def _fresh(
    columns: frozenset[str] | None, asked: frozenset[str] | None, stale: frozenset[str]
) -> frozenset[str] | None:
    """Return columns without those that may be stale, unless they are asked for other than to load entities."""
    return None if columns is None or asked is None else asked | (columns - stale)


def _rows(pin: RowPin, parameters: Mapping[str, Any], dialect: Dialect) -> RowsRead | Unknown:
    """Return the rows of a pin by the best of its keys: that of the fewest rows, as far as one can tell."""
    best: RowsRead | None = None
    unknown = Unknown("")
    for key in pin.keys:
        values = values_of(key.columns, key.sources, parameters, dialect)
        if isinstance(values, Unknown):
            unknown = unknown if unknown.why else values
        elif best is None or len(values.canonical) < _FEW <= len(best.values):
            best = RowsRead(key.key, values.canonical, None, key.finding if values.apart else None)
    return unknown if best is None else best


_FEW: Final = 8
"""A key that comes later, and so tells fewer rows apart, is taken if it has fewer values than this and the others have not."""


def _folded(key: Key) -> frozenset[str]:
    return frozenset(name.lower() for name in key)


def _key(table: FromClause | TableKey) -> TableKey:
    return table if isinstance(table, tuple) else table_key(table)


def _names(table: FromClause | TableKey, translate: Mapping[Any, Any] | None) -> tuple[str, ...]:
    if isinstance(table, tuple):
        return read_names(*table)
    return read_names(schema_of(table, translate), table_key(table)[1])


def _stamps(use: TableUse, scope: str, name: str) -> Iterator[Dependency]:
    """Yield the stamps of a table under one of its names, as far as they are known before the result is."""
    if not (use.rows or use.seen):
        yield from _facets(Dependency.table(scope, name), use.columns)
    for rows in use.rows:
        yield from _unknown_rows(use.table, scope, name, rows.key, rows.columns, old=rows.finding is not None)
        for value in rows.values:
            yield from _facets(Dependency.rows(scope, name, rows.key, value), rows.columns)
    for seen in use.seen:
        yield from _unknown_rows(use.table, scope, name, seen.shown.key, seen.columns, old=bool(seen.shown.own))
        if seen.shown.asked is not None:
            yield from _facets(Dependency.table(scope, name), seen.shown.asked)


def _unknown_rows(
    table: FromClause | TableKey, scope: str, name: str, key: Key, columns: frozenset[str] | None, *, old: bool = False
) -> Iterator[Dependency]:
    """Yield the stamps of rows that were changed by a write that does not know their key; of old ones alone, if asked."""
    nothing_known = Dependency.unknown_rows(scope, name)
    yield nothing_known if columns is None else nothing_known.of_membership()
    if isinstance(table, FromClause) and key in named_keys(table):
        yield Dependency.unknown_rows(scope, name, NOT_TOLD)
    changed, *values = _facets(Dependency.unknown_rows(scope, name, key), columns)
    yield changed.of_old_rows() if old else changed
    yield from values


def _new_rows(scope: str, name: str, key: Key, columns: frozenset[str] | None) -> Dependency:
    """Return the stamp of rows that come, by a write that does not know their key, or of old ones that it changes."""
    stamp = Dependency.unknown_rows(scope, name, key)
    return stamp if columns is None else stamp.of_membership()


def new_rows_matter(found: Needs, rows: Sequence[Sequence[Any]], *, dialect: Dialect) -> list[Dependency]:
    """Return the stamps of rows that come, without those on which a result does not depend: it shows all that it looks up.

    Args:
        found: what :func:`needs` returned.
        rows: the rows of the result, as the driver gave them.
        dialect: the dialect of the engine that executed it.
    """
    return [stamp for stamp, lookups in found.new if not all(_has_found(each, rows, dialect) for each in lookups)]


def _has_found(lookup: RowsRead | RowsSeen, rows: Sequence[Sequence[Any]], dialect: Dialect) -> bool:
    if isinstance(lookup, RowsSeen):
        return lookup.shown.has_all(rows)
    return lookup.finding is not None and lookup.finding.has_all(lookup.values, rows, dialect)


def _facets(stamp: Dependency, columns: Iterable[str] | None) -> Iterator[Dependency]:
    """Yield a stamp, or its membership and columns if these are all that matters."""
    if columns is None:
        yield stamp
        return
    yield stamp.of_membership()
    for column in sorted(columns):
        yield stamp.of_column(column)
